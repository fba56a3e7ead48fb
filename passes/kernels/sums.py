"""Sums of a panel's rows over its columns, for a few input vectors, in floating point.

    acc[v, :] = bias[panel]
    for k in panel.columns:
        for v in vectors:
            acc[v, :] += x[v, column_index[k]] * values[k, :]

Weights narrower than what is computed in are widened as they are loaded (`values`); whole groups
of f16 are summed as `tall` says. `dot_sums` has the quantized panels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rtmobile_iree.passes.kernels.dots import Quantized
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import (
    COLUMNS_A_LANE,
    NIBBLE_DOTS,
    NIBBLES,
    QUADS,
    PanelClass,
    elements_a_lane,
)
from rtmobile_iree.passes.kernels.tall import QUAD, Columns, sum_columns
from rtmobile_iree.passes.kernels.values import load_weights
from torch_mlir import ir
from torch_mlir.dialects import arith

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
        if kind == "f32":
            return self.values
        return self.narrow["i8" if kind in (NIBBLES, NIBBLE_DOTS) else kind.partition("x")[0]]


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
class PanelSums:
    """What all kinds of panels have in common: constants of their rows, and a walk over columns."""

    emit: Emitter
    schedule: Schedule
    constants: Constants

    def row_constants(
        self, which: PanelClass, part: int, row: int, width: int, registers: int, fields: Fields
    ) -> list[ir.Value]:
        """Registers of a panel's biases (part 0), scales (1) or starts (2)."""
        e = self.emit
        first = e.add(fields["bias_start"], part * which.height + row)
        return [
            e.vload(self.constants.values, e.add(first, r * width), width) for r in range(registers)
        ]

    def walk(
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

        full = e.mul(floordiv(e, columns, unroll), unroll)
        accs = e.loop(0, full, unroll, accs, unrolled)
        if unroll > 1:
            head = e.loop(
                full, columns, 1, accs[:size], lambda k, *a: step(k, list(a), numbers(k, 1))
            )
            accs = head + accs[size:]
        return _tree_sum([accs[u * size : (u + 1) * size] for u in range(unroll)], plus)

    def walk_groups(
        self,
        columns: ir.Value,
        size: int,
        sums: list[ir.Value],
        step: Callable[[ir.Value, int, list[ir.Value]], list[ir.Value]],
    ) -> list[ir.Value]:
        """Sums over all columns, taken by so many, and what is left over one by one.

        Args:
            step: (k, count, sums), returns the sums with so many columns from k on added.
        """
        e = self.emit
        full = e.mul(floordiv(e, columns, size), size)
        sums = e.loop(0, full, size, sums, lambda k, *own: step(k, size, list(own)))
        return e.loop(full, columns, 1, sums, lambda k, *own: step(k, 1, list(own)))


@dataclass(frozen=True)
class FloatSums(PanelSums):
    """Panels of f32, f16, bf16, i8 or i4 weights and inputs in floating point."""

    def rows(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """Rows [row, row + block) of a panel times every vector: sums[vector][register]."""
        sum_rows = self._sum_tall if which.tall else self._sum_floats
        return sum_rows(which, row, block, fields, vectors)

    def _sum_floats(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        e, count = self.emit, vectors.count
        width = min(block, e.width)
        registers = block // width
        source = self.constants.weights(which.kind)
        lanes, size = COLUMNS_A_LANE.get(which.kind, 1), elements_a_lane(which.kind)
        weights = e.add(fields["value_start"], row * size)
        bias = self.row_constants(which, 0, row, width, registers, fields)
        scaled = which.kind in ("i8", NIBBLES)
        starts = [e.splat(0.0, width)] * registers if scaled else bias

        def numbers(k: ir.Value, count: int) -> list[ir.Value]:
            place = e.add(fields["column_start"], e.mul(k, lanes))
            return e.load_indices(self.constants.index, place, count * lanes)

        def step(k: ir.Value, accs: list[ir.Value], columns: list[ir.Value]) -> list[ir.Value]:
            start = e.add(weights, e.mul(k, which.height * size))
            panel = [
                load_weights(e, which.kind, source, e.add(start, r * width * size), width)
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
        sums = self.walk(fields["columns"], starts * count, zero, arith.addf, step, numbers)
        if scaled:
            scales = self.row_constants(which, 1, row, width, registers, fields)
            sums = [
                e.fma(total, scales[i % registers], bias[i % registers])
                for i, total in enumerate(sums)
            ]
        return [sums[v * registers : (v + 1) * registers] for v in range(count)]

    def _sum_tall(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """The same of a panel of `tall`."""
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
        starts = self.row_constants(which, 0, row, e.width, registers, fields) * vectors.count
        sets = 1
        while sets < QUAD and sets * len(starts) < FMA_IN_FLIGHT:
            sets *= 2
        sums = _tree_sum(sum_columns(e, columns, x, starts, sets), arith.addf)
        return [sums[v * registers : (v + 1) * registers] for v in range(vectors.count)]


def floordiv(e: Emitter, value: ir.Value, divisor: int) -> ir.Value:
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
