"""Matrices cut into tiles of one shape, the work of one thread in the resident scan.

Rows that keep the same columns are cut into slabs of `rows`, their columns into runs of `columns`;
columns that a tile lacks are zeros, rows are its first row again. Tiles with few columns come last,
so that their threads stop early. A tile loads each of its inputs once for all its rows, and leaves
one term of each row's sum. Host only: nothing here emits code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rtmobile_iree.bspc import PackedMatrix, panel_values, panels

PADDING = -1


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that keep the same columns.

    Attributes:
        sums: [R] the sum that each row is added to.
        sources: [K] where the inputs lie.
        values: [K, R] as stored.
        scales: [R] f32, ones but for i8.
    """

    sums: np.ndarray
    sources: np.ndarray
    values: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True)
class TileShape:
    """Rows, a multiple of four, and columns of a tile."""

    rows: int
    columns: int

    def slabs(self, rows: Rows) -> int:
        return -(-rows.sums.size // self.rows)

    def runs(self, rows: Rows) -> int:
        """Runs of columns, and so terms of each row's sum."""
        return -(-rows.sources.size // self.columns)


@dataclass(frozen=True)
class Lengths:
    """How many tiles there are, and of them those that have more than `short` columns."""

    count: int
    long: int
    short: int

    def columns(self, shape: TileShape) -> int:
        """Of all tiles together."""
        return self.long * shape.columns + (self.count - self.long) * self.short


@dataclass(frozen=True, eq=False)
class Tiles:
    """All tiles of a stack.

    Attributes:
        lengths: the long ones come first.
        sums, terms: [n, rows] the sum that a row's product is a term of, and the number of the
            term.
        sources: [n, columns] where inputs lie, PADDING for no column.
        values: [n, columns, rows] as stored.
        scales: [n, rows] f32.
    """

    shape: TileShape
    lengths: Lengths
    sums: np.ndarray
    terms: np.ndarray
    sources: np.ndarray
    values: np.ndarray
    scales: np.ndarray

    @property
    def count(self) -> int:
        return self.sums.shape[0]


def read_rows(packed: PackedMatrix, sums: np.ndarray, first: int) -> list[Rows]:
    """A matrix by its patterns of columns.

    Args:
        sums: [M] the sum that each row is added to.
        first: where its first input lies.
    """
    parts: dict[int, list[Rows]] = {}
    for panel in panels(packed):
        stored = slice(panel.row_start, panel.row_start + panel.rows)
        values = panel_values(packed, panel)
        columns = packed.column_index[panel.column_start : panel.column_start + panel.columns]
        has_scales = packed.scales.size > 0
        scales = packed.scales[stored] if has_scales else np.ones(panel.rows, np.float32)
        sources = first + columns.astype(np.int64)
        rows = Rows(sums[packed.reorder[stored]], sources, values[:, : panel.rows], scales)
        parts.setdefault(panel.group, []).append(rows)
    return [_joined(each) for each in parts.values()]


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([part.sums for part in parts]),
        parts[0].sources,
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.scales for part in parts]),
    )


def measure(groups: Sequence[Rows], shape: TileShape) -> Lengths:
    """Counts tiles, and calls those short whose missing columns add up to most."""
    tiles = [(_length(rows, shape), shape.slabs(rows) * shape.runs(rows)) for rows in groups]
    count = sum(number for _, number in tiles)
    best = Lengths(count, count, shape.columns)
    for short in sorted({length for length, _ in tiles}):
        found = Lengths(count, sum(n for length, n in tiles if length > short), short)
        best = min(best, found, key=lambda each: each.columns(shape))
    return best


def _length(rows: Rows, shape: TileShape) -> int:
    """Columns of the longest run."""
    return -(-rows.sources.size // shape.runs(rows))


def count_terms(groups: Sequence[Rows], shape: TileShape, sums: int) -> np.ndarray:
    """[sums] how many terms each sum has."""
    found = np.zeros(sums, np.int64)
    for rows in groups:
        found[rows.sums] += shape.runs(rows)
    return found


def cut(groups: Sequence[Rows], shape: TileShape, sums: int) -> Tiles:
    """Cuts them all; there must be one group at least. `sums`: how many there are."""
    lengths = measure(groups, shape)
    count, kind = lengths.count, groups[0].values.dtype
    made = Tiles(
        shape,
        lengths,
        np.zeros((count, shape.rows), np.int64),
        np.zeros((count, shape.rows), np.int64),
        np.full((count, shape.columns), PADDING, np.int64),
        np.zeros((count, shape.columns, shape.rows), kind),
        np.zeros((count, shape.rows), np.float32),
    )
    done, tile = np.zeros(sums, np.int64), 0
    for group in sorted(groups, key=lambda rows: _length(rows, shape) <= lengths.short):
        for columns in _runs(group, shape):
            for start in range(0, group.sums.size, shape.rows):
                rows = np.arange(start, start + shape.rows)
                rows[rows >= group.sums.size] = start
                made.sums[tile] = group.sums[rows]
                made.terms[tile] = done[group.sums[rows]]
                made.sources[tile, : columns.size] = group.sources[columns]
                made.values[tile, : columns.size] = group.values[columns[:, None], rows]
                made.scales[tile] = group.scales[rows]
                tile += 1
            done[group.sums] += 1
    return made


def _runs(group: Rows, shape: TileShape) -> Iterator[np.ndarray]:
    """Numbers of the columns of each run, all runs about as long."""
    if group.sources.size:
        yield from np.array_split(np.arange(group.sources.size), shape.runs(group))
