"""What BSPC accepts: the checks behind `bspc.Group`, `bspc.pack` and `bspc.PackedMatrix`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmobile_iree.errors import FormatError
from rtmobile_iree.values import LARGEST, STORAGE, value_type

_I32_MAX = int(np.iinfo(np.int32).max)
_PREFIX = "bspc"


def kind(value: object) -> str:
    """What a value is, for a message: `float64 [3, 4]` for an array, else its type's name."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def index_array(values: ArrayLike, what: str) -> NDArray[np.int32]:
    """`values` as a one-dimensional int32 array; raises FormatError when they are not indices."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise FormatError(
            f"bspc.Group: {what} is {kind(array)}; give a one-dimensional array of integers"
        )
    if array.size and (array.min() < 0 or array.max() > _I32_MAX):
        raise FormatError(
            f"bspc.Group: {what} holds {array.min()} to {array.max()}; use 0 to {_I32_MAX}"
        )
    return array.astype(np.int32)


def check_weights(w: object) -> None:
    """Raises FormatError unless `w` is a finite, two-dimensional float32 array the format holds."""
    if not isinstance(w, np.ndarray):
        raise FormatError(f"{_PREFIX}: w is a {kind(w)}; give a float32 numpy.ndarray [M, N]")
    if w.ndim != 2:
        raise FormatError(
            f"{_PREFIX}: w {list(w.shape)} has {w.ndim} dimensions; reshape it to [M, N]"
        )
    if w.dtype != np.float32:
        raise FormatError(
            f"{_PREFIX}: w is {kind(w)}; BSPC holds float32, convert with w.astype(numpy.float32)"
        )
    if w.size > _I32_MAX:
        raise FormatError(
            f"{_PREFIX}: w {list(w.shape)} has {w.size} entries; BSPC's offsets are 32-bit, "
            f"split the matrix into parts of at most {_I32_MAX}"
        )
    bad = ~np.isfinite(w)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise FormatError(
            f"{_PREFIX}: w {list(w.shape)}: {np.count_nonzero(bad)} NaN or infinite weights, the "
            f"first {w[row, column]} at [{row}, {column}]; all weights must be finite"
        )


def check_row_align(row_align: object, heights: tuple[int, ...]) -> None:
    """Raises FormatError unless `row_align` is one of the panel heights."""
    if not isinstance(row_align, int | np.integer) or row_align not in heights:
        raise FormatError(f"bspc: row_align {row_align!r}; use one of {sorted(heights)}")


def check_groups(
    w: NDArray[np.float32],
    rows: Sequence[NDArray[np.int32]],
    columns: Sequence[NDArray[np.int32]],
) -> None:
    """Raises FormatError unless groups of these rows and columns hold every nonzero weight once."""
    where = f"{_PREFIX}: w {list(w.shape)}"
    _check_bounds(where, "row", rows, w.shape[0])
    _check_bounds(where, "column", columns, w.shape[1])
    owner = np.full(w.shape[0], -1)
    for group, (group_rows, group_columns) in enumerate(zip(rows, columns, strict=True)):
        if (np.diff(group_columns) <= 0).any():
            raise FormatError(
                f"{where}: columns of group {group} are not strictly ascending; use numpy.unique"
            )
        unique, counts = np.unique(group_rows, return_counts=True)
        taken = unique[(counts > 1) | (owner[unique] >= 0)]
        if taken.size:
            first = owner[taken[0]] if owner[taken[0]] >= 0 else group
            raise FormatError(
                f"{where}: row {taken[0]} is in group {first} and again in group {group}; "
                f"a row belongs to one group"
            )
        owner[group_rows] = group
    lost = w != 0
    for group_rows, group_columns in zip(rows, columns, strict=True):
        lost[group_rows[:, None], group_columns] = False
    if lost.any():
        row, column = np.argwhere(lost)[0].tolist()
        place = "no group" if owner[row] < 0 else f"group {owner[row]}"
        raise FormatError(
            f"{where}: the groups lose {np.count_nonzero(lost)} nonzero weights, the first "
            f"{w[row, column]} at [{row}, {column}] (its row is in {place}); "
            f"add its column to a group that holds its row"
        )


def index_type(count: int) -> type[np.uint16] | type[np.int32]:
    """The type that holds the indices 0 .. count - 1."""
    return np.uint16 if count <= 1 << 16 else np.int32


def check_packed(p: Any, heights: tuple[int, ...]) -> None:
    """Raises FormatError unless the arrays of `p`, a PackedMatrix, fit one another."""
    if len(p.shape) != 2 or min(p.shape) < 0:
        raise FormatError(f"bspc.PackedMatrix: shape {list(p.shape)}; give (rows, columns)")
    types = {
        "reorder": np.int32,
        "group_offset": np.int32,
        "column_offset": np.int32,
        "column_index": index_type(p.shape[1]),
        "scales": np.float32,
    }
    for name, dtype in types.items():
        array = getattr(p, name)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != dtype:
            raise FormatError(
                f"bspc.PackedMatrix {list(p.shape)}: {name} is {kind(array)}; "
                f"give a one-dimensional {np.dtype(dtype).name} numpy.ndarray"
            )
    if not isinstance(p.values, np.ndarray) or p.values.ndim != 1 or not value_type(p.values.dtype):
        known = ", ".join(dict.fromkeys(np.dtype(each).name for each in STORAGE.values()))
        raise FormatError(
            f"bspc.PackedMatrix {list(p.shape)}: values is {kind(p.values)}; "
            f"give a one-dimensional numpy.ndarray of {known}"
        )
    scales = p.reorder.size if p.values.dtype == np.int8 else 0
    if p.is_i4 and (p.values.dtype != np.int8 or (np.abs(p.values) > LARGEST["i4"]).any()):
        _refuse(p, f"values of i4 are int8 in -{LARGEST['i4']} .. {LARGEST['i4']}")
    if p.scales.size != scales:
        _refuse(p, f"{p.scales.size} scales; values of {p.values.dtype} need {scales}")
    check_row_align(p.row_align, heights)
    _check_offsets(p, "group_offset", "reorder")
    _check_offsets(p, "column_offset", "column_index")
    if p.group_offset.size != p.column_offset.size:
        _refuse(
            p,
            f"group_offset has {p.group_offset.size} entries, column_offset "
            f"{p.column_offset.size}; both need groups + 1",
        )
    _check_rows_and_columns(p)
    rows, columns = np.diff(p.group_offset).astype(np.int64), np.diff(p.column_offset)
    stored = -(-rows // p.row_align) * p.row_align
    expected = int((stored * columns).sum())
    if p.values.size != expected:
        _refuse(p, f"{p.values.size} values; its groups need {expected}")


def _check_bounds(where: str, what: str, indices: Sequence[NDArray[np.int32]], limit: int) -> None:
    """Raises FormatError unless every index is below `limit`."""
    for group, index in enumerate(indices):
        if index.size and index.max() >= limit:
            raise FormatError(
                f"{where}: {what} {index.max()} of group {group} is outside; use less than {limit}"
            )


def _check_offsets(p: Any, name: str, indexed: str) -> None:
    """Raises FormatError unless offsets run from 0, never down, to the length they index."""
    offsets, length = getattr(p, name), getattr(p, indexed).size
    if not offsets.size or offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
        _refuse(p, f"{name} must run from 0, never descending, to {length}, the size of {indexed}")


def _check_rows_and_columns(p: Any) -> None:
    """Raises FormatError unless stored rows are distinct and columns ascend in every group."""
    rows, columns = p.shape
    outside = (p.reorder < 0) | (p.reorder >= rows)
    if outside.any() or np.unique(p.reorder).size != p.reorder.size:
        _refuse(p, f"reorder must hold distinct rows below {rows}")
    group = np.repeat(np.arange(p.column_offset.size - 1), np.diff(p.column_offset))
    index = p.column_index.astype(np.int64)
    descending = (np.diff(index) <= 0) & (np.diff(group) == 0)
    if descending.any() or (index < 0).any() or (index >= columns).any():
        _refuse(p, f"column_index must ascend in each group and stay below {columns}")


def _refuse(p: Any, what: str) -> None:
    raise FormatError(f"bspc.PackedMatrix {list(p.shape)}: {what}")
