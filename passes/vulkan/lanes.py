"""BSPC matrices as a GPU reads them: lanes of four rows, a thread each.

A panel of height 4 L is L lanes side by side; the threads of neighbouring lanes load neighbouring
elements of four weights and the same column numbers. Constants of a kernel, shared by its matrices:

- `weights`: four weights of a column an element, see `values`;
- `index` i32: kept columns;
- `table` vector<4xi32>, a few entries a lane: (first column, columns, first weights, elements from
  one column to the next), where its four rows go, -1 for padding, and for i8 the bits of the rows'
  f32 scales; then what else a kernel looks up;
- `biases` f32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike
from rtmobile_iree.passes.vulkan.values import ROWS, stored_vectors
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix, Panel, panels
from rtmobile_iree.values import STORAGE

PADDING = -1
Entry = tuple[int, ...]


@dataclass(frozen=True)
class Lanes:
    """One matrix, or some of its rows.

    Attributes:
        start, count: its lanes in the table.
        inputs: columns of the matrix.
    """

    start: int
    count: int
    inputs: int


@dataclass(frozen=True)
class LaneConstants:
    """The constants inside a kernel, as memrefs; `kind`, `padded`: see `LanePool`."""

    kind: str
    padded: bool
    weights: ir.Value
    index: ir.Value
    table: ir.Value
    biases: ir.Value


@dataclass
class LanePool:
    """Grows the constants of a kernel.

    Attributes:
        kind: the type of all values.
        padded: whether some lanes have fewer than four rows.
    """

    kind: str
    padded: bool = False
    _values: list[np.ndarray] = field(default_factory=list)
    _index: list[np.ndarray] = field(default_factory=list)
    _table: list[Entry] = field(default_factory=list)
    _biases: list[np.ndarray] = field(default_factory=list)
    _elements: int = 0

    def add_matrix(
        self, packed: PackedMatrix, positions: np.ndarray, *, is_complete: bool = False
    ) -> Lanes:
        """Lays a matrix out.

        Args:
            positions: [M] where each row's result goes.
            is_complete: rows that are not stored get lanes without columns, which write zeros.
        """
        (lanes,) = self.add_parts(packed, positions, np.zeros_like(positions), 1)
        if is_complete:
            absent = positions[np.setdiff1d(np.arange(packed.shape[0]), packed.reorder)]
            none = np.zeros((0, absent.size), STORAGE[self.kind])
            self._add_rows((0, 0), none, absent, np.ones(absent.size, np.float32))
        return Lanes(lanes.start, self._lanes - lanes.start, lanes.inputs)

    def add_parts(
        self, packed: PackedMatrix, positions: np.ndarray, owners: np.ndarray, count: int
    ) -> list[Lanes]:
        """Lays a matrix out in `count` parts; `owners` [M]: which part has each row."""
        first = sum(array.size for array in self._index)
        self._index.append(packed.column_index.astype(np.int32))
        found, all_panels = [], panels(packed)
        for part in range(count):
            start = self._lanes
            for panel in all_panels:
                self._add_panel(packed, panel, first, positions, owners == part)
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
        stored = _joined(self._values, STORAGE[self.kind]).reshape(-1, ROWS)
        return [
            stored_vectors(self.kind, stored),
            _joined(self._index, np.int32),
            _joined([np.array(self._table)], np.int32).reshape(-1, ROWS),
            _joined(self._biases, np.float32),
        ]

    @property
    def _lanes(self) -> int:
        return len(self._table) // entries_a_lane(self.kind)

    def _add_panel(
        self,
        packed: PackedMatrix,
        panel: Panel,
        first: int,
        positions: np.ndarray,
        is_own: np.ndarray,
    ) -> None:
        """The rows of a panel that are `is_own` [M]."""
        stored = slice(panel.row_start, panel.row_start + panel.rows)
        rows = packed.reorder[stored]
        own = np.flatnonzero(is_own[rows])
        end = panel.value_start + panel.columns * panel.height
        values = packed.values[panel.value_start : end].reshape(panel.columns, panel.height)
        scales = packed.scales[stored] if packed.scales.size else np.ones(panel.rows, np.float32)
        columns = (first + panel.column_start, panel.columns)
        self._add_rows(columns, values[:, own], positions[rows[own]], scales[own])

    def _add_rows(
        self,
        columns: tuple[int, int],
        values: np.ndarray,
        positions: np.ndarray,
        scales: np.ndarray,
    ) -> None:
        """Lanes of `values` [columns, rows]; `columns`: where they begin in the index, how many."""
        missing = -positions.size % ROWS
        self.padded |= missing > 0
        places = np.pad(positions, (0, missing), constant_values=PADDING).reshape(-1, ROWS)
        bits = np.pad(scales, (0, missing)).astype(np.float32).view(np.int32).reshape(-1, ROWS)
        self._values.append(np.pad(values, ((0, 0), (0, missing))))
        for number, place in enumerate(places):
            fields = (*columns, self._elements + number, len(places))
            entries = [fields, tuple(place.tolist()), tuple(bits[number].tolist())]
            self._table += entries[: entries_a_lane(self.kind)]
        self._elements += columns[1] * len(places)


def entries_a_lane(kind: str) -> int:
    """Entries of the table: i8 has scales."""
    return 3 if kind == "i8" else 2


def _joined(parts: Sequence[np.ndarray], kind: DTypeLike) -> np.ndarray:
    """One flat array; a vector of zeros where there would be nothing."""
    flat = np.concatenate([np.zeros(0, kind), *(part.ravel() for part in parts)]).astype(kind)
    return flat if flat.size else np.zeros(ROWS, kind)
