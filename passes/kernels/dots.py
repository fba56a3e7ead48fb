"""Integer dot products: inputs quantized as they come, four columns of a row in one lane.

    largest = max |x|;  u[n] = round(x[n] * 127 / largest) + zero_point          # once a vector
    for group: staged = u[the group's columns]                                   # staging.py
    for panel in class:
        acc[:] = -zero_point * (sum of each row's weights)                       # i32
        for four columns at a time:
            acc[r] += staged[0..4] . values[r, 0..4]    for every row r: one instruction a register
        out[rows of panel] = acc * scales * (largest / 127) + bias

A panel of fewer rows than a register has lanes takes several times four columns at once, and adds
its lanes up at the end. x is rounded to 1/127 of its largest entry, anew for every step and batch
entry: an error of at most largest / 254 an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.passes.kernels.emit import Emitter, intrinsic
from rtmobile_iree.passes.kernels.staging import Stager
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.schedule import IntegerDot
from rtmobile_iree.values import LARGEST

# n added to this, f32's neighbours of which are 1 apart, is n rounded to even, in the lowest bits
ROUND = 1.5 * 2.0**23
LANE_BYTES = 4


@dataclass(frozen=True)
class Quantized:
    """Input vectors as bytes: a flat i8 memref, an offset and a scale (f32 value) for each.

    Attributes:
        area: offset of the bytes that moved inputs may take.
        staged: where each vector's bytes of one panel were moved together; see `staging`.
    """

    buffer: ir.Value
    offsets: Sequence[ir.Value]
    scales: Sequence[ir.Value]
    area: ir.Value
    staged: Sequence[ir.Value] = ()


def quantize(
    e: Emitter,
    dot: IntegerDot,
    source: tuple[ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value],
    length: int,
) -> ir.Value:
    """Writes x [length] f32 as bytes; returns its scale, largest / 127 (f32).

    Args:
        source, target: memref and offset; f32 and i8.
    """
    largest = e.largest(source[0], source[1], length)
    is_zero = arith.cmpf(arith.CmpFPredicate.OEQ, largest, e.scalar(0.0))
    steps = arith.divf(e.scalar(LARGEST["i8"]), largest)
    inverse = arith.select(is_zero, e.scalar(0.0), steps)

    def write(at: ir.Value, size: int) -> None:
        x = e.vload(source[0], e.add(source[1], at), size)
        rounding = e.splat(ROUND + dot.zero_point, size)
        whole = arith.bitcast(e.integers(size), e.fma(x, e.splat(inverse, size), rounding))
        byte = ir.VectorType.get([size], ir.IntegerType.get_signless(8))
        vector.store(arith.trunci(byte, whole), target[0], [e.add(target[1], at)])

    e.pieces(length, write)
    return arith.mulf(largest, e.scalar(1 / LARGEST["i8"]))


def dot_product(dot: IntegerDot, sums: ir.Value, x: ir.Value, weights: ir.Value) -> ir.Value:
    """sums[lane] + x[lane, 0..4) . weights[lane, 0..4); i32 lanes, and bytes four to a lane."""
    # the operand that may be a lane is the last
    factors = [weights, x] if dot.by_lane else [x, weights]
    return intrinsic(dot.intrinsic, sums.type, [sums, *factors])


@dataclass(frozen=True)
class StagedInputs:
    """Where a matrix finds its inputs moved together.

    Attributes:
        vectors: how many stand beside each other in the area of a group.
        whole: inputs of all groups are moved before the first panel is computed; else each panel's
            own before it, to the area of the only group.
    """

    stager: Stager
    vectors: ir.Value
    whole: bool

    def stage_all(self, first: ir.Value, quantized: Quantized | None) -> None:
        """Moves the inputs of all groups, of vectors from `first` on."""
        e = self.stager.emit
        groups = (e.index(0), e.index(self.stager.staging.groups))
        self._stage(groups, first, quantized)

    def stage_one(self, group: ir.Value, first: ir.Value, quantized: Quantized | None) -> None:
        """Moves the inputs of one group."""
        self._stage((group, self.stager.emit.add(group, 1)), first, quantized)

    def staged(self, group: ir.Value, first: ir.Value, quantized: Quantized | None) -> Quantized:
        """The vectors from `first` on, with the places of their moved inputs."""
        assert quantized is not None
        if not self.stager.staging.move:
            return replace(quantized, staged=quantized.offsets)
        places = [self._place(group, first, v, quantized) for v in range(len(quantized.offsets))]
        return replace(quantized, staged=places)

    def _stage(
        self, groups: tuple[ir.Value, ir.Value], first: ir.Value, quantized: Quantized | None
    ) -> None:
        assert quantized is not None

        def place(group: ir.Value, v: int) -> ir.Value:
            return self._place(group, first, v, quantized)

        self.stager.stage(groups, quantized.offsets, place)

    def _place(self, group: ir.Value, first: ir.Value, v: int, quantized: Quantized) -> ir.Value:
        e, own = self.stager.emit, self.stager.emit.add(first, v)
        number = e.add(arith.muli(group, self.vectors), own) if self.whole else own
        return e.add(e.mul(number, self.stager.staging.pitch), quantized.area)


def load_lanes(e: Emitter, source: ir.Value, at: ir.Value, lanes: int) -> list[ir.Value]:
    """Staged bytes for the next so many times four columns, each four in all lanes.

    One load for all of them: NEON multiplies by a lane.
    """
    byte = ir.IntegerType.get_signless(8)
    loaded = vector.load(ir.VectorType.get([LANE_BYTES * lanes], byte), source, [at])
    words = vector.bitcast(e.integers(lanes), loaded)
    every = ir.VectorType.get([LANE_BYTES * e.width], byte)
    each = [vector.shuffle(words, words, [lane] * e.width) for lane in range(lanes)]
    return [vector.bitcast(every, one) for one in each]


def load_pairs(e: Emitter, quantized: Quantized, k: ir.Value) -> list[list[ir.Value]]:
    """Staged bytes of vectors two by two, for the next 16 columns: [pair][eight columns].

    A vector without another is paired with itself.
    """
    staged, half = quantized.staged, 2 * LANE_BYTES
    kind = ir.VectorType.get([2 * half], ir.IntegerType.get_signless(8))
    loaded = [vector.load(kind, quantized.buffer, [e.add(place, k)]) for place in staged]
    pairs = []
    for v in range(0, len(loaded), 2):
        first, second = loaded[v], loaded[min(v + 1, len(loaded) - 1)]
        own = [list(range(start, start + half)) for start in (0, half)]
        pairs.append([
            vector.shuffle(first, second, part + [2 * half + i for i in part]) for part in own
        ])  # fmt: skip
    return pairs


def split_pairs(first: ir.Value, second: ir.Value, vectors: int) -> list[ir.Value]:
    """Sums of four rows for each vector of a pair, from those of both vectors and two rows
    each."""
    lanes = [[2 * v, 2 * v + 1, 2 * v + 4, 2 * v + 5] for v in range(vectors)]
    return [vector.shuffle(first, second, own) for own in lanes]


def load_inputs(e: Emitter, source: ir.Value, at: ir.Value, rows: int, lanes: int) -> ir.Value:
    """Staged bytes for `lanes` lanes: those of lanes / rows lanes, the same for every row."""
    own = lanes // rows
    word = ir.IntegerType.get_signless(32 * own)
    byte = ir.IntegerType.get_signless(8)
    loaded = vector.load(ir.VectorType.get([4 * own], byte), source, [at])
    one = vector.bitcast(ir.VectorType.get([1], word), loaded)
    every = vector.shuffle(one, one, [0] * rows) if rows > 1 else one
    return vector.bitcast(ir.VectorType.get([4 * lanes], byte), every)


def add_lanes(sums: ir.Value, rows: int) -> ir.Value:
    """Adds neighbouring lanes until one is left for each row."""
    while (lanes := ir.VectorType(sums.type).shape[0]) > rows:
        even = vector.shuffle(sums, sums, list(range(0, lanes, 2)))
        odd = vector.shuffle(sums, sums, list(range(1, lanes, 2)))
        sums = arith.addi(even, odd)
    return sums
