"""BSPC matrices as a GPU of wide waves reads them: a thread sums a lane of rows, eight columns a
turn.

All loads are of 16 bytes. Weights of a panel are [columns / 8, loads, lanes]: threads of one panel
load neighbouring elements, and the same column numbers. Row i of lane l is row i * lanes + l of the
panel, so that their sums are neighbours too. Constants of a kernel:

- `weights` vector<4xi32>: a lane's weights, column by column, in words (see `values`);
- `index` vector<4xi32>: kept columns, two elements for eight; a panel's last one again for columns
  that it lacks, whose weights are zeros;
- `table` vector<4xi32>: a lane's place (see `block_entries`) and, for i8 and i4, the bits of its
  rows' f32 scales. Then what else a kernel looks up; an entry a panel: (first element of the
  index, groups of eight columns, first weights, lanes); and `zeros`: eight sums an entry that have
  no weights, as rows that are not stored need no lanes here;
- `biases` f32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar

import numpy as np
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.passes.vulkan.block_entries import (
    HALF_BITS,
    NO_PLACE,
    WORD_BITS,
    lane_entry,
    packed_places,
)
from rtmobile_iree.passes.vulkan.lanes import (
    PADDING,
    Entry,
    LaneConstants,
    LanePool,
    Lanes,
)
from rtmobile_iree.passes.vulkan.values import (
    ROWS,
    integer_powers,
    stored_vectors,
)
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix, Panel, panel_values, panels
from rtmobile_iree.values import LARGEST, VALUE_BITS

COLUMNS = 8  # of a turn
MOST_QUADS = 2
ZEROS = 8  # of an entry


@dataclass(frozen=True)
class BlockConstants:
    """The constants inside a kernel, as memrefs; where the table's panels and zeros begin."""

    kind: str
    quads: int
    padded: bool
    is_half: bool
    weights: ir.Value
    index: ir.Value
    table: ir.Value
    biases: ir.Value
    panels: int
    zeros: int

    @property
    def entries_a_lane(self) -> int:
        return 1 + (self.quads if self.kind in LARGEST else 0)

    @property
    def loads(self) -> int:
        """Loads of a lane's weights of eight columns."""
        return loads_a_turn(self.kind, self.quads)


def loads_a_turn(kind: str, quads: int) -> int:
    """Elements of weights of eight columns and so many fours of rows."""
    return COLUMNS * quads * ROWS * VALUE_BITS[kind] // (ROWS * WORD_BITS)


