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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import TABLE_FIELDS, MatrixPlan, PanelClass
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class Constants:
    """The kernel's constant buffers, flat memrefs (see `plan`)."""

    values: ir.Value
    index: ir.Value
    table: ir.Value


@dataclass(frozen=True)
class Vectors:
    """`count` input vectors and where their results go: flat memrefs, an offset for each."""

    source: ir.Value
    source_offsets: Sequence[ir.Value]
    target: ir.Value
    target_offsets: Sequence[ir.Value]

    @property
    def count(self) -> int:
        return len(self.source_offsets)


Run = Callable[[Vectors], None]


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

    def _panel(self, which: PanelClass, fields: dict[str, ir.Value], vectors: Vectors) -> None:
        block = self.schedule.row_block(which.height, vectors.count)
        # from the last row to the first: a scattered panel's padding goes where its first row goes,
        # and must be overwritten there
        for row in reversed(range(0, which.height, block)):
            sums = self._accumulate(which.height, row, block, fields, vectors)
            for v in range(vectors.count):
                self._write(which, row, sums[v], fields, vectors, v)

    def _accumulate(
        self, height: int, row: int, block: int, fields: dict[str, ir.Value], vectors: Vectors
    ) -> list[list[ir.Value]]:
        """Rows [row, row + block) of a panel times every vector: sums[vector][register]."""
        e = self.emit
        width = min(block, e.width)
        registers, count = block // width, vectors.count
        unroll = self.schedule.column_unroll(registers * count)
        first = e.add(fields["bias_start"], row)
        values = self.constants.values
        bias = [e.vload(values, e.add(first, r * width), width) for r in range(registers)]
        zero = e.splat(0.0, width)
        accs = bias * count + [zero] * ((unroll - 1) * registers * count)
        weights = e.add(fields["value_start"], row)

        def step(k: ir.Value, accs: list[ir.Value]) -> list[ir.Value]:
            column = e.load_index(self.constants.index, e.add(fields["column_start"], k))
            start = e.add(weights, e.mul(k, height))
            panel = [e.vload(values, e.add(start, r * width), width) for r in range(registers)]
            out = []
            for v in range(count):
                x = e.load(vectors.source, e.add(vectors.source_offsets[v], column))
                x = e.splat(x, width)
                out += [e.fma(x, panel[r], accs[v * registers + r]) for r in range(registers)]
            return out

        size = registers * count

        def unrolled(k: ir.Value, *accs: ir.Value) -> list[ir.Value]:
            out: list[ir.Value] = []
            for u in range(unroll):
                out += step(e.add(k, u), list(accs[u * size : (u + 1) * size]))
            return out

        columns = fields["columns"]
        full = e.mul(_floordiv(e, columns, unroll), unroll)
        accs = e.loop(0, full, unroll, accs, unrolled)
        if unroll > 1:
            head = e.loop(full, columns, 1, accs[:size], lambda k, *a: step(k, list(a)))
            accs = head + accs[size:]
        sums = _tree_sum([accs[u * size : (u + 1) * size] for u in range(unroll)])
        return [sums[v * registers : (v + 1) * registers] for v in range(count)]

    def _write(
        self,
        which: PanelClass,
        row: int,
        sums: Sequence[ir.Value],
        fields: dict[str, ir.Value],
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


def _tree_sum(terms: list[list[ir.Value]]) -> list[ir.Value]:
    """Element-wise sum of equally long lists, by halves."""
    while len(terms) > 1:
        half = [
            [arith.addf(a, b) for a, b in zip(left, right, strict=True)]
            for left, right in zip(terms[::2], terms[1::2], strict=False)
        ]
        terms = half + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]
