"""From BSPC matrices to the constant buffers a kernel walks (NumPy only).

A kernel reads three constant buffers, shared by all its matrices:

- `values` f32: panels in the order they are executed, then bias vectors in stored-row order;
- `index` u16 (i32 when an entry needs it): kept columns of every group, then output positions of
  scattered panels, one a stored row: padding goes where the panel's first row goes, and the kernel
  writes the first row last;
- `table` i32: one row of `TABLE_FIELDS` for every panel.

Panels of one height whose output rows are consecutive form a `PanelClass`; so do those whose rows
are not (row pruning leaves gaps): their results go out one by one through the position list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtmobile_iree.bspc import PackedMatrix, Panel, panels

TABLE_FIELDS = ("column_start", "columns", "value_start", "bias_start", "out")
ALIGN = 16  # f32 elements: 64 bytes, the widest vector register and a cache line


@dataclass(frozen=True)
class PanelClass:
    """Panels that one loop executes.

    Attributes:
        height: stored rows of each panel.
        scattered: output positions come from the index buffer, else `out` is the first of a run.
        table_start: first row in the table.
        count: number of panels.
    """

    height: int
    scattered: bool
    table_start: int
    count: int


@dataclass(frozen=True)
class MatrixPlan:
    """One matrix as the kernel sees it.

    Attributes:
        outputs: length of the output vector; inputs: of the input vector.
        classes: the panels, tallest first.
        complete: the panels write every output.
    """

    outputs: int
    inputs: int
    classes: tuple[PanelClass, ...]
    complete: bool


@dataclass
class ConstantPool:
    """Grows the constant buffers; every `add` returns the absolute offset of what it added."""

    _values: list[np.ndarray] = field(default_factory=list)
    _index: list[np.ndarray] = field(default_factory=list)
    _table: list[tuple[int, ...]] = field(default_factory=list)
    _value_count: int = 0
    _index_count: int = 0

    def add_values(self, values: np.ndarray) -> int:
        """Appends f32 values at the next cache line."""
        start = self._value_count
        flat = np.ascontiguousarray(values, np.float32).ravel()
        padding = -flat.size % ALIGN
        self._values += [flat, np.zeros(padding, np.float32)]
        self._value_count += flat.size + padding
        return start

    def add_index(self, index: np.ndarray) -> int:
        start = self._index_count
        self._index.append(np.asarray(index, np.int32).ravel())
        self._index_count += self._index[-1].size
        return start

    def add_table(self, rows: Sequence[tuple[int, ...]]) -> int:
        start = len(self._table)
        self._table += rows
        return start

    def values(self) -> np.ndarray:
        return _joined(self._values, np.float32)

    def index(self) -> np.ndarray:
        """u16 when every entry fits, else i32."""
        index = _joined(self._index, np.int32)
        return index.astype(np.uint16) if index.max() < 2**16 else index

    def table(self) -> np.ndarray:
        return np.array(self._table or [(0,) * len(TABLE_FIELDS)], np.int32).ravel()


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    """One array, never empty: a buffer of no bytes cannot be bound to a dispatch."""
    joined: np.ndarray = np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)
    return joined if joined.size else np.zeros(1, dtype)


def plan_matrix(
    pool: ConstantPool,
    packed: PackedMatrix,
    bias: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    outputs: int | None = None,
) -> MatrixPlan:
    """Lays one matrix out in the pool.

    Args:
        packed: [M, N] in BSPC.
        bias: [M] f32, what an output starts from; zeros when None.
        positions: [M], where the output of an original row goes; the row itself when None.
        outputs: length of the output vector; M when None.
    """
    rows_out = packed.shape[0]
    bias = np.zeros(rows_out, np.float32) if bias is None else bias
    positions = np.arange(rows_out, dtype=np.int32) if positions is None else positions
    columns = pool.add_index(packed.column_index)
    classes = []
    for key, members in _classes(packed, positions).items():
        height, scattered = key
        block = [packed.values[p.value_start :][: height * p.columns] for p in members]
        value_start = pool.add_values(np.concatenate(block))
        table = []
        for panel in members:
            stored = packed.reorder[panel.row_start : panel.row_start + panel.rows]
            start = np.zeros(height, np.float32)
            start[: panel.rows] = bias[stored]
            target = np.full(height, positions[stored[0]])
            target[: panel.rows] = positions[stored]
            out = pool.add_index(target) if scattered else int(target[0])
            table.append((columns + panel.column_start, panel.columns, value_start,
                          pool.add_values(start), out))  # fmt: skip
            value_start += height * panel.columns
        classes.append(PanelClass(height, scattered, pool.add_table(table), len(table)))
    outputs = rows_out if outputs is None else outputs
    return MatrixPlan(outputs, packed.shape[1], tuple(classes), packed.reorder.size == outputs)


def _classes(packed: PackedMatrix, positions: np.ndarray) -> dict[tuple[int, bool], list[Panel]]:
    classes: dict[tuple[int, bool], list[Panel]] = {}
    for panel in panels(packed):
        target = positions[packed.reorder[panel.row_start : panel.row_start + panel.rows]]
        run = panel.rows == panel.height and bool((np.diff(target) == 1).all())
        classes.setdefault((panel.height, not run), []).append(panel)
    return dict(sorted(classes.items(), reverse=True))
