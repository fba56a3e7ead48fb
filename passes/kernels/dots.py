"""Integer dot products: inputs quantized as they come, four columns of a row in one lane.

    largest = max |x|;  u[n] = round(x[n] * 127 / largest) + zero_point          # once a vector
    for panel in class:
        staged = u[the panel's columns]                                          # side by side
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
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import Emitter, intrinsic
from rtmobile_iree.passes.kernels.plan import COMPRESS, MASK_BITS
from torch_mlir import ir
from torch_mlir.dialects import arith, math, memref, vector

from rtmobile_iree.schedule import IntegerDot
from rtmobile_iree.values import I8_MAX

# n added to this, f32's neighbours of which are 1 apart, is n rounded to even, in the lowest bits
ROUND = 1.5 * 2.0**23
BYTES_A_LANE = 4
NARROW_STORE = 16  # bytes: one 128-bit register


@dataclass(frozen=True)
class Quantized:
    """Input vectors as bytes: a flat i8 memref, an offset and a scale (f32 value) for each.

    Attributes:
        staged: where each vector's bytes of one panel were moved together; see `stage`.
    """

    buffer: ir.Value
    offsets: Sequence[ir.Value]
    scales: Sequence[ir.Value]
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
    steps = arith.divf(e.scalar(I8_MAX), largest)
    inverse = arith.select(is_zero, e.scalar(0.0), steps)

    def write(at: ir.Value, size: int) -> None:
        x = e.vload(source[0], e.add(source[1], at), size)
        rounding = e.splat(ROUND + dot.zero_point, size)
        whole = arith.bitcast(e.integers(size), e.fma(x, e.splat(inverse, size), rounding))
        byte = ir.VectorType.get([size], ir.IntegerType.get_signless(8))
        vector.store(arith.trunci(byte, whole), target[0], [e.add(target[1], at)])

    e.pieces(length, write)
    return arith.mulf(largest, e.scalar(1 / I8_MAX))


def stage(
    e: Emitter,
    dot: IntegerDot,
    index: tuple[ir.Value, ir.Value],
    source: tuple[ir.Value, ir.Value],
    target: ir.Value,
    sizes: tuple[int, ir.Value],
    crowded: int,
) -> None:
    """Moves the bytes of a panel's columns together, in the buffer they come from.

    Args:
        index: index buffer, and where the panel's columns stand: masks where `dot` compresses.
        source: i8 buffer, and offset of the input vector.
        target: offset of the first byte; up to 63 bytes more are overwritten.
        sizes: length of the input vector, and number of columns filled up to whole lanes.
        crowded: most columns that the panel keeps of 64 neighbours. Nothing wider is stored: a
            store that crosses a cache line costs more.
    """
    buffer, start = source
    if dot.compress is None:

        def lane(k: ir.Value) -> None:
            columns = [e.load_index(index[0], e.add(index[1], k, i)) for i in range(BYTES_A_LANE)]
            taken = [memref.load(buffer, [e.add(start, column)]) for column in columns]
            for i, byte in enumerate(taken):
                memref.store(byte, buffer, [e.add(target, k, i)])

        e.loop(0, sizes[1], BYTES_A_LANE, [], lane)
        return
    widest = max(crowded, NARROW_STORE)
    block = ir.VectorType.get([COMPRESS], ir.IntegerType.get_signless(8))

    moved_together = dot.compress

    def compress(number: ir.Value, at: ir.Value) -> list[ir.Value]:
        place = e.add(index[1], e.mul(number, COMPRESS // MASK_BITS))
        mask, count = _mask(e, index[0], place)
        taken = vector.load(block, buffer, [e.add(start, e.mul(number, COMPRESS))])
        packed = intrinsic(moved_together, block, [taken, taken, mask])
        if widest <= COMPRESS // 2:
            packed = vector.shuffle(packed, packed, list(range(1 << (widest - 1).bit_length())))
        vector.store(packed, buffer, [at])
        return [e.add(at, count)]

    e.loop(0, -(-sizes[0] // COMPRESS), 1, [target], compress)


def _mask(e: Emitter, index: ir.Value, at: ir.Value) -> tuple[ir.Value, ir.Value]:
    """64 mask bits from four entries of the index buffer, and how many are set (index value)."""
    chunks = COMPRESS // MASK_BITS
    element = ir.MemRefType(index.type).element_type
    loaded = vector.load(ir.VectorType.get([chunks], element), index, [at])
    short = ir.VectorType.get([chunks], ir.IntegerType.get_signless(MASK_BITS))
    if loaded.type != short:
        loaded = arith.trunci(short, loaded)
    single = ir.VectorType.get([1], ir.IntegerType.get_signless(COMPRESS))
    word = vector.extract(vector.bitcast(single, loaded), [], ir.DenseI64ArrayAttr.get([0]))
    bits = ir.VectorType.get([COMPRESS], ir.IntegerType.get_signless(1))
    mask = vector.bitcast(bits, vector.broadcast(single, word))
    return mask, arith.index_cast(ir.IndexType.get(), math.ctpop(word))


def dot_product(dot: IntegerDot, sums: ir.Value, x: ir.Value, weights: ir.Value) -> ir.Value:
    """sums[lane] + x[lane, 0..4) . weights[lane, 0..4); i32 lanes, and bytes four to a lane."""
    return intrinsic(dot.intrinsic, sums.type, [sums, x, weights])


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
