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
from dataclasses import dataclass, field, replace

from rtmobile_iree.passes.kernels.dots import (
    Quantized,
    add_lanes,
    dot_product,
    load_inputs,
    stage,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import (
    COLUMNS_A_LANE,
    QUADS,
    TABLE_FIELDS,
    MatrixPlan,
    PanelClass,
)
from rtmobile_iree.passes.kernels.tall import QUAD, Columns, sum_columns
from rtmobile_iree.passes.kernels.team import Team
from rtmobile_iree.passes.kernels.values import element, load_weights
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.schedule import FMA_IN_FLIGHT, Schedule


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


Fields = dict[str, ir.Value]


@dataclass(frozen=True)
class PanelKernel:
    """Emits matrix-times-vectors over one matrix plan; all panels, or a team member's share."""

    emit: Emitter
    schedule: Schedule
    constants: Constants
    team: Team | None = None

    def matvec(self, matrix: MatrixPlan, vectors: Vectors) -> None:
        """All panels of a matrix, for one tile of vectors."""
        e, count = self.emit, vectors.count
        for which in matrix.classes:
            staged = self._stage_class(which, matrix.inputs, vectors)

            def body(panel: ir.Value, which: PanelClass = which, staged: bool = staged) -> None:
                first = e.mul(panel, count)
                own = _staged(e, vectors, which, first) if staged else vectors
                self._panel(which, self._fields(which, panel), own)

            self._each_panel(which, body)

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
        for which in matrix.classes:

            def body(panel: ir.Value, which: PanelClass = which) -> None:
                fields, staged = self._fields(which, panel), which.stage > 0

                def tile(first: ir.Value, size: int) -> None:
                    own = vectors_at(first, size)
                    own = _staged(e, own, which, first) if staged else own
                    self._panel(which, fields, own)

                def stage_one(v: ir.Value) -> None:
                    own = _staged(e, vectors_at(v, 1), which, v)
                    self._stage(which, fields, matrix.inputs, own)

                if staged:
                    e.loop(0, count, 1, [], stage_one)
                self._tiles(count, tile)

            self._each_panel(which, body)

    def _each_panel(self, which: PanelClass, body: Callable[[ir.Value], None]) -> None:
        first, stop = (0, which.count) if self.team is None else self.team.share(which.count)
        self.emit.loop(first, stop, 1, [], body)

    def _tiles(self, count: ir.Value, run: Callable[[ir.Value, int], None]) -> None:
        """run(first, size) over [0, count): as many as fit of 4 vectors, say, then of 2, then 1."""
        e = self.emit
        done, size = e.index(0), self.schedule.vector_tile
        while size:
            fit = e.mul(_floordiv(e, e.sub(count, done), size), size)
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

    def _stage_class(self, which: PanelClass, inputs: int, vectors: Vectors) -> bool:
        """Moves the inputs of all panels of an i8x4 class together; whether it is one."""
        if not which.stage:
            return False
        e = self.emit

        def body(panel: ir.Value) -> None:
            own = _staged(e, vectors, which, e.mul(panel, vectors.count))
            self._stage(which, self._fields(which, panel), inputs, own)

        self._each_panel(which, body)
        return True

    def _stage(self, which: PanelClass, fields: Fields, inputs: int, vectors: Vectors) -> None:
        """Moves the inputs of one panel together."""
        e, dot, quantized = self.emit, self.schedule.dot, vectors.quantized
        assert dot is not None
        assert quantized is not None
        index = (self.constants.index, fields["column_start"])
        together = COLUMNS_A_LANE[which.kind] * dot.lanes_a_row(which.height)
        sizes = (inputs, e.mul(fields["columns"], together))
        for offset, target in zip(quantized.offsets, quantized.staged, strict=True):
            stage(e, dot, index, (quantized.buffer, offset), target, sizes, which.crowded)

    def _panel(self, which: PanelClass, fields: Fields, vectors: Vectors) -> None:
        block = self.schedule.row_block(which.height, vectors.count)
        # from the last row to the first: a scattered panel's padding goes where its first row goes,
        # and must be overwritten there
        sum_rows = self._sum_dots if which.kind == "i8x4" else self._sum_floats
        sum_rows = self._sum_tall if which.tall else sum_rows
        for row in reversed(range(0, which.height, block)):
            sums = sum_rows(which, row, min(block, which.height - row), fields, vectors)
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

        def numbers(k: ir.Value, count: int) -> list[ir.Value]:
            place = e.add(fields["column_start"], e.mul(k, lanes))
            return e.load_indices(self.constants.index, place, count * lanes)

        def step(k: ir.Value, accs: list[ir.Value], columns: list[ir.Value]) -> list[ir.Value]:
            start = e.add(weights, e.mul(k, which.height * lanes))
            panel = [
                load_weights(e, which.kind, source, e.add(start, r * width * lanes), width)
                for r in range(registers)
            ]
            for lane, column in enumerate(columns):
                out = []
                for v in range(count):
                    x = e.load(vectors.source, e.add(vectors.source_offsets[v], column))
                    x = e.splat(x, width)
                    own = accs[v * registers :]
                    out += [e.fma(x, panel[r][lane], own[r]) for r in range(registers)]
                accs = out
            return accs

        zero = e.splat(0.0, width)
        sums = self._walk(fields["columns"], starts * count, zero, arith.addf, step, numbers)
        if scaled:
            scales = self._row_constants(which, 1, row, width, registers, fields)
            sums = [
                e.fma(total, scales[i % registers], bias[i % registers])
                for i, total in enumerate(sums)
            ]
        return [sums[v * registers : (v + 1) * registers] for v in range(count)]

    def _sum_tall(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """The same for a panel of `tall`."""
        e, registers = self.emit, block // self.emit.width
        columns = Columns(
            self.constants.weights(QUADS),
            fields["column_start"],
            self.constants.weights(which.kind),
            e.add(fields["value_start"], row),
            which.height,
            fields["columns"],
            which.quads,
        )
        x = [(vectors.source, offset) for offset in vectors.source_offsets]
        starts = self._row_constants(which, 0, row, e.width, registers, fields) * vectors.count
        sets = 1
        while sets < QUAD and sets * len(starts) < FMA_IN_FLIGHT:
            sets *= 2
        sums = _tree_sum(sum_columns(e, columns, x, starts, sets), arith.addf)
        return [sums[v * registers : (v + 1) * registers] for v in range(vectors.count)]

    def _sum_dots(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """The same for an i8x4 panel."""
        e, dot, quantized = self.emit, self.schedule.dot, vectors.quantized
        assert dot is not None
        assert quantized is not None
        width = min(block, e.width)
        registers, own_lanes = block // width, dot.lanes_a_row(which.height)
        source = self.constants.weights(which.kind)
        together = COLUMNS_A_LANE[which.kind] * own_lanes
        packed = ir.VectorType.get([width * together], element(which.kind))
        weights = e.add(fields["value_start"], row * together)
        correction = self._row_constants(which, 2, row, width, registers, fields)
        starts = [arith.bitcast(e.integers(width), bits) for bits in correction]

        def step(k: ir.Value, accs: list[ir.Value], _: list[ir.Value]) -> list[ir.Value]:
            start = e.add(weights, e.mul(k, which.height * together))
            panel = [
                vector.load(packed, source, [e.add(start, r * width * together)])
                for r in range(registers)
            ]
            out = []
            for v, staged in enumerate(quantized.staged):
                at = e.add(staged, e.mul(k, together))
                x = load_inputs(e, quantized.buffer, at, width, width * own_lanes)
                own = accs[v * registers :]
                out += [dot_product(dot, own[r], x, panel[r]) for r in range(registers)]
            return out

        zero = e.integer_splat(0, width * own_lanes)
        nothing = [zero] * (registers * vectors.count)
        sums = self._walk(fields["columns"], nothing, zero, arith.addi, step, lambda k, count: [])
        bias = self._row_constants(which, 0, row, width, registers, fields)
        scales = self._row_constants(which, 1, row, width, registers, fields)
        results = []
        for v, scale in enumerate(quantized.scales):
            own = []
            for r in range(registers):
                total = arith.addi(add_lanes(sums[v * registers + r], width), starts[r])
                both = arith.mulf(scales[r], e.splat(scale, width))
                own.append(e.fma(arith.sitofp(e.vector_type(width), total), both, bias[r]))
            results.append(own)
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
        step: Callable[[ir.Value, list[ir.Value], list[ir.Value]], list[ir.Value]],
        numbers: Callable[[ir.Value, int], list[ir.Value]],
    ) -> list[ir.Value]:
        """Sums over all columns, several at once so that additions need not wait for each other.

        Args:
            step: (k, sums, what `numbers` says of k), returns the sums with column k added.
            numbers: (k, count) -> what is loaded at once for so many columns from k on.
        """
        e, size = self.emit, len(starts)
        unroll = self.schedule.column_unroll(size)
        accs = starts + [zero] * ((unroll - 1) * size)

        def unrolled(k: ir.Value, *accs: ir.Value) -> list[ir.Value]:
            out: list[ir.Value] = []
            found = numbers(k, unroll)
            each = len(found) // unroll
            for u in range(unroll):
                own = found[u * each : (u + 1) * each]
                out += step(e.add(k, u), list(accs[u * size : (u + 1) * size]), own)
            return out

        full = e.mul(_floordiv(e, columns, unroll), unroll)
        accs = e.loop(0, full, unroll, accs, unrolled)
        if unroll > 1:
            head = e.loop(
                full, columns, 1, accs[:size], lambda k, *a: step(k, list(a), numbers(k, 1))
            )
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


def _staged(e: Emitter, vectors: Vectors, which: PanelClass, first: ir.Value) -> Vectors:
    """The vectors with the places of their moved inputs: `first` on in areas of `which.stage`."""
    assert vectors.quantized is not None
    places = [e.mul(e.add(first, v), which.stage) for v in range(vectors.count)]
    return replace(vectors, quantized=replace(vectors.quantized, staged=places))


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
