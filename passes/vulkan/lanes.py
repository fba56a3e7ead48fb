"""BSPC matrices as a GPU reads them: lanes of four rows or a few times four, a thread each.

A panel is lanes side by side; the threads of neighbouring lanes load neighbouring elements of four
weights and the same column numbers. More rows a lane share the loads of its column numbers and
inputs, and leave fewer lanes to share out. Constants of a kernel, shared by its matrices:

- `weights`: four or more weights of a column an element, see `values`;
- `index` i32: kept columns;
- `table` vector<4xi32>, a few entries a lane: (first column, columns, first weights, elements from
  one column to the next); where its rows go, four an entry, -1 for padding; for i8 and i4 the
  bits of the rows' f32 scales, likewise; then what else a kernel looks up;
- `biases` f32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike
from rtmobile_iree.passes.vulkan.values import (
    ROWS,
    fitting_words,
    integer_powers,
    rows_a_load,
    stored_vectors,
)
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix, Panel, panel_values, panels
from rtmobile_iree.values import LARGEST, STORAGE

PADDING = -1
EVERY = slice(0, None)
MOST_PADDING = 1 / 8
Entry = tuple[int, ...]


@dataclass(frozen=True)
class Lanes:
    """One matrix, or some of its rows.

    Attributes:
        start, count: its lanes in the table.
        inputs: columns of the matrix.
        first_zeros, zeros: its entries of sums without weights, where the pool lists them.
    """

    start: int
    count: int
    inputs: int
    first_zeros: int = 0
    zeros: int = 0


@dataclass(frozen=True)
class LaneConstants:
    """The constants inside a kernel, as memrefs; the rest: see `LanePool`."""

    kind: str
    quads: int
    padded: bool
    weights: ir.Value
    index: ir.Value
    table: ir.Value
    biases: ir.Value
    word_bits: int = 0
    aligned: bool = False

    @property
    def loads(self) -> int:
        """Elements of weights that a lane has of a column."""
        return self.quads * ROWS // rows_a_load(self.kind, self.word_bits)


@dataclass
class LanePool:
    """Grows the constants of a kernel.

    Attributes:
        kind: the type of all values.
        quads: a lane has four times as many rows.
        padded: whether some lanes have fewer.
        word_bits: of the words that elements of weights are made of; see `values`.
        aligned: whether the results of every four rows go to an aligned four, or are all padding.
    """

    kind: str
    quads: int = 1
    padded: bool = False
    word_bits: int = 0
    aligned: bool = True
    _values: list[np.ndarray] = field(default_factory=list)
    _index: list[np.ndarray] = field(default_factory=list)
    _table: list[Entry] = field(default_factory=list)
    _biases: list[np.ndarray] = field(default_factory=list)
    _elements: int = 0

    @staticmethod
    def of_words(kind: str, quads: int, most: int) -> LanePool:
        """An empty one, of the widest words, `most` bits, that a lane's rows divide into."""
        return LanePool(kind, quads, word_bits=fitting_words(kind, quads * ROWS, most))

    def add_matrix(
        self, packed: PackedMatrix, positions: np.ndarray, *, is_complete: bool = False
    ) -> Lanes:
        """Lays a matrix out.

        Args:
            positions: [M] where each row's result goes; PADDING for rows that have none.
            is_complete: rows that are not stored get lanes without columns, which write zeros.
        """
        (lanes,) = self.add_parts(
            packed, positions, np.zeros_like(positions), 1, is_complete=is_complete
        )
        return lanes

    def add_parts(
        self,
        packed: PackedMatrix,
        positions: np.ndarray,
        owners: np.ndarray,
        count: int,
        *,
        is_complete: bool = False,
    ) -> list[Lanes]:
        """Lays a matrix out in `count` parts; `owners` [M]: which part has each row."""
        first = sum(array.size for array in self._index)
        self._index.append(packed.column_index.astype(np.int32))
        found, all_panels = [], panels(packed)
        absent = np.setdiff1d(np.arange(packed.shape[0]), packed.reorder)
        for part in range(count):
            start = self._lanes
            for panel in all_panels:
                self._add_panel(packed, panel, first, positions, owners == part)
            if is_complete:
                places = positions[absent[owners[absent] == part]]
                self._add_absent(places[places != PADDING])
            found.append(Lanes(start, self._lanes - start, packed.shape[1]))
        return found

    def add_columns(
        self, packed: PackedMatrix, positions: np.ndarray, starts: Sequence[int]
    ) -> list[Lanes]:
        """Lays a matrix out in parts of its columns, numbered from each part's start.

        Args:
            positions: [M] where each row's result goes.
            starts: of the parts, rising from 0.
        """
        first = sum(array.size for array in self._index)
        index = packed.column_index.astype(np.int32)
        part_of = np.searchsorted(starts, index, side="right") - 1
        self._index.append(index - np.array(starts, np.int32)[part_of])
        found, every_row = [], np.ones(packed.shape[0], bool)
        for part in range(len(starts)):
            start = self._lanes
            for panel in panels(packed):
                columns = slice(panel.column_start, panel.column_start + panel.columns)
                low, high = np.searchsorted(part_of[columns], (part, part + 1))  # columns ascend
                if low < high:
                    own = slice(int(low), int(high))
                    self._add_panel(packed, panel, first, positions, every_row, own)
            found.append(Lanes(start, self._lanes - start, packed.shape[1]))
        return found

    def add_biases(self, values: np.ndarray) -> int:
        """Returns the offset of what it added."""
        start = sum(array.size for array in self._biases)
        self._biases.append(values.astype(np.float32))
        return start

    def add_entries(self, entries: Sequence[Entry]) -> int:
        """Adds to the table what is no lane; returns its offset. No matrix may follow."""
        start = len(self._table)
        self._table += entries
        return start

    def arrays(self) -> list[np.ndarray]:
        """weights, index [.], table [., 4], biases [.]; none is empty, as no buffer may be."""
        rows = rows_a_load(self.kind, self.word_bits)
        stored = _joined(self._values, STORAGE[self.kind], rows).reshape(-1, rows)
        return [
            stored_vectors(self.kind, stored, self.word_bits),
            _joined(self._index, np.int32),
            _joined([np.array(self._table)], np.int32).reshape(-1, ROWS),
            _joined(self._biases, np.float32),
        ]

    def inside(self, buffers: Sequence[ir.Value]) -> LaneConstants:
        """The same inside a kernel."""
        weights, index, table, biases = buffers
        own = (self.kind, self.quads, self.padded)
        return LaneConstants(*own, weights, index, table, biases, self.word_bits, self.aligned)

    @property
    def _lanes(self) -> int:
        return len(self._table) // entries_a_lane(self.kind, self.quads)

    def _add_panel(
        self,
        packed: PackedMatrix,
        panel: Panel,
        first: int,
        positions: np.ndarray,
        is_own: np.ndarray,
        columns: slice = EVERY,
    ) -> None:
        """The rows of a panel that are `is_own` [M], and of its columns `columns`."""
        stored = slice(panel.row_start, panel.row_start + panel.rows)
        rows = packed.reorder[stored]
        own = np.flatnonzero(is_own[rows])
        values = panel_values(packed, panel)[columns]
        scales = packed.scales[stored] if packed.scales.size else np.ones(panel.rows, np.float32)
        start = first + panel.column_start + columns.start
        self._add_rows((start, len(values)), values[:, own], positions[rows[own]], scales[own])

    def _add_absent(self, positions: np.ndarray) -> None:
        none = np.zeros((0, positions.size), STORAGE[self.kind])
        self._add_rows((0, 0), none, positions, np.ones(positions.size, np.float32))

    def _add_rows(
        self,
        columns: tuple[int, int],
        values: np.ndarray,
        positions: np.ndarray,
        scales: np.ndarray,
    ) -> None:
        """Lanes of `values` [columns, rows]; `columns`: where they begin in the index, how many."""
        quads = self.quads
        missing = -positions.size % (quads * ROWS)
        self.padded |= missing > 0
        places = np.pad(positions, (0, missing), constant_values=PADDING)
        self.aligned &= _is_aligned(places.reshape(-1, ROWS))
        scales = np.pad(scales, (0, missing))
        if self.kind in LARGEST:
            scales = scales / integer_powers(self.kind, scales.size)
        bits = scales.astype(np.float32).view(np.int32)
        self._values.append(np.pad(values, ((0, 0), (0, missing))))
        a_load = rows_a_load(self.kind, self.word_bits)
        elements = places.size // a_load
        for first in range(0, places.size, quads * ROWS):
            rows = slice(first, first + quads * ROWS)
            lists = (places[rows], bits[rows]) if self.kind in LARGEST else (places[rows],)
            self._table.append((*columns, self._elements + first // a_load, elements))
            self._table += [tuple(e) for each in lists for e in each.reshape(-1, ROWS).tolist()]
        self._elements += columns[1] * elements


def entries_a_lane(kind: str, quads: int) -> int:
    """Entries of the table: i8 and i4 have scales."""
    return 1 + quads * (2 if kind in LARGEST else 1)


def _is_aligned(places: np.ndarray) -> bool:
    """Whether fours [n, 4] are aligned ranges, or padding altogether."""
    ranges = (places[:, :1] % ROWS == 0) & (places == places[:, :1] + np.arange(ROWS))
    return bool((ranges | (places == PADDING)).all(1).all())


def fitting_quads(matrices: Sequence[PackedMatrix], most: int) -> int:
    """How many fours of rows a lane may have, a power of two up to `most`, so that padding stays
    below an eighth of the stored weights; as many as one load has in any case."""
    quads = max((rows_a_load(each.value_type, 0) // ROWS for each in matrices), default=1)
    while 2 * quads <= most and _padding(matrices, 2 * quads) < MOST_PADDING:
        quads *= 2
    return quads


def _padding(matrices: Sequence[PackedMatrix], quads: int) -> float:
    """What lanes of so many rows add to the stored weights."""
    all_panels = [panel for matrix in matrices for panel in panels(matrix)]
    stored = sum(panel.rows * panel.columns for panel in all_panels)
    size = quads * ROWS
    padded = sum(-(-panel.rows // size) * size * panel.columns for panel in all_panels)
    return padded / stored - 1 if stored else 0.0


def _joined(parts: Sequence[np.ndarray], kind: DTypeLike, least: int = ROWS) -> np.ndarray:
    """One flat array; `least` zeros where there would be nothing."""
    flat = np.concatenate([np.zeros(0, kind), *(part.ravel() for part in parts)]).astype(kind)
    return flat if flat.size else np.zeros(least, kind)
