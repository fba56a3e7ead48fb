"""BSPC, the block-based structured pruning compact format, in NumPy: the executable definition.

Source: RTMobile (arXiv 2002.11474), section IV-B, "BSPC". Every kernel is tested against `matvec`.

Symbols, fixed here and used everywhere:
    M, N    rows (outputs) and columns (inputs) of the weight matrix W [M, N], f32
    G       groups: rows that keep the same columns. An all-zero row is in no group
    M'      stored rows: the rows of all groups
    R, K    rows and kept columns of one group
    P, Q    row stripes and column blocks of the pruning (not stored: groups are found, not assumed)

Arrays:
    reorder       [M']   i32  original row of every stored row, group by group
    group_offset  [G+1]  i32  first stored row of each group; the last entry is M'
    column_offset [G+1]  i32  first entry of each group in column_index; the last is its length
    column_index  [..]   u16  the groups' kept columns, ascending in a group (i32 when N > 65536)
    values        [..]        the groups' panels, one after another: f32, or narrower (values.py)
    scales        [M']   f32  i8, i4: what the integers of each stored row are multiplied by

A group of R rows is stored as R rounded up to row_align rows (the added rows are zeros), cut
greedily from the tallest height in PANEL_HEIGHTS down: R = 70 is 72 rows, 64 + 8. A panel is
column-major: the weight of its row r and the group's k-th column is values[k * height + r]. So a
kernel walks the columns, loads one x and feeds every row of the panel. `matvec` is this loop nest:

    y[0 .. M) = 0
    value = 0
    for g in 0 .. G:
        row = group_offset[g]
        for height in panel_heights(group_offset[g + 1] - row, row_align):
            accumulator[0 .. height) = 0
            for k in column_offset[g] .. column_offset[g + 1]:
                load = x[column_index[k]]                         # one load for the whole panel
                for r in 0 .. height:                             # the vector dimension
                    accumulator[r] += values[value + r] * load
                value += height
            for r in 0 .. min(height, group_offset[g + 1] - row):
                y[reorder[row + r]] = accumulator[r]                # i8, i4: times scales[row + r]
            row += height

A weight of -0.0 is a zero like any other: it is not kept, and unpacks as 0.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.bspc_checks import (
    check_groups,
    check_packed,
    check_row_align,
    check_weights,
    index_array,
    index_type,
    kind,
)
from rtmobile_iree.errors import FormatError
from rtmobile_iree.values import LARGEST, VALUE_BITS, from_storage, to_storage, value_type

__all__ = [
    "PANEL_HEIGHTS",
    "ByteCounts",
    "Group",
    "Loads",
    "PackedMatrix",
    "Panel",
    "byte_counts",
    "convert",
    "find_groups",
    "load_counts",
    "matvec",
    "pack",
    "panel_heights",
    "panel_values",
    "panels",
    "unpack",
]

# Tallest first. 64 f32 rows are 4 AVX-512, 8 AVX2 or 16 NEON registers of accumulators; 4 is one
# NEON register, the narrowest vector of any target.
PANEL_HEIGHTS = (64, 32, 16, 8, 4)
# Scales of i4 that are tried for a row, in what keeps its largest weight: one that does not, and
# rounds the others less, errs less in most rows.
I4_SCALES = np.linspace(0.5, 1.0, 21)


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of one matrix that keep the same columns.

    Args:
        rows: [R] original row numbers, any order, held as int32.
        columns: [K] kept columns, strictly ascending, held as int32.

    Raises:
        FormatError: either is not a one-dimensional array of integers in 0 .. 2**31 - 1.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", index_array(self.rows, "rows"))
        object.__setattr__(self, "columns", index_array(self.columns, "columns"))


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """One matrix in BSPC; the module's docstring defines the arrays.

    Raises:
        FormatError: the arrays do not describe a matrix of this shape.
    """

    shape: tuple[int, int]
    reorder: NDArray[np.int32]
    group_offset: NDArray[np.int32]
    column_offset: NDArray[np.int32]
    column_index: NDArray[np.uint16] | NDArray[np.int32]
    values: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint16] | NDArray[np.int8]
    row_align: int = 4
    scales: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    is_i4: bool = False
    """Whether `values`, int8, are i4's."""

    def __post_init__(self) -> None:
        check_packed(self, PANEL_HEIGHTS)

    @property
    def value_type(self) -> str:
        """One of `values.VALUE_TYPES`: what `values` holds."""
        return "i4" if self.is_i4 else str(value_type(self.values.dtype))

    @property
    def value_bytes(self) -> int:
        """Bytes of the stored values, scales not counted."""
        return self.values.size * VALUE_BITS[self.value_type] // 8


