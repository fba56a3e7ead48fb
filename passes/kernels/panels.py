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
    StagedInputs,
    add_lanes,
    dot_product,
    load_inputs,
    load_lanes,
    load_pairs,
    split_pairs,
)
from rtmobile_iree.passes.kernels.emit import Emitter, compare
from rtmobile_iree.passes.kernels.plan import (
    COLUMNS_A_LANE,
    QUADS,
    TABLE_FIELDS,
    MatrixPlan,
    PanelClass,
)
from rtmobile_iree.passes.kernels.staging import Stager
from rtmobile_iree.passes.kernels.tall import QUAD, Columns, sum_columns
from rtmobile_iree.passes.kernels.team import Team
from rtmobile_iree.passes.kernels.values import element, load_weights
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.schedule import FMA_IN_FLIGHT, IntegerDot, Schedule


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

    def _panel(self, which: PanelClass, fields: Fields, vectors: Vectors) -> None:
        block = self.schedule.row_block(which.height, vectors.count)
        # from the last row to the first: a scattered panel's padding goes where its first row goes,
        # and must be overwritten there
        sum_rows = self._sum_dots if which.kind in ("i8x4", "i8x8") else self._sum_floats
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
        """The same for an i8x4 or i8x8 panel."""
        e, dot, quantized = self.emit, self._dot(which), vectors.quantized
        assert quantized is not None
        width = min(block, e.width)
        registers, own_lanes = block // width, dot.lanes_a_row(which.height)
        zero = e.integer_splat(0, width * own_lanes)
        walk = self._walk_lanes if dot.by_lane and own_lanes == 1 else self._walk_dots
        walk = self._walk_pairs if dot.is_matrix else walk
        sums = walk(which, row, (width, registers), fields, quantized, zero)
        if dot.zero_point:
            correction = self._row_constants(which, 2, row, width, registers, fields)
            starts = [arith.bitcast(e.integers(width), bits) for bits in correction]
        bias = self._row_constants(which, 0, row, width, registers, fields)
        scales = self._row_constants(which, 1, row, width, registers, fields)
        results = []
        for v, scale in enumerate(quantized.scales):
            own = []
            for r in range(registers):
                total = add_lanes(sums[v * registers + r], width)
                if dot.zero_point:
                    total = arith.addi(total, starts[r])
                both = arith.mulf(scales[r], e.splat(scale, width))
                own.append(e.fma(arith.sitofp(e.vector_type(width), total), both, bias[r]))
            results.append(own)
        return results

    def _load_dots(
        self, which: PanelClass, row: int, sizes: tuple[int, int], fields: Fields, k: ir.Value
    ) -> list[ir.Value]:
        """Registers of an i8x4 panel: of four columns, or of several times four; of an i8x8 panel:
        of eight columns, two rows each half of a register."""
        e, (width, registers) = self.emit, sizes
        together = COLUMNS_A_LANE[which.kind] * self._dot(which).lanes_a_row(which.height)
        packed = ir.VectorType.get([width * together], element(which.kind))
        start = e.add(fields["value_start"], row * together, e.mul(k, which.height * together))
        source = self.constants.weights(which.kind)
        places = [e.add(start, r * width * together) for r in range(registers)]
        return [vector.load(packed, source, [at]) for at in places]

    def _walk_dots(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """Sums [vector, register] of an i8x4 panel, in as many lanes as `zero` has."""
        e, dot, (width, registers) = self.emit, self._dot(which), sizes
        own_lanes = dot.lanes_a_row(which.height)
        together = COLUMNS_A_LANE[which.kind] * own_lanes

        def step(k: ir.Value, accs: list[ir.Value], _: list[ir.Value]) -> list[ir.Value]:
            panel = self._load_dots(which, row, sizes, fields, k)
            out = []
            for v, staged in enumerate(quantized.staged):
                at = e.add(staged, e.mul(k, together))
                x = load_inputs(e, quantized.buffer, at, width, width * own_lanes)
                own = accs[v * registers :]
                out += [dot_product(dot, own[r], x, panel[r]) for r in range(registers)]
            return out

        nothing = [zero] * (registers * len(quantized.staged))
        return self._walk(fields["columns"], nothing, zero, arith.addi, step, lambda k, count: [])

    def _walk_lanes(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """The same where a register of inputs serves several products, a lane of it each."""
        e, dot, registers = self.emit, self._dot(which), sizes[1]
        lanes, columns = e.width, fields["columns"]

        def walk(count: int) -> Callable[..., list[ir.Value]]:
            def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
                out = list(sums)
                at = [e.add(staged, e.mul(k, 4)) for staged in quantized.staged]
                inputs = [load_lanes(e, quantized.buffer, place, count) for place in at]
                for lane in range(count):
                    panel = self._load_dots(which, row, sizes, fields, e.add(k, lane))
                    for v, x in enumerate(inputs):
                        for r, weights in enumerate(panel):
                            out[v * registers + r] = dot_product(
                                dot, out[v * registers + r], x[lane], weights
                            )
                return out

            return step

        size = registers * len(quantized.staged)
        full = e.mul(_floordiv(e, columns, lanes), lanes)
        sums = e.loop(0, full, lanes, [zero] * size, walk(lanes))
        return e.loop(full, columns, 1, sums, walk(1))

    def _walk_pairs(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """The same for an i8x8 panel: two rows times two vectors at once."""
        e, dot, registers = self.emit, self._dot(which), sizes[1]
        count = len(quantized.staged)
        pairs = -(-count // 2)

        def octet(k: ir.Value, sums: Sequence[ir.Value], x: list[ir.Value]) -> list[ir.Value]:
            out = list(sums)
            for r, four in enumerate(self._load_dots(which, row, sizes, fields, k)):
                bytes_ = ir.VectorType(four.type).shape[0]
                halves = [list(range(bytes_ // 2)), list(range(bytes_ // 2, bytes_))]
                two = [vector.shuffle(four, four, half) for half in halves]
                for pair in range(pairs):
                    for half, weights in enumerate(two):
                        at = (pair * registers + r) * 2 + half
                        out[at] = dot_product(dot, out[at], x[pair], weights)
            return out

        def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            x = load_pairs(e, quantized, e.mul(k, 8))
            first = octet(k, sums, [pair[0] for pair in x])
            return octet(e.add(k, 1), first, [pair[1] for pair in x])

        def last(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            return octet(k, sums, [pair[0] for pair in load_pairs(e, quantized, e.mul(k, 8))])

        columns = fields["columns"]
        full = e.mul(_floordiv(e, columns, 2), 2)
        sums = e.loop(0, full, 2, [zero] * (2 * pairs * registers), step)
        sums = e.loop(full, columns, 1, sums, last)
        found: list[ir.Value] = []
        for pair in range(pairs):
            own = sums[2 * registers * pair :][: 2 * registers]
            split = [
                split_pairs(own[2 * r], own[2 * r + 1], min(2, count - 2 * pair))
                for r in range(registers)
            ]
            found += [each[v] for v in range(len(split[0])) for each in split]
        return found

    def _dot(self, which: PanelClass) -> IntegerDot:
        """The instruction of an i8x4 or i8x8 panel."""
        dots = (self.schedule.dot, self.schedule.chunk_dot)
        return next(dot for dot in dots if dot is not None and dot.kind == which.kind)

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
