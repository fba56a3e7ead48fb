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
`sums` has the sums in floating point, `dot_sums` those of quantized panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.passes.kernels.dot_sums import DotSums
from rtmobile_iree.passes.kernels.dots import Quantized, StagedInputs
from rtmobile_iree.passes.kernels.emit import Emitter, compare
from rtmobile_iree.passes.kernels.plan import DOTS, TABLE_FIELDS, MatrixPlan, PanelClass
from rtmobile_iree.passes.kernels.staging import Stager
from rtmobile_iree.passes.kernels.sums import Constants, Fields, FloatSums, Vectors, floordiv
from rtmobile_iree.passes.kernels.team import Team
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class PanelKernel:
    """Emits matrix-times-vectors over one matrix plan; all panels, or a team member's share."""

    emit: Emitter
    schedule: Schedule
    constants: Constants
    team: Team | None = None

    def matvec(self, matrix: MatrixPlan, vectors: Vectors, turn: ir.Value | None = None) -> None:
        """All panels of a matrix, for one tile of vectors.

        Args:
            turn: index value; where it is odd, the panels of a class are walked backward.
        """
        e, count = self.emit, vectors.count
        zero, quantized = e.index(0), vectors.quantized
        inputs = self._inputs(matrix, count, e.index(count), quantized)
        if inputs is not None and inputs.whole:
            inputs.stage_all(zero, quantized)
        for which in matrix.classes:

            def body(panel: ir.Value, which: PanelClass = which) -> None:
                fields, own = self._fields(which, panel), vectors
                if inputs is not None:
                    group = fields["column_start"]
                    if not inputs.whole:
                        inputs.stage_one(group, zero, quantized)
                    own = replace(own, quantized=inputs.staged(group, zero, quantized))
                self._panel(which, fields, own)

            self._each_panel(which, body, turn)

    def matmul(
        self,
        matrix: MatrixPlan,
        count: ir.Value,
        most: int,
        vectors_at: Callable[[ir.Value, int], Vectors],
    ) -> None:
        """All panels of a matrix, for `count` vectors: each panel stays in cache for all of them.

        Args:
            count: number of vectors (index value), `most` of them at most.
            vectors_at: (first vector, how many) -> `Vectors`.
        """
        e = self.emit
        inputs = self._inputs(matrix, most, count, vectors_at(e.index(0), 1).quantized)
        if inputs is not None and inputs.whole:
            e.loop(0, count, 1, [], lambda v: inputs.stage_all(v, vectors_at(v, 1).quantized))
        for which in matrix.classes:

            def body(panel: ir.Value, which: PanelClass = which) -> None:
                fields = self._fields(which, panel)
                group = fields["column_start"]

                def stage_one(v: ir.Value) -> None:
                    assert inputs is not None
                    inputs.stage_one(group, v, vectors_at(v, 1).quantized)

                def tile(first: ir.Value, size: int) -> None:
                    own = vectors_at(first, size)
                    if inputs is not None:
                        own = replace(own, quantized=inputs.staged(group, first, own.quantized))
                    self._panel(which, fields, own)

                if inputs is not None and not inputs.whole:
                    e.loop(0, count, 1, [], stage_one)
                self._tiles(count, tile)

            self._each_panel(which, body)

    def _inputs(
        self, matrix: MatrixPlan, most: int, count: ir.Value, quantized: Quantized | None
    ) -> StagedInputs | None:
        """None where the matrix takes its inputs as floats. Members of a team move their own."""
        staging = matrix.staging
        if staging is None:
            return None
        assert quantized is not None
        whole = self.team is None and staging.is_whole(most)
        constants = self.constants
        picks = constants.weights("i8")
        stager = Stager(self.emit, staging, constants.index, picks, quantized.buffer)
        return StagedInputs(stager, count, whole)

    def _each_panel(
        self,
        which: PanelClass,
        body: Callable[[ir.Value], None],
        turn: ir.Value | None = None,
    ) -> None:
        e = self.emit
        first, stop = (0, which.count) if self.team is None else self.team.share(which.count)
        if turn is None:
            e.loop(first, stop, 1, [], body)
            return
        is_odd = compare("ne", arith.andi(turn, e.index(1)), e.index(0))
        last = e.sub(e.add(first, stop), e.index(1))
        e.loop(first, stop, 1, [], lambda i: body(arith.select(is_odd, e.sub(last, i), i)))

    def _tiles(self, count: ir.Value, run: Callable[[ir.Value, int], None]) -> None:
        """run(first, size) over [0, count): as many as fit of 4 vectors, say, then of 2, then 1."""
        e = self.emit
        done, size = e.index(0), self.schedule.vector_tile
        while size:
            fit = e.mul(floordiv(e, e.sub(count, done), size), size)
            stop = e.add(done, fit)
            e.loop(done, stop, size, [], lambda i, n=size: run(i, n))
            done, size = stop, size // 2

    def _fields(self, which: PanelClass, panel: ir.Value) -> Fields:
        """A panel's row of the table."""
        e = self.emit
        base = e.mul(e.add(panel, which.table_start), len(TABLE_FIELDS))
        return {
            name: e.load_index(self.constants.table, e.add(base, i))
            for i, name in enumerate(TABLE_FIELDS)
        }

    def _panel(self, which: PanelClass, fields: Fields, vectors: Vectors) -> None:
        block = self.schedule.row_block(which.height, vectors.count)
        # from the last row to the first: a scattered panel's padding goes where its first row goes,
        # and must be overwritten there
        sums_of = DotSums if which.kind in DOTS else FloatSums
        rows = sums_of(self.emit, self.schedule, self.constants).rows
        for row in reversed(range(0, which.height, block)):
            sums = rows(which, row, min(block, which.height - row), fields, vectors)
            for v in range(vectors.count):
                self._write(which, row, sums[v], fields, vectors, v)

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
                at = e.add(start, r * width)
                if which.partial:
                    left = e.sub(fields["rows"], e.index(row + r * width))
                    e.store_first(value, left, target, at)
                else:
                    e.vstore(value, target, at)
            return
        # lane by lane: on Zen 4 a twelfth faster than through memory and a loop over the rows
        for lane in reversed(range(width * len(sums))):
            place = e.load_index(self.constants.index, e.add(fields["out"], row + lane))
            e.store(e.lane(sums[lane // width], lane % width), target, e.add(offset, place))
