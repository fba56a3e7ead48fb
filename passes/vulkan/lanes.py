"""BSPC matrices as a GPU reads them: lanes of four rows, a thread each.

A panel of height 4 L is L lanes side by side; the threads of neighbouring lanes load neighbouring
vectors of four weights and the same column numbers. Constants of a kernel, shared by its matrices:

- `weights` vector<4xf32>, or f16 where all its matrices are: panels as the format stores them;
- `index` i32: kept columns;
- `table` vector<4xi32>, two entries a lane: (first column, columns, first weight vector, vectors
  from one column to the next), then where its four rows go, -1 for padding;
- `biases` f32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import DTypeLike
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.bspc import PackedMatrix, panels

ROWS = 4
UNROLL = 4  # columns a loop takes at once: their loads need not wait for each other
PADDING = -1


@dataclass(frozen=True)
class Lanes:
    """One matrix.

    Attributes:
        start, count: its lanes in the table.
        padded: whether some lanes have fewer than four rows.
        inputs: columns of the matrix.
    """

    start: int
    count: int
    padded: bool
    inputs: int


@dataclass(frozen=True)
class LaneConstants:
    """The constants inside a kernel, as memrefs."""

    weights: ir.Value
    index: ir.Value
    table: ir.Value
    biases: ir.Value


@dataclass
class LanePool:
    """Grows the constants of a kernel."""

    _weights: list[np.ndarray] = field(default_factory=list)
    _index: list[np.ndarray] = field(default_factory=list)
    _table: list[tuple[int, ...]] = field(default_factory=list)
    _biases: list[np.ndarray] = field(default_factory=list)

    def add_matrix(
        self, packed: PackedMatrix, positions: np.ndarray, *, is_complete: bool = False
    ) -> Lanes:
        """Lays a matrix out.

        Args:
            positions: [M] where each row's result goes.
            is_complete: rows that are not stored get lanes without columns, which write zeros.
        """
        assert packed.row_align % ROWS == 0, packed.row_align
        columns = sum(array.size for array in self._index)
        vectors = sum(array.size for array in self._weights) // ROWS
        self._index.append(packed.column_index.astype(np.int32))
        self._weights.append(packed.values)
        start, padded = len(self._table) // 2, False
        for panel in panels(packed):
            stride = panel.height // ROWS
            rows = positions[packed.reorder[panel.row_start :][: panel.rows]]
            for lane in range(stride):
                own = rows[lane * ROWS : (lane + 1) * ROWS]
                first = vectors + panel.value_start // ROWS + lane
                fields = (columns + panel.column_start, panel.columns, first, stride)
                padded |= self._add_lane(fields, own)
        if is_complete:
            absent = np.setdiff1d(np.arange(packed.shape[0]), packed.reorder)
            for i in range(0, absent.size, ROWS):
                padded |= self._add_lane((0, 0, 0, 0), positions[absent[i : i + ROWS]])
        return Lanes(start, len(self._table) // 2 - start, padded, packed.shape[1])

    def _add_lane(self, fields: tuple[int, ...], rows: np.ndarray) -> bool:
        """Whether it is padded."""
        missing = ROWS - rows.size
        if missing == ROWS:
            return False
        self._table += [fields, (*rows.tolist(), *[PADDING] * missing)]
        return missing > 0

    def add_biases(self, values: np.ndarray) -> int:
        """Returns the offset of what it added."""
        start = sum(array.size for array in self._biases)
        self._biases.append(values.astype(np.float32))
        return start

    def arrays(self) -> list[np.ndarray]:
        """weights [., 4], index [.], table [., 4], biases [.]; none is empty."""
        return [
            _joined(self._weights, *{array.dtype for array in self._weights}).reshape(-1, ROWS),
            _joined(self._index, np.int32),
            _joined([np.array(self._table)], np.int32).reshape(-1, ROWS),
            _joined(self._biases, np.float32),
        ]


def _joined(parts: Sequence[np.ndarray], kind: DTypeLike) -> np.ndarray:
    """One flat array; a vector of zeros where there would be nothing: no buffer may be empty."""
    flat = np.concatenate([np.zeros(0, kind), *(part.ravel() for part in parts)]).astype(kind)
    return flat if flat.size else np.zeros(ROWS, kind)


# memref and offset of a vector
Place = tuple[ir.Value, ir.Value]
# position (index value) and f32
Write = Callable[[ir.Value, ir.Value], None]


def lane_sums(
    e: ThreadEmitter, constants: LaneConstants, lanes: Lanes, lane: ir.Value, x: Place
) -> tuple[ir.Value, ir.Value]:
    """The products of one lane.

    Args:
        lane: its number in the matrix (index value).
        x: the input vector.

    Returns:
        Four sums, vector<4xf32>, and where they go, vector<4xi32>.
    """
    at = e.mul(e.add(lane, lanes.start), 2)
    fields = e.lanes(memref.load(constants.table, [at]))
    column, columns, weight, stride = (_index(each) for each in fields)

    def add(k: ir.Value, total: ir.Value) -> ir.Value:
        place = _index(memref.load(constants.index, [e.add(column, k)]))
        value = e.broadcast4(e.load(x[0], e.add(x[1], place)))
        vector_at = arith.addi(weight, arith.muli(k, stride))
        weights = e.wide4(memref.load(constants.weights, [vector_at]))
        return e.fma(weights, value, total)

    def unrolled(k: ir.Value, total: ir.Value) -> list[ir.Value]:
        for i in range(UNROLL):
            total = add(e.add(k, i), total)
        return [total]

    full = e.sub(columns, arith.remui(columns, e.index(UNROLL)))
    total = e.loop(0, full, UNROLL, [e.zero4()], unrolled)
    (total,) = e.loop(full, columns, 1, total, lambda k, sums: [add(k, sums)])
    return total, memref.load(constants.table, [e.add(at, 1)])


def write_lane(
    e: ThreadEmitter, lanes: Lanes, sums: ir.Value, rows: ir.Value, write: Write
) -> None:
    """write(position, sum) for each row of a lane that is no padding."""
    for value, row in zip(e.lanes(sums), e.lanes(rows), strict=True):
        if not lanes.padded:
            write(_index(row), value)
            continue
        is_there = compare("sge", row, arith.constant(row.type, 0))
        when(is_there, partial(write, _index(row), value))


def _index(value: ir.Value) -> ir.Value:
    return arith.index_castui(ir.IndexType.get(), value)