@dataclass(frozen=True)
class Panel:
    """One panel of a packed matrix; its last `height - rows` rows are padding."""

    group: int
    height: int
    row_start: int
    """First stored row: an index into `reorder`."""
    rows: int
    """Real rows, 1 to height."""
    column_start: int
    """First entry of the panel's columns in `column_index`."""
    columns: int
    value_start: int
    """First entry of the panel's `columns * height` entries in `values`."""


@dataclass(frozen=True)
class ByteCounts:
    """What a packed matrix takes, in bytes, beside what the same matrix takes dense and in CSR."""

    values: int
    """Nonzero weights, each as many bytes as its type takes, and scales."""
    padding: int
    """Stored zeros, likewise: rows added for row_align, and fill where merged rows differ."""
    index: int
    """column_index, both offset arrays (4 bytes an entry), and reorder: 2 bytes a row when
    M <= 65536, else 4; nothing when it is the identity 0 .. M - 1, which needs no storing."""
    total: int
    """values + padding + index."""
    dense: int
    """4 * M * N."""
    csr: int
    """The nonzero weights in CSR with column numbers as wide as BSPC's, so that the comparison is
    of the formats alone: (4 + 2 or 4) bytes a weight, 4 bytes for each of M + 1 row starts."""


@dataclass(frozen=True)
class Loads:
    """Loads of the input vector for one matrix-vector product."""

    before: int
    """Row by row: one load for every nonzero weight."""
    after: int
    """Panel by panel: one load for every column of every panel."""


def find_groups(w: NDArray[np.float32]) -> list[Group]:
    """Groups the rows of `w` [M, N] f32 that have the same nonzero columns.

    Returns:
        The groups in the order of their first rows, each with its rows ascending. All-zero rows
        are in no group.

    Raises:
        FormatError: `w` is not a two-dimensional, finite float32 array.
    """
    check_weights(w)
    support = w != 0
    keys = np.packbits(support, axis=1)
    rows_by_pattern: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(support.any(axis=1)).tolist():
        rows_by_pattern.setdefault(keys[row].tobytes(), []).append(row)
    return [
        Group(np.array(rows, np.int32), np.flatnonzero(support[rows[0]]).astype(np.int32))
        for rows in rows_by_pattern.values()
    ]


def pack(
    w: NDArray[np.float32], groups: Sequence[Group] | None = None, row_align: int = 4
) -> PackedMatrix:
    """Packs `w` [M, N] f32, rows = outputs.

    Args:
        groups: the stored rows, in this order; by default `find_groups(w)`. A group may keep
            columns in which some of its rows are zero; those zeros are stored.
        row_align: stored rows of a group are a multiple of this; one of PANEL_HEIGHTS.

    Raises:
        FormatError: `w` is not a two-dimensional, finite float32 array; groups overlap, leave the
            matrix, or lose a nonzero weight; `row_align` is not a panel height.
    """
    check_weights(w)
    check_row_align(row_align, PANEL_HEIGHTS)
    if groups is None:
        groups = find_groups(w)
    else:
        check_groups(w, [group.rows for group in groups], [group.columns for group in groups])
    values = [_pack_values(w, group, row_align) for group in groups]
    return PackedMatrix(
        shape=(w.shape[0], w.shape[1]),
        reorder=_concatenate([group.rows for group in groups], np.int32),
        group_offset=_offsets([group.rows.size for group in groups]),
        column_offset=_offsets([group.columns.size for group in groups]),
        column_index=_concatenate([group.columns for group in groups], index_type(w.shape[1])),
        values=_concatenate(values, np.float32),
        row_align=row_align,
    )


