"""A thin layer over MLIR's Python builders, so that a kernel reads like its loop nest.

Every method creates operations at the current insertion point and returns values. Indices are
`index` values; offsets address flat (1-D) memrefs. Constants are created where they are used: CSE
folds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.dialects import arith, math, memref, scf, vector

from rtmobile_iree.schedule import ACTIVATION_ERROR

COPIED_TOGETHER = 4  # registers; the loop's own instructions are then fewer than the copy's
NEON_WIDTH = 4

Body = Callable[..., Sequence[ir.Value] | None]


@dataclass(frozen=True)
class Emitter:
    """Builders for scalar index arithmetic, vectors of f32 or f16, and counted loops.

    Loads and stores of vectors widen or narrow where a buffer holds the other of the two.

    Attributes:
        width: elements in one vector register of the target.
        element: "f32" or "f16": what vectors hold, and what is computed in.
        activation_error: greatest absolute error of sigmoid and tanh (see `activation`).
        native_exp: whether the target has an instruction for exp that does as well.
    """

    native_exp: ClassVar[bool] = False

    width: int
    activation_error: float = ACTIVATION_ERROR
    element: str = "f32"

    @property
    def is_half(self) -> bool:
        return self.element == "f16"

    @property
    def number(self) -> ir.Type:
        """The type of an element."""
        return ir.F16Type.get() if self.is_half else self.f32

    @property
    def f32(self) -> ir.Type:
        return ir.F32Type.get()

    def vector_type(self, length: int) -> ir.VectorType:
        return ir.VectorType.get([length], self.number)

    def integers(self, length: int) -> ir.VectorType:
        """vector<length x i32>."""
        return ir.VectorType.get([length], ir.IntegerType.get_signless(32))

    def scalar(self, value: float) -> ir.Value:
        """A constant element."""
        return arith.constant(self.number, float(value))

    def integer_splat(self, value: int, length: int) -> ir.Value:
        """A constant vector<length x i32>."""
        kind = self.integers(length)
        number = ir.IntegerAttr.get(kind.element_type, value)
        return arith.constant(kind, ir.DenseElementsAttr.get_splat(kind, number))

    def index(self, value: int) -> ir.Value:
        return arith.constant(ir.IndexType.get(), value)

    def add(self, *terms: ir.Value | int) -> ir.Value:
        """Sum of index values; integers are constants and zeros vanish."""
        values = [t if isinstance(t, ir.Value) else self.index(t) for t in terms if not _is(t, 0)]
        if not values:
            return self.index(0)
        total = values[0]
        for value in values[1:]:
            total = arith.addi(total, value)
        return total

    def mul(self, value: ir.Value, factor: int) -> ir.Value:
        return value if factor == 1 else arith.muli(value, self.index(factor))

    def sub(self, left: ir.Value, right: ir.Value) -> ir.Value:
        return arith.subi(left, right)

    def min(self, left: ir.Value, right: ir.Value) -> ir.Value:
        return arith.minui(left, right)

    def view(self, source: ir.Value, offset: ir.Value, length: ir.Value) -> ir.Value:
        """source[offset : offset + length] as a memref of its own."""
        dynamic = ir.ShapedType.get_dynamic_size()
        layout = ir.StridedLayoutAttr.get(dynamic, [1])
        element = ir.MemRefType(source.type).element_type
        return memref.SubViewOp(
            ir.MemRefType.get([dynamic], element, layout),
            source, [offset], [length], [], [dynamic], [dynamic], [1],
        ).result  # fmt: skip

    def load(self, source: ir.Value, offset: ir.Value) -> ir.Value:
        return memref.load(source, [offset])

    def load_index(self, source: ir.Value, offset: ir.Value) -> ir.Value:
        """Loads an unsigned integer element as an index."""
        return arith.index_castui(ir.IndexType.get(), memref.load(source, [offset]))

    def load_indices(self, source: ir.Value, offset: ir.Value, count: int) -> list[ir.Value]:
        """Loads consecutive unsigned integer elements as indices.

        i16 come four at a time, since a load costs more than what takes them apart; but not on
        NEON, where LLVM takes them apart in a vector register.
        """
        i16, i64 = (ir.IntegerType.get_signless(bits) for bits in (16, 64))
        found: list[ir.Value] = []
        while len(found) < count:
            at = self.add(offset, len(found))
            is_i16 = ir.MemRefType(source.type).element_type == i16
            if not is_i16 or self.width <= NEON_WIDTH or count - len(found) < 4:
                found.append(self.load_index(source, at))
                continue
            four = vector.load(ir.VectorType.get([4], i16), source, [at])
            word = self.lane(vector.bitcast(ir.VectorType.get([1], i64), four), 0)
            for number in range(4):
                moved = arith.shrui(word, arith.constant(i64, 16 * number))
                found.append(arith.index_castui(ir.IndexType.get(), arith.trunci(i16, moved)))
        return found

    def store(self, value: ir.Value, target: ir.Value, offset: ir.Value) -> None:
        memref.store(value, target, [offset])

    def vload(self, source: ir.Value, offset: ir.Value, length: int) -> ir.Value:
        stored = ir.VectorType.get([length], ir.MemRefType(source.type).element_type)
        return _converted(vector.load(stored, source, [offset]), self.vector_type(length))

    def vstore(self, value: ir.Value, target: ir.Value, offset: ir.Value) -> None:
        element = ir.MemRefType(target.type).element_type
        stored = ir.VectorType.get(ir.VectorType(value.type).shape, element)
        vector.store(_converted(value, stored), target, [offset])

    def expand(
        self, source: ir.Value, offset: ir.Value, mask: ir.Value, gaps: ir.Value
    ) -> ir.Value:
        """Puts consecutive elements from `offset` on where the mask is set, `gaps` elsewhere.

        Args:
            mask: an integer, the lowest bit first; as wide as `gaps` has elements, or wider.
        """
        lanes = ir.VectorType(gaps.type).shape[0]
        bits = ir.IntegerType.get_signless(lanes)
        if mask.type != bits:
            mask = arith.trunci(bits, mask)
        single = vector.broadcast(ir.VectorType.get([1], bits), mask)
        chosen = vector.bitcast(ir.VectorType.get([lanes], bit()), single)
        return vector.expandload(gaps.type, source, [offset], chosen, gaps)

    def store_first(
        self, value: ir.Value, count: ir.Value, target: ir.Value, offset: ir.Value
    ) -> None:
        """Stores the first `count` elements of a vector (index value; all when it is more)."""
        kind = ir.VectorType.get(ir.VectorType(value.type).shape, bit())
        vector.maskedstore(target, [offset], vector.create_mask(kind, [count]), value)

    def lane(self, value: ir.Value, number: int) -> ir.Value:
        """One element of a vector."""
        return vector.extract(value, [], ir.DenseI64ArrayAttr.get([number]))

    def splat(self, value: ir.Value | float, length: int) -> ir.Value:
        kind = self.vector_type(length)
        if isinstance(value, float):
            dense = ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(self.number, value))
            return arith.constant(kind, dense)
        return vector.broadcast(kind, value)

    def fma(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        return vector.fma(left, right, addend)

    def joined(self, parts: list[ir.Value]) -> ir.Value:
        """Vectors one after another as one."""
        return functools.reduce(_joined, parts)

    def maximum(self, left: ir.Value, right: ir.Value) -> ir.Value:
        """The greater of two vectors' elements; a NaN stays a NaN."""
        if not self.is_half:
            return arith.maximumf(left, right)
        # IREE 3.13 breaks on arith's of vectors of f16: it widens them to an f32 that is no vector
        length = ir.VectorType(left.type).shape[0]
        return intrinsic(f"llvm.maximum.v{length}f16", left.type, [left, right])

    def reciprocal(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """1 / x of f16 as a product: ARM's estimate, 1/256 off, and what a step of Newton's adds.

        Multiplied, they are 2 units in the last place off.
        """
        length = ir.VectorType(x.type).shape[0]
        if length < NEON_WIDTH:
            one = self.splat(1.0, length)
            return arith.divf(one, x), one
        found = [
            self._estimate(vector.shuffle(x, x, list(range(at, min(length, at + self.width)))))
            for at in range(0, length, self.width)
        ]
        estimates, steps = zip(*found, strict=True)
        return self.joined(list(estimates)), self.joined(list(steps))

    def _estimate(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """`reciprocal` of a register, or of half of one."""
        length = ir.VectorType(x.type).shape[0]
        estimate = intrinsic(f"llvm.aarch64.neon.frecpe.v{length}f16", x.type, [x])
        step = intrinsic(f"llvm.aarch64.neon.frecps.v{length}f16", x.type, [x, estimate])
        return estimate, step

    def loop(
        self,
        start: ir.Value | int,
        stop: ir.Value | int,
        step: int,
        inits: Sequence[ir.Value],
        body: Body,
    ) -> list[ir.Value]:
        """`for i in range(start, stop, step)`; body(i, *carried) returns what is carried on."""
        low = start if isinstance(start, ir.Value) else self.index(start)
        high = stop if isinstance(stop, ir.Value) else self.index(stop)
        loop = scf.ForOp(low, high, self.index(step), list(inits))
        with ir.InsertionPoint(loop.body):
            scf.yield_(list(body(loop.induction_variable, *loop.inner_iter_args) or []))
        return list(loop.results_)

    def pieces(
        self, length: int, body: Callable[[ir.Value, int], None], registers: int = 1
    ) -> None:
        """Covers [0, length): full vectors, so many at once, then a tail of halved lengths."""
        size = registers * self.width
        if full := length // size * size:
            self.loop(0, full, size, [], lambda i: body(i, size))
        for start, part in _tail(length, size):
            body(self.index(start), part)

    def largest(self, source: ir.Value, offset: ir.Value, length: int) -> ir.Value:
        """max |source[offset : offset + length]|; a NaN makes it NaN."""

        def magnitude(i: ir.Value, size: int) -> ir.Value:
            return math.absf(self.vload(source, self.add(offset, i), size))

        def peak(value: ir.Value) -> ir.Value:
            return vector.reduction(self.number, vector.CombiningKind.MAXIMUMF, value)

        full = length // self.width * self.width
        parts = []
        if full:
            zeros = [self.splat(0.0, self.width)]
            (most,) = self.loop(
                0, full, self.width, zeros,
                lambda i, m: [arith.maximumf(m, magnitude(i, self.width))],
            )  # fmt: skip
            parts.append(peak(most))
        for start, size in _tail(length, self.width):
            parts.append(peak(magnitude(self.index(start), size)))
        total = parts[0]
        for part in parts[1:]:
            total = arith.maximumf(total, part)
        return total

    def copy(
        self, source: ir.Value, s0: ir.Value, target: ir.Value, t0: ir.Value, length: int
    ) -> None:
        """target[t0 : t0 + length] = source[s0 : s0 + length]."""

        def piece(i: ir.Value, size: int) -> None:
            value = self.vload(source, self.add(s0, i), size)
            self.vstore(value, target, self.add(t0, i))

        self.pieces(length, piece, COPIED_TOGETHER)


def intrinsic(name: str, result: ir.Type, operands: list[ir.Value]) -> ir.Value:
    """A call of an intrinsic of LLVM's."""
    return ir.Operation.create(
        "llvm.call_intrinsic",
        results=[result],
        operands=operands,
        attributes={
            "intrin": ir.StringAttr.get(name),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands), 0]),
            "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
        },
    ).result


