"""From BSPC matrices to the constant buffers a kernel walks (NumPy only).

A kernel reads these constant buffers, shared by all its matrices:

- `values` f32, or f16 where that is computed in: panels of f32 in the order they are executed, and
  for every panel, in stored-row order, its bias; then, of i8, the scales; then, of i8x4 with
  a zero point, the i32 each sum starts from;
- one buffer each for panels of f16, bf16 (bit patterns) and i8, where there are any;
- `index` u16 (i32 when an entry needs it): kept columns of every group, then output positions of
  scattered panels, one a stored row: padding goes where the panel's first row goes, and the kernel
  writes the first row last;
- `table` i32: one row of `TABLE_FIELDS` for every panel; `column_start` of an i8x4 or i8x8
  panel is the number of its group, see `staging`.

Panels of one height whose output rows are consecutive form a `PanelClass`; so do those whose rows
are not (row pruning leaves gaps): their results go out one by one through the position list.

Some types are laid out with several columns of a row side by side in one 32-bit lane (or two),
values[k / lanes][row][k % lanes], the columns filled up to a whole number of lanes:

- `i4x2`: two columns of a row in a byte, the first in its low bits;
- `bf16x2`: an f32 register is a shift or a mask away, where widening would take two instructions;
- `i8x4`: for integer dot products with inputs quantized to bytes. Where these are offset by a zero
  point, each sum starts from minus that times its row's sum of weights. A panel shorter than a
  register has several lanes a row, one beside the other: values[k / 4q][row][k % 4q];
- `i8x8`: for those of two input vectors at once, two rows a register;
- `i4x8`: two lanes of i8x4 that follow each other in one, the first in the low bits of its bytes.
  Weights are taken apart as 16 times what they are: that takes one shift for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rtmobile_iree.passes.kernels import tall
from rtmobile_iree.passes.kernels.staging import Staging, plan_staging

from rtmobile_iree.bspc import PackedMatrix, Panel, panel_values, panels
from rtmobile_iree.schedule import IntegerDot
from rtmobile_iree.values import STORAGE, from_storage, to_storage, value_type

TABLE_FIELDS = ("column_start", "columns", "value_start", "bias_start", "out", "rows")
ALIGN = 16  # f32 elements: 64 bytes, the widest vector register and a cache line
LINE = 64  # bytes
COLUMNS_A_LANE = {"i4x2": 2, "bf16x2": 2, "i8x4": 4, "i8x8": 8, "i4x8": 8}
NIBBLES, NIBBLE_DOTS = "i4x2", "i4x8"
DOTS = ("i8x4", "i8x8", NIBBLE_DOTS)
NIBBLE_FACTOR = 16  # what sums of i4x8 are multiplied by; i32 holds those of 150,000 columns
QUADS = "quads"  # the buffer of column numbers by four (`tall`)
HALF_LANES = 8  # f16 elements of a NEON register
LEAST_DOTS = 128  # weights of a panel


@dataclass(frozen=True)
class PanelClass:
    """Panels that one loop executes.

    Attributes:
        height: stored rows of each panel.
        kind: how its values are stored: a value type, or several columns a lane.
        scattered: output positions come from the index buffer, else `out` is the first of a run.
        partial: panels have fewer rows than their height, and are stored under a mask.
        table_start: first row in the table.
        count: number of panels.
        tall: its panels are those of `tall`; `columns` counts quads.
        quads: of each of its panels, where all have so many; else 0.
    """

    height: int
    kind: str
    scattered: bool
    partial: bool
    table_start: int
    count: int
    tall: bool = False
    quads: int = 0


@dataclass(frozen=True)
class MatrixPlan:
    """One matrix as the kernel sees it.

    Attributes:
        outputs: length of the output vector; inputs: of the input vector.
        classes: the panels, tallest first.
        complete: the panels write every output.
        staging: how inputs of integer dot products are moved together; None where there are none.
    """

    outputs: int
    inputs: int
    classes: tuple[PanelClass, ...]
    complete: bool
    staging: Staging | None = None

    @property
    def quantized_input(self) -> bool:
        """Whether the panels take their input as bytes."""
        return self.staging is not None


@dataclass
class ConstantPool:
    """Grows the constant buffers; every `add` returns the absolute offset of what it added.

    Attributes:
        element: value type of `values`.
    """

    element: str = "f32"

    _values: list[np.ndarray] = field(default_factory=list)
    _narrow: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _narrow_count: dict[str, int] = field(default_factory=dict)
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

    def add_weights(self, stored: np.ndarray) -> int:
        """Appends panels to the buffer of their type, at the next cache line."""
        kind = str(value_type(stored.dtype))
        if kind == "f32":
            return self.add_values(stored)
        start = self._narrow_count.get(kind, 0)
        padding = -stored.nbytes % LINE // stored.itemsize
        self._narrow.setdefault(kind, []).extend([stored, np.zeros(padding, stored.dtype)])
        self._narrow_count[kind] = start + stored.size + padding
        return start

    def add_quads(self, words: np.ndarray) -> int:
        """Appends column numbers, four to an i64."""
        start = self._narrow_count.get(QUADS, 0)
        self._narrow.setdefault(QUADS, []).append(words)
        self._narrow_count[QUADS] = start + words.size
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
        return _joined(self._values, STORAGE[self.element])

    def narrow(self) -> dict[str, np.ndarray]:
        """The buffer of every value type but f32 that is in use, and of column numbers by four."""
        return {kind: np.concatenate(parts) for kind, parts in self._narrow.items()}

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
    dot: IntegerDot | None = None,
    masked: bool = False,
) -> MatrixPlan:
    """Lays one matrix out in the pool.

    Args:
        packed: [M, N] in BSPC.
        bias: [M] f32, what an output starts from; zeros when None.
        positions: [M], where the output of an original row goes; the row itself when None.
        outputs: length of the output vector; M when None.
        dot: instruction for i8 matrices.
        masked: a panel with fewer rows than its height is stored under a mask; else its results
            go out one by one.
    """
    rows_out = packed.shape[0]
    bias = np.zeros(rows_out, np.float32) if bias is None else bias
    positions = np.arange(rows_out, dtype=np.int32) if positions is None else positions
    if pool.element == "f16" and tall.fits(packed):
        return _plan_tall(pool, packed, bias, positions, outputs, masked)
    kind = _kind(packed, dot)
    columns = 0 if kind in COLUMNS_A_LANE else pool.add_index(packed.column_index)
    dot = dot if kind in DOTS else None
    staging = plan_staging(pool, packed, dot) if dot and packed.reorder.size else None
    classes = []
    for (height, scattered, partial), members in _classes(packed, positions, masked).items():
        together = _row_columns(kind, height, dot)
        table = []
        panels_of_class = [_panel_weights(packed, panel, kind, together) for panel in members]
        value_start = pool.add_weights(np.concatenate(panels_of_class))
        for panel, weights in zip(members, panels_of_class, strict=True):
            stored = packed.reorder[panel.row_start : panel.row_start + panel.rows]
            target = np.full(height, positions[stored[0]])
            target[: panel.rows] = positions[stored]
            column_start, count = columns + panel.column_start, panel.columns
            if together > 1:
                count = -(-count // together)
            if kind in ("bf16x2", NIBBLES):
                column_start = pool.add_index(_filled_columns(packed, panel, together))
            if staging is not None:
                column_start = panel.group
            table.append((
                column_start,
                count,
                value_start,
                pool.add_values(_row_constants(packed, panel, bias[stored], dot)),
                pool.add_index(target) if scattered else int(target[0]),
                panel.rows,
            ))  # fmt: skip
            value_start += weights.size
        first = pool.add_table(table)
        classes.append(PanelClass(height, kind, scattered, partial, first, len(table)))
    outputs = rows_out if outputs is None else outputs
    complete = packed.reorder.size == outputs
    return MatrixPlan(outputs, packed.shape[1], tuple(classes), complete, staging)


def _plan_tall(
    pool: ConstantPool,
    packed: PackedMatrix,
    bias: np.ndarray,
    positions: np.ndarray,
    outputs: int | None,
    padded: bool,
) -> MatrixPlan:
    """`plan_matrix` of f16 weights computed with in f16; `padded`: panels write their padding."""
    weights = dict(tall.tall_panels(packed, HALF_LANES))
    alike = tall.columns_alike(list(weights))
    classes: dict[tuple[int, bool, int], list[Panel]] = {}
    for panel in weights:
        target = positions[packed.reorder[panel.row_start :][: panel.rows]]
        whole = padded or panel.rows == panel.height
        whole = whole and bool((np.diff(target) == 1).all())
        classes.setdefault((panel.height, not whole, alike[panel]), []).append(panel)
    made = []
    for (height, scattered, columns), members in sorted(classes.items(), reverse=True):
        table = []
        for panel in members:
            stored = packed.reorder[panel.row_start :][: panel.rows]
            target = np.full(height, positions[stored[0]])
            target[: panel.rows] = positions[stored]
            table.append((
                pool.add_quads(tall.quads(packed, panel)),
                panel.columns // tall.QUAD,
                pool.add_weights(weights[panel].ravel()),
                pool.add_values(_row_constants(packed, panel, bias[stored], None)),
                pool.add_index(target) if scattered else int(target[0]),
                panel.rows,
            ))  # fmt: skip
        first = pool.add_table(table)
        made.append(PanelClass(height, "f16", scattered, False, first, len(table), tall=True,
                               quads=columns // tall.QUAD))  # fmt: skip
    outputs = packed.shape[0] if outputs is None else outputs
    return MatrixPlan(outputs, packed.shape[1], tuple(made), packed.reorder.size == outputs)


def _kind(packed: PackedMatrix, dot: IntegerDot | None) -> str:
    """How a matrix's panels are stored.

    Integer dot products need inputs quantized, and each panel's moved together, a pass over all of
    them: that pays where a panel has as many weights as half the matrix has columns, and not few.
    """
    if packed.value_type == "bf16":
        return "bf16x2"
    floats, dots = {
        "i8": ("i8", dot.kind if dot else ""),
        "i4": (NIBBLES, NIBBLE_DOTS),
    }.get(packed.value_type, (packed.value_type, ""))
    weights = packed.values.size / max(1, len(panels(packed)))
    is_dot = bool(dot and dots) and weights >= max(LEAST_DOTS, packed.shape[1] / 2)
    return dots if is_dot else floats


def _row_columns(kind: str, height: int, dot: IntegerDot | None) -> int:
    """Columns of a row that stand side by side."""
    return COLUMNS_A_LANE.get(kind, 1) * (dot.lanes_a_row(height) if dot else 1)


def _panel_weights(packed: PackedMatrix, panel: Panel, kind: str, together: int) -> np.ndarray:
    """The stored values of a panel in the order the kernel reads them, flat."""
    height, columns = panel.height, panel.columns
    stored = panel_values(packed, panel)
    if together == 1:
        return stored.ravel()
    filled = np.zeros((columns + -columns % together, height), stored.dtype)
    filled[:columns] = stored
    if kind == "bf16x2" and columns % together:
        # two halves of the last column: beside a zero, an infinite input would become NaN
        filled[-2:] = to_storage(from_storage(filled[-2]) / 2, "bf16")
    if kind not in (NIBBLES, NIBBLE_DOTS):
        return filled.reshape(-1, together, height).transpose(0, 2, 1).ravel()
    halves = filled.reshape(-1, 2, together // 2, height).transpose(1, 0, 3, 2)
    return (halves[0] & 0xF | halves[1] << 4).astype(np.int8).ravel()


def elements_a_lane(kind: str) -> int:
    """Stored elements of a row in a lane."""
    return COLUMNS_A_LANE.get(kind, 1) // (2 if kind in (NIBBLES, NIBBLE_DOTS) else 1)


def _filled_columns(packed: PackedMatrix, panel: Panel, together: int) -> np.ndarray:
    """Column numbers of a panel, filled up to whole lanes."""
    index = packed.column_index[panel.column_start :][: panel.columns]
    return np.pad(index, (0, -index.size % together), mode="edge")


def _row_constants(
    packed: PackedMatrix,
    panel: Panel,
    bias: np.ndarray,
    dot: IntegerDot | None,
) -> np.ndarray:
    """Bias, scales and starts of a panel's rows, each [height], one after another."""
    height = panel.height
    parts = [np.zeros(height, np.float32)]
    parts[0][: panel.rows] = bias
    factor = NIBBLE_FACTOR if packed.is_i4 and dot is not None else 1
    if packed.scales.size:
        parts.append(np.zeros(height, np.float32))
        parts[1][: panel.rows] = packed.scales[panel.row_start :][: panel.rows] / factor
    if dot is not None and dot.zero_point:
        sums = factor * panel_values(packed, panel).sum(axis=0, dtype=np.int32)
        parts.append((-dot.zero_point * sums).astype(np.int32).view(np.float32))
    return np.concatenate(parts)


def _classes(
    packed: PackedMatrix, positions: np.ndarray, masked: bool
) -> dict[tuple[int, bool, bool], list[Panel]]:
    """Panels by height, whether their outputs are scattered, and whether they are masked."""
    classes: dict[tuple[int, bool, bool], list[Panel]] = {}
    for panel in panels(packed):
        target = positions[packed.reorder[panel.row_start : panel.row_start + panel.rows]]
        is_run, is_full = bool((np.diff(target) == 1).all()), panel.rows == panel.height
        partial = masked and is_run and not is_full
        key = (panel.height, not (is_run and (is_full or masked)), partial)
        classes.setdefault(key, []).append(panel)
    return dict(sorted(classes.items(), reverse=True))