def convert(p: PackedMatrix, kind: str) -> PackedMatrix:
    """The f32 matrix `p` with its values in another type; i8 with the scale max|row| / 127, i4
    with the one of `I4_SCALES` whose squared errors add up to least.

    Raises:
        FormatError: `p` is not f32, or a weight is too large for f16.
    """
    if p.value_type != "f32":
        raise FormatError(f"bspc.convert: values are {p.value_type}; convert from f32")
    if kind == "f32":
        return p
    if kind not in LARGEST:
        values = to_storage(p.values, kind)
        if not np.isfinite(from_storage(values)).all():
            largest = np.abs(p.values).max()
            raise FormatError(
                f"bspc.convert {list(p.shape)}: the largest weight, {largest}, is infinite in "
                f"{kind}; use bf16, i8 or f32"
            )
        return replace(p, values=values)
    quantized = np.empty(p.values.size, np.int8)
    scales = np.zeros(p.reorder.size, np.float32)
    for panel in panels(p):
        weights = panel_values(p, panel)
        scale = _row_scales(weights, kind)
        scaled = weights / np.where(scale > 0, scale, 1)
        quantized[panel.value_start :][: weights.size] = to_storage(scaled.ravel(), kind)
        scales[panel.row_start :][: panel.rows] = scale[: panel.rows]
    return replace(p, values=quantized, scales=scales, is_i4=kind == "i4")


def _row_scales(weights: NDArray[np.float32], kind: str) -> NDArray[np.float64]:
    """[height] scales of the rows of a panel's weights [columns, height]; 0 for rows of zeros."""
    largest = np.abs(weights).max(axis=0, initial=0) / np.float64(LARGEST[kind])
    if kind != "i4":
        return largest

    def error(scale: NDArray[np.float64]) -> NDArray[np.float64]:
        rounded = to_storage(weights / np.where(scale > 0, scale, 1), kind) * scale
        return ((rounded - weights) ** 2).sum(axis=0)

    errors = [error(largest * part) for part in I4_SCALES]
    return largest * I4_SCALES[np.argmin(errors, axis=0)]