@dataclass
class BlockPool:
    """Grows the constants of a kernel; see `lanes.LanePool`.

    Attributes:
        kind: the type of all values.
        quads: a lane has four times as many rows.
        is_half: whether products are f16, see `halves`.
        padded: whether some lanes have fewer, or some entries of zeros.
    """

    aligned: ClassVar[bool] = False  # neighbouring rows are neighbouring lanes'

    kind: str
    quads: int
    is_half: bool = False
    padded: bool = False
    _weights: list[np.ndarray] = field(default_factory=list)
    _index: dict[bytes, int] = field(default_factory=dict)
    _lanes: list[Entry] = field(default_factory=list)
    _others: list[Entry] = field(default_factory=list)
    _panels: list[Entry] = field(default_factory=list)
    _zeros: list[Entry] = field(default_factory=list)
    _biases: list[np.ndarray] = field(default_factory=list)
    _columns: int = 0
    _elements: int = 0
    _count: int = 0

    def add_parts(
        self,
        packed: PackedMatrix,
        positions: np.ndarray,
        owners: np.ndarray,
        count: int,
        *,
        is_complete: bool = False,
    ) -> list[Lanes]:
        """Lays a matrix out in `count` parts.

        Args:
            positions: [M] where each row's sum goes; PADDING for rows that have none.
            owners: [M] which part has each row.
            is_complete: rows that are not stored are listed as zeros.
        """
        found = []
        groups = [list(each) for _, each in groupby(panels(packed), lambda panel: panel.group)]
        firsts = [self._add_columns(packed, group[0]) for group in groups]
        absent = np.setdiff1d(np.arange(packed.shape[0]), packed.reorder)
        for part in range(count):
            start, zeros = self._count, len(self._zeros)
            for group, first in zip(groups, firsts, strict=True):
                self._add_group(packed, group, first, positions, owners == part)
            if is_complete:
                places = np.sort(positions[absent[owners[absent] == part]])
                self._add_zeros(places[places != PADDING])
            own = (start, self._count - start, packed.shape[1])
            found.append(Lanes(*own, zeros, len(self._zeros) - zeros))
        return found

    def add_biases(self, values: np.ndarray) -> int:
        """Returns the offset of what it added."""
        start = sum(array.size for array in self._biases)
        self._biases.append(values.astype(np.float32))
        return start

    def add_entries(self, entries: Sequence[Entry]) -> int:
        """Adds to the table what is no lane; returns its offset. No matrix may follow."""
        start = len(self._lanes) + len(self._others)
        self._others += entries
        return start

    def arrays(self) -> list[np.ndarray]:
        """weights [., 4], index [., 4], table [., 4], biases [.]; none is empty."""
        table = [*self._lanes, *self._others, *self._panels, *self._zeros]
        index = [np.frombuffer(columns, np.int32).reshape(-1, ROWS) for columns in self._index]
        return [
            _joined(self._weights),
            _joined(index),
            np.array(table, np.int64).astype(np.int32),
            np.concatenate([*self._biases, np.zeros(0 if self._biases else 1, np.float32)]),
        ]

    def inside(self, buffers: Sequence[ir.Value]) -> BlockConstants:
        """The same inside a kernel."""
        panels = len(self._lanes) + len(self._others)
        zeros = panels + len(self._panels)
        weights, index, table, biases = buffers
        own = (self.kind, self.quads, self.padded, self.is_half)
        return BlockConstants(*own, weights, index, table, biases, panels, zeros)

    def _add_columns(self, packed: PackedMatrix, panel: Panel) -> int:
        """A panel's columns, once for all that have the same; returns their first element."""
        kept = packed.column_index[panel.column_start : panel.column_start + panel.columns]
        if not kept.size:
            return 0
        columns = np.pad(kept.astype(np.int32), (0, -kept.size % COLUMNS), mode="edge")
        first = self._index.setdefault(columns.tobytes(), self._columns)
        if first == self._columns:
            self._columns += columns.size // ROWS
        return first

    def _add_group(
        self,
        packed: PackedMatrix,
        group: Sequence[Panel],
        first: int,
        positions: np.ndarray,
        is_own: np.ndarray,
    ) -> None:
        """A panel of the rows of a group that are `is_own` [M]; `first`: its first columns."""
        size, start = self.quads * ROWS, group[0].row_start
        rows = packed.reorder[start : group[-1].row_start + group[-1].rows]
        own = np.flatnonzero(is_own[rows])
        if not own.size:
            return
        missing = -own.size % size
        places = self._padded(positions[rows[own]], missing).reshape(size, -1).T
        stored = [panel_values(packed, panel)[:, : panel.rows] for panel in group]
        values = np.pad(np.hstack(stored)[:, own], ((0, 0), (0, missing)))
        scales = packed.scales[start + own] if packed.scales.size else np.ones(own.size)
        number, lanes = len(self._panels), len(places)
        groups = self._add_weights(values.reshape(-1, size, lanes).transpose(0, 2, 1))
        self._panels.append((first, groups, self._elements, lanes))
        self._elements += groups * lanes * loads_a_turn(self.kind, self.quads)
        scales = np.pad(scales, (0, missing)).reshape(size, -1).T / self._powers(size)
        bits = np.ascontiguousarray(scales, np.float32)
        words = bits.view(np.int32).reshape(lanes, -1, ROWS).tolist()
        for lane, (own_places, own_words) in enumerate(zip(places, words, strict=True)):
            self._lanes.append(lane_entry(number, lane, own_places))
            if self.kind in LARGEST:
                self._lanes += map(tuple, own_words)
        self._count += lanes

    def _add_weights(self, values: np.ndarray) -> int:
        """[columns, lanes, rows] as stored; returns how many eights of columns they take."""
        values = np.pad(values, ((0, -len(values) % COLUMNS), (0, 0), (0, 0)))
        groups, lanes = len(values) // COLUMNS, values.shape[1]
        by_lane = values.reshape(groups, COLUMNS, lanes, -1).transpose(0, 2, 1, 3)
        rows = by_lane.reshape(-1, values.shape[2])
        rows = halves.all_biased(self.kind, rows) if self.is_half else rows
        words = stored_vectors(self.kind, rows, WORD_BITS)
        elements = words.reshape(groups, lanes, loads_a_turn(self.kind, self.quads), ROWS)
        self._weights.append(elements.transpose(0, 2, 1, 3).reshape(-1, ROWS))
        return groups

    def _powers(self, rows: int) -> np.ndarray:
        """[rows] what integers are multiplied by as kernels take them out of a word."""
        if self.kind not in LARGEST:
            return np.ones(rows)
        return (halves.powers if self.is_half else integer_powers)(self.kind, rows)

    def _add_zeros(self, positions: np.ndarray) -> None:
        """Sums without weights."""
        places = self._padded(positions, -positions.size % ZEROS)
        self._zeros += [packed_places(each, HALF_BITS) for each in places.reshape(ZEROS, -1).T]

    def _padded(self, positions: np.ndarray, missing: int) -> np.ndarray:
        self.padded |= missing > 0
        return np.pad(positions, (0, missing), constant_values=PADDING)


Pool = LanePool | BlockPool
Constants = LaneConstants | BlockConstants


def fits_blocks(matrices: Sequence[PackedMatrix], sums: int) -> bool:
    """Whether panels of all matrices, and so many sums of a workgroup, have numbers here."""
    return sum(m.shape[0] for m in matrices) < 1 << HALF_BITS and sums <= NO_PLACE


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[., 4] words; zeros where there would be nothing."""
    return np.concatenate(parts) if parts else np.zeros((1, ROWS), np.int32)
