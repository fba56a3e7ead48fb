"""The heart of every CPU kernel: panels times a few input vectors.

    for panel in class:                       # rows of one pattern
        acc[v, :] = bias[panel]
        for k in panel.columns:               # one index load ...
            for v in vectors:
                xk = x[v, column_index[k]]    # ... one x load, for all rows of the panel
                acc[v, :] += xk * values[k, :]
        out[v, rows of panel] = acc[v, :]

This is redundant load elimination made real: x is loaded once a panel and column, not once a
weight, and with several vectors (time steps or batch entries) each weight is loaded once for all.
Weights narrower than f32 are widened as they are loaded (`values`); the i8x4 panels of `plan` are
summed by integer dot products instead (`dots`), from the same vectors quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rtmobile_iree.passes.kernels.dots import Quantized, dot_product, load_quad
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import COLUMNS_A_LANE, TABLE_FIELDS, MatrixPlan, PanelClass
from rtmobile_iree.passes.kernels.values import element, load_weights
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class Constants:
    """The kernel's constant buffers, flat memrefs (see `plan`); `narrow` by value type."""

    values: ir.Value
    index: ir.Value
    table: ir.Value
    narrow: Mapping[str, ir.Value] = field(default_factory=dict)

    def weights(self, kind: str) -> ir.Value:
        """The buffer that holds the panels of a kind."""
        return self.values if kind == "f32" else self.narrow[kind.partition("x")[0]]


@dataclass(frozen=True)
class Vectors:
    """`count` input vectors and where their results go: flat memrefs, an offset for each.

    Attributes:
        quantized: the same inputs as bytes, where the matrix has i8x4 panels.
    """

    source: ir.Value
    source_offsets: Sequence[ir.Value]
    target: ir.Value
    target_offsets: Sequence[ir.Value]
    quantized: Quantized | None = None

    @property
    def count(self) -> int:
        return len(self.source_offsets)


Run = Callable[[Vectors], None]
Fields = dict[str, ir.Value]