def panel_heights(rows: int, row_align: int = 4) -> tuple[int, ...]:
    """Heights of the panels that store a group of `rows` rows, tallest first; () for no rows."""
    left = -(-rows // row_align) * row_align
    heights = []
    for height in PANEL_HEIGHTS:
        heights += [height] * (left // height)
        left %= height
    return tuple(heights)


def panels(p: PackedMatrix) -> tuple[Panel, ...]:
    """The panels of `p` in the order of `values`: group by group, tallest first."""
    found = []
    value_start = 0
    row_bounds, column_bounds = p.group_offset.tolist(), p.column_offset.tolist()
    for group in range(len(row_bounds) - 1):
        row, end = row_bounds[group], row_bounds[group + 1]
        column_start = column_bounds[group]
        columns = column_bounds[group + 1] - column_start
        for height in panel_heights(end - row, p.row_align):
            rows = min(height, end - row)
            found.append(Panel(group, height, row, rows, column_start, columns, value_start))
            row += rows
            value_start += columns * height
    return tuple(found)


def unpack(p: PackedMatrix) -> NDArray[np.float32]:
    """The dense matrix [M, N] f32 that `p` stores."""
    w = np.zeros(p.shape, np.float32)
    for panel in panels(p):
        rows, columns, weights = _panel_arrays(p, panel)
        w[rows[:, None], columns] = weights[:, : panel.rows].T
    return w


def matvec(p: PackedMatrix, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """y = W x, panel by panel, from the format's arrays alone.

    Args:
        x: [N] or [B, N] f32.

    Returns:
        [M] or [B, M] f32; 0 in every row that is not stored. Columns no group keeps are never
        read, so an inf or NaN there does not reach the result.

    Raises:
        FormatError: `x` is not float32 or not of that shape.
    """
    rows, columns = p.shape
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        raise FormatError(f"bspc.matvec: x is {kind(x)}; convert it to a float32 numpy.ndarray")
    if x.ndim not in (1, 2) or x.shape[-1] != columns:
        raise FormatError(
            f"bspc.matvec: x {list(x.shape)} against W {[rows, columns]}; "
            f"use [{columns}] or [batch, {columns}]"
        )
    y = np.zeros((*x.shape[:-1], rows), np.float32)
    for panel in panels(p):
        stored, index, weights = _panel_arrays(p, panel)
        accumulator = x[..., index] @ weights
        y[..., stored] = accumulator[..., : panel.rows]
    return y


def byte_counts(p: PackedMatrix) -> ByteCounts:
    """Bytes of `p`; `ByteCounts` says how each is counted."""
    rows, columns = p.shape
    nonzeros = int(np.count_nonzero(p.values))
    width = VALUE_BITS[p.value_type]
    row_bytes = np.dtype(index_type(rows)).itemsize
    index = p.column_index.nbytes + p.group_offset.nbytes + p.column_offset.nbytes
    if not np.array_equal(p.reorder, np.arange(rows)):
        index += row_bytes * p.reorder.size
    return ByteCounts(
        values=-(-width * nonzeros // 8) + p.scales.nbytes,
        padding=width * (p.values.size - nonzeros) // 8,
        index=index,
        total=p.value_bytes + p.scales.nbytes + index,
        dense=4 * rows * columns,
        csr=(4 + p.column_index.itemsize) * nonzeros + 4 * (rows + 1),
    )


def load_counts(p: PackedMatrix) -> Loads:
    """Loads of x for one product with `p`, before and after redundant load elimination."""
    return Loads(
        before=int(np.count_nonzero(p.values)),
        after=sum(panel.columns for panel in panels(p)),
    )


def _pack_values(w: NDArray[np.float32], group: Group, row_align: int) -> NDArray[np.float32]:
    """The panels of one group, one after another."""
    heights = panel_heights(group.rows.size, row_align)
    block = np.zeros((sum(heights), group.columns.size), np.float32)
    block[: group.rows.size] = w[group.rows[:, None], group.columns]
    cuts = np.cumsum(heights)[:-1]
    return _concatenate([part.T.ravel() for part in np.split(block, cuts)], np.float32)


def _panel_arrays(
    p: PackedMatrix, panel: Panel
) -> tuple[NDArray[np.int32], NDArray[np.integer], NDArray[np.float32]]:
    """Original rows [rows], columns [columns] and weights [columns, height] of one panel."""
    rows = p.reorder[panel.row_start : panel.row_start + panel.rows]
    columns = p.column_index[panel.column_start : panel.column_start + panel.columns]
    weights = from_storage(panel_values(p, panel))
    if p.scales.size:
        weights[:, : panel.rows] *= p.scales[panel.row_start : panel.row_start + panel.rows]
    return rows, columns, weights


def panel_values(p: PackedMatrix, panel: Panel) -> NDArray[Any]:
    """Values of one panel as stored, [columns, height]."""
    size = panel.columns * panel.height
    stored = p.values[panel.value_start : panel.value_start + size]
    return stored.reshape(panel.columns, panel.height)


def _offsets(sizes: Sequence[int]) -> NDArray[np.int32]:
    """[0, sizes[0], sizes[0] + sizes[1], ...] as int32."""
    return np.cumsum([0, *sizes]).astype(np.int32)


def _concatenate(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    """The parts one after another, cast to `dtype`; an empty array of no parts."""
    return np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])