def when(condition: ir.Value, body: Callable[[], None]) -> None:
    """`if condition: body()`."""
    choice = scf.IfOp(condition)
    with ir.InsertionPoint(choice.then_block):
        body()
        scf.yield_([])


def compare(predicate: str, left: ir.Value, right: ir.Value) -> ir.Value:
    """An i1; `predicate`: a name in MLIR's CmpIPredicate."""
    return arith.cmpi(getattr(arith.CmpIPredicate, predicate), left, right)


def bit() -> ir.Type:
    """i1."""
    return ir.IntegerType.get_signless(1)


def _tail(length: int, size: int) -> Iterator[tuple[int, int]]:
    """What full pieces of `size` leave of [0, length): (start, size) in halved sizes."""
    done = length // size * size
    while done < length:
        size //= 2
        if length - done >= size:
            yield done, size
            done += size


def _converted(value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector of f16 or f32 as one of the type."""
    here, there = (ir.VectorType(each).element_type for each in (value.type, kind))
    if here == there:
        return value
    return arith.truncf(kind, value) if here == ir.F32Type.get() else arith.extf(kind, value)


def _joined(left: ir.Value, right: ir.Value) -> ir.Value:
    """Two vectors, one after the other."""
    both = sum(ir.VectorType(each.type).shape[0] for each in (left, right))
    return vector.shuffle(left, right, list(range(both)))


def _is(term: ir.Value | int, number: int) -> bool:
    return isinstance(term, int) and term == number