@dataclass(frozen=True)
class PanelKernel:
    """Emits matrix-times-vectors over one matrix plan."""

    emit: Emitter
    schedule: Schedule
    constants: Constants

    def panels(self, which: PanelClass, vectors_of: Callable[[Run], None]) -> None:
        """Runs one class; `vectors_of(run)` calls `run(vectors)` for each tile of vectors."""
        e = self.emit

        def body(panel: ir.Value) -> None:
            base = e.mul(e.add(panel, which.table_start), len(TABLE_FIELDS))
            fields = {
                name: e.load_index(self.constants.table, e.add(base, i))
                for i, name in enumerate(TABLE_FIELDS)
            }
            vectors_of(lambda vectors: self._panel(which, fields, vectors))

        e.loop(0, which.count, 1, [], body)

    def matvec(self, matrix: MatrixPlan, vectors: Vectors) -> None:
        """All panels of a matrix, for one tile of vectors."""
        for which in matrix.classes:
            self.panels(which, lambda run: run(vectors))

    def matmul(
        self,
        matrix: MatrixPlan,
        count: ir.Value,
        vectors_at: Callable[[ir.Value, int], Vectors],
    ) -> None:
        """All panels of a matrix, for `count` vectors: each panel stays in cache for all of them.

        Args:
            count: number of vectors (index value).
            vectors_at: (first vector, how many) -> `Vectors`.
        """
        e = self.emit

        def tiles(run: Run) -> None:
            done, size = e.index(0), self.schedule.vector_tile
            while size:  # as many as fit of 4 vectors, say, then of 2, then of 1
                fit = e.mul(_floordiv(e, e.sub(count, done), size), size)
                stop = e.add(done, fit)
                e.loop(done, stop, size, [], lambda i, n=size: run(vectors_at(i, n)))
                done, size = stop, size // 2

        for which in matrix.classes:
            self.panels(which, tiles)

    def _panel(self, which: PanelClass, fields: Fields, vectors: Vectors) -> None:
        block = self.schedule.row_block(which.height, vectors.count)
        # from the last row to the first: a scattered panel's padding goes where its first row goes,
        # and must be overwritten there
        sum_rows = self._sum_dots if which.kind == "i8x4" else self._sum_floats
        for row in reversed(range(0, which.height, block)):
            sums = sum_rows(which, row, block, fields, vectors)
            for v in range(vectors.count):
                self._write(which, row, sums[v], fields, vectors, v)

    def _sum_floats(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """Rows [row, row + block) of a panel times every vector: sums[vector][register]."""
        e, count = self.emit, vectors.count
        width = min(block, e.width)
        registers = block // width
        source = self.constants.weights(which.kind)
        lanes = COLUMNS_A_LANE.get(which.kind, 1)
        weights = e.add(fields["value_start"], row * lanes)
        bias = self._row_constants(which, 0, row, width, registers, fields)
        scaled = which.kind == "i8"
        starts = [e.splat(0.0, width)] * registers if scaled else bias

        def step(k: ir.Value, accs: list[ir.Value]) -> list[ir.Value]:
            place = e.add(fields["column_start"], e.mul(k, lanes))
            start = e.add(weights, e.mul(k, which.height * lanes))
            panel = [
                load_weights(e, which.kind, source, e.add(start, r * width * lanes), width)
                for r in range(registers)
            ]
            for lane in range(lanes):
                column = e.load_index(self.constants.index, e.add(place, lane))
                out = []
                for v in range(count):
                    x = e.load(vectors.source, e.add(vectors.source_offsets[v], column))
                    x = e.splat(x, width)
                    own = accs[v * registers :]
                    out += [e.fma(x, panel[r][lane], own[r]) for r in range(registers)]
                accs = out
            return accs

        zero = e.splat(0.0, width)
        sums = self._walk(fields["columns"], starts * count, zero, arith.addf, step)
        if scaled:
            scales = self._row_constants(which, 1, row, width, registers, fields)
            sums = [
                e.fma(total, scales[i % registers], bias[i % registers])
                for i, total in enumerate(sums)
            ]
        return [sums[v * registers : (v + 1) * registers] for v in range(count)]

    def _sum_dots(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """The same for an i8x4 panel."""
        e, dot, quantized = self.emit, self.schedule.dot, vectors.quantized
        assert dot is not None
        assert quantized is not None
        width = min(block, e.width)
        registers = block // width
        source = self.constants.weights(which.kind)
        lanes = COLUMNS_A_LANE[which.kind]
        packed = ir.VectorType.get([width * lanes], element(which.kind))
        weights = e.add(fields["value_start"], row * lanes)
        correction = self._row_constants(which, 2, row, width, registers, fields)
        starts = [arith.bitcast(e.integers(width), bits) for bits in correction]

        def step(k: ir.Value, accs: list[ir.Value]) -> list[ir.Value]:
            columns = e.add(fields["column_start"], e.mul(k, lanes))
            start = e.add(weights, e.mul(k, which.height * lanes))
            panel = [
                vector.load(packed, source, [e.add(start, r * width * lanes)])
                for r in range(registers)
            ]
            out = []
            for v, offset in enumerate(quantized.offsets):
                quad = load_quad(e, self.constants.index, columns, quantized.source, offset)
                own = accs[v * registers : (v + 1) * registers]
                out += [dot_product(e, dot, own[r], quad, panel[r]) for r in range(registers)]
            return out

        zero = e.integer_splat(0, width)
        sums = self._walk(fields["columns"], starts * vectors.count, zero, arith.addi, step)
        bias = self._row_constants(which, 0, row, width, registers, fields)
        scales = self._row_constants(which, 1, row, width, registers, fields)
        results = []
        for v, scale in enumerate(quantized.scales):
            own = [arith.sitofp(e.vector_type(width), sums[v * registers + r])
                   for r in range(registers)]  # fmt: skip
            both = [arith.mulf(s, e.splat(scale, width)) for s in scales]
            results.append([e.fma(own[r], both[r], bias[r]) for r in range(registers)])
        return results

    def _row_constants(
        self, which: PanelClass, part: int, row: int, width: int, registers: int, fields: Fields
    ) -> list[ir.Value]:
        """Registers of a panel's biases (part 0), scales (1) or starts (2)."""
        e = self.emit
        first = e.add(fields["bias_start"], part * which.height + row)
        return [
            e.vload(self.constants.values, e.add(first, r * width), width) for r in range(registers)
        ]

    def _walk(
        self,
        columns: ir.Value,
        starts: list[ir.Value],
        zero: ir.Value,
        plus: Callable[[ir.Value, ir.Value], ir.Value],
        step: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
    ) -> list[ir.Value]:
        """Sums over all columns, several at once so that additions need not wait for each other."""
        e, size = self.emit, len(starts)
        unroll = self.schedule.column_unroll(size)
        accs = starts + [zero] * ((unroll - 1) * size)

        def unrolled(k: ir.Value, *accs: ir.Value) -> list[ir.Value]:
            out: list[ir.Value] = []
            for u in range(unroll):
                out += step(e.add(k, u), list(accs[u * size : (u + 1) * size]))
            return out

        full = e.mul(_floordiv(e, columns, unroll), unroll)
        accs = e.loop(0, full, unroll, accs, unrolled)
        if unroll > 1:
            head = e.loop(full, columns, 1, accs[:size], lambda k, *a: step(k, list(a)))
            accs = head + accs[size:]
        return _tree_sum([accs[u * size : (u + 1) * size] for u in range(unroll)], plus)

    def _write(
        self,
        which: PanelClass,
        row: int,
        sums: Sequence[ir.Value],
        fields: Fields,
        vectors: Vectors,
        v: int,
    ) -> None:
        e = self.emit
        width = ir.VectorType(sums[0].type).shape[0]
        target, offset = vectors.target, vectors.target_offsets[v]
        if not which.scattered:
            start = e.add(offset, fields["out"], row)
            for r, value in enumerate(sums):
                e.vstore(value, target, e.add(start, r * width))
            return
        # lane by lane: on Zen 4 a twelfth faster than through memory and a loop over the rows
        for lane in reversed(range(width * len(sums))):
            place = e.load_index(self.constants.index, e.add(fields["out"], row + lane))
            e.store(e.lane(sums[lane // width], lane % width), target, e.add(offset, place))


def _floordiv(e: Emitter, value: ir.Value, divisor: int) -> ir.Value:
    return value if divisor == 1 else arith.divui(value, e.index(divisor))


def _tree_sum(
    terms: list[list[ir.Value]], plus: Callable[[ir.Value, ir.Value], ir.Value]
) -> list[ir.Value]:
    """Element-wise sum of equally long lists, by halves."""
    while len(terms) > 1:
        half = [
            [plus(a, b) for a, b in zip(left, right, strict=True)]
            for left, right in zip(terms[::2], terms[1::2], strict=False)
        ]
        terms = half + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]
