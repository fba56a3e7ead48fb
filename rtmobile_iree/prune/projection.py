"""BSP's two projections, in NumPy: the nearest matrix of each block-structured set.

Source: RTMobile (arXiv 2002.11474), section IV-A, Algorithm 1. They are the Z step of its ADMM, and
alone a one-shot magnitude pruning. Symbols as in `rtmobile_iree.bspc`: W [M, N], P row stripes, Q
column blocks. Stripes and blocks need not divide: as in `numpy.array_split`, the first ones are one
longer.

A projection here is the mask of the nearest point: W where the mask holds, 0 elsewhere, is a point
of the set at the smallest l2 distance from W. Of equal norms the first column, block or row wins.

Step 1, `project_columns`. In every row stripe, block b (n_b columns wide) keeps at most k_b or
k_b + 1 columns, k_b = max(1, floor(n_b / rate)), the same columns for all rows of the stripe, and
at most E blocks of the stripe take the one more, E = max(0, round(N / rate) - sum of k_b). So the
stripe keeps round(N / rate) columns, and every block at least one:
    N = 1024, Q = 8, rate 10: k = 12 in each block, E = 6: 102 columns
    N = 40,   Q = 8, rate 10: k = 1 in each block,  E = 0: 8 columns, a true rate of 5
Which blocks take one more is chosen by norm: where the next best column is largest.

Step 2, `project_rows`. At most max(1, round(M / rate)) rows of the whole matrix are kept.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.errors import PruneError

__all__ = [
    "BlockBudget",
    "block_budget",
    "check_blocks",
    "check_finite",
    "check_rate",
    "column_energy",
    "project_bsp",
    "project_columns",
    "project_rows",
]

Weights = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BlockBudget:
    """How many columns the blocks of one row stripe may keep."""

    bounds: tuple[int, ...]
    """[Q + 1] first column of each block; the last entry is N."""
    base: tuple[int, ...]
    """[Q] columns that each block may keep in any case."""
    extra: int
    """How many blocks may keep one more."""


def block_budget(columns: int, rate: float, col_blocks: int) -> BlockBudget:
    """Splits round(columns / rate) kept columns over blocks, as the module's docstring says."""
    bounds = _bounds(columns, col_blocks)
    widths = np.diff(bounds).tolist()
    base = tuple(max(1, math.floor(width / rate)) for width in widths)
    wanted = round(columns / rate) - sum(base)
    room = sum(kept < width for kept, width in zip(base, widths, strict=True))
    return BlockBudget(bounds, base, extra=min(max(0, wanted), room))


def project_columns(
    w: Weights, rate: float, row_stripes: int, col_blocks: int, *, name: str = "w"
) -> Mask:
    """Step 1: in every (row stripe x column block) keeps the columns of the largest l2 norm.

    Args:
        w: [M, N] floating, rows = outputs.
        rate: columns of a stripe over kept columns, at least 1.
        row_stripes: 1 to M.
        col_blocks: 1 to N.
        name: what error messages call `w`.

    Returns:
        [M, N] bool, True where `w` is kept.

    Raises:
        PruneError: `w` is not a finite, two-dimensional floating array, or an argument is outside
            its range.
    """
    _check_weights(w, name)
    check_rate("column_rate", rate, where=_where(w, name))
    check_blocks(w.shape, row_stripes, col_blocks, where=_where(w, name))
    row_bounds = _bounds(w.shape[0], row_stripes)
    budget = block_budget(w.shape[1], rate, col_blocks)
    energy = column_energy(w, row_stripes)
    kept = np.zeros(energy.shape, bool)
    next_column = np.zeros((row_stripes, col_blocks), np.int64)
    next_energy = np.full((row_stripes, col_blocks), -np.inf)
    for block, base in enumerate(budget.base):
        start, end = budget.bounds[block], budget.bounds[block + 1]
        order = start + _largest_first(energy[:, start:end])
        np.put_along_axis(kept, order[:, :base], True, axis=1)
        if base < end - start:
            next_column[:, block] = order[:, base]
            next_energy[:, block] = np.take_along_axis(energy, order[:, base, None], axis=1)[:, 0]
    blocks = _largest_first(next_energy)[:, : budget.extra]
    np.put_along_axis(kept, np.take_along_axis(next_column, blocks, axis=1), True, axis=1)
    return np.repeat(kept, np.diff(row_bounds), axis=0)


def column_energy(w: Weights, row_stripes: int) -> NDArray[np.float64]:
    """[P, N] squared l2 norm of every column within every row stripe of w [M, N]."""
    starts = _bounds(w.shape[0], row_stripes)[:-1]
    return np.add.reduceat(np.square(w, dtype=np.float64), starts, axis=0)


def project_rows(w: Weights, rate: float, *, name: str = "w") -> Mask:
    """Step 2: keeps the max(1, round(M / rate)) rows of the largest l2 norm.

    Args:
        w: [M, N] floating, rows = outputs.
        rate: rows over kept rows, at least 1.
        name: what error messages call `w`.

    Returns:
        [M, N] bool, True in the kept rows.

    Raises:
        PruneError: as `project_columns`.
    """
    _check_weights(w, name)
    check_rate("row_rate", rate, where=_where(w, name))
    energy = np.square(w, dtype=np.float64).sum(axis=1)
    mask = np.zeros(w.shape, bool)
    mask[_largest_first(energy)[: max(1, round(w.shape[0] / rate))]] = True
    return mask


def project_bsp(
    w: Weights,
    column_rate: float,
    row_rate: float,
    row_stripes: int,
    col_blocks: int,
    *,
    name: str = "w",
) -> Mask:
    """Step 1, then step 2 on what step 1 kept; arguments, result and errors as theirs.

    Each step is a nearest point of its own set; their sequence need not be the nearest point of
    both sets at once, which the paper does not seek either.
    """
    columns = project_columns(w, column_rate, row_stripes, col_blocks, name=name)
    return columns & project_rows(np.where(columns, w, 0), row_rate, name=name)


def check_rate(what: str, rate: Any, *, where: str = "prune") -> None:
    """Raises PruneError unless `rate` is a finite number of at least 1."""
    if not isinstance(rate, Real) or isinstance(rate, bool) or not 1 <= float(rate) < math.inf:
        raise PruneError(f"{where}: {what} {rate!r}; use a finite number of at least 1")


def check_blocks(
    shape: tuple[int, ...], row_stripes: object, col_blocks: object, *, where: str = "prune"
) -> None:
    """Raises PruneError unless a matrix of this shape has that many row stripes and blocks."""
    for what, count, axis, size in (
        ("row_stripes", row_stripes, "rows", shape[0]),
        ("col_blocks", col_blocks, "columns", shape[1]),
    ):
        if size == 0:
            raise PruneError(f"{where}: has no {axis}, so nothing to prune; leave it out")
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise PruneError(f"{where}: {what} {count!r}; use a whole number, 1 to {size}")
        if count > size:
            raise PruneError(
                f"{where}: {what} {count} is more than its {size} {axis}; use 1 to {size}"
            )


def _check_weights(w: object, name: str) -> None:
    """Raises PruneError unless `w` is a finite, two-dimensional floating array."""
    if not isinstance(w, np.ndarray):
        raise PruneError(f"prune: {name} is a {type(w).__name__}; give a numpy.ndarray [M, N]")
    if w.ndim != 2 or w.dtype.kind != "f":
        raise PruneError(
            f"prune: {name} is {w.dtype} {list(w.shape)}; give two dimensions of a floating type"
        )
    check_finite(w, name)


def check_finite(w: Weights, name: str) -> None:
    """Raises PruneError where a weight of w [M, N] is NaN or infinite."""
    bad = ~np.isfinite(w)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise PruneError(
            f"{_where(w, name)}: {np.count_nonzero(bad)} NaN or infinite weights, the first "
            f"{w[row, column]} at [{row}, {column}]; all weights must be finite"
        )


def _where(w: Weights, name: str) -> str:
    return f"prune: {name} {list(w.shape)}"


def _bounds(count: int, parts: int) -> tuple[int, ...]:
    """[parts + 1] first index of each part; parts are as long as those of numpy.array_split."""
    shorter, longer = divmod(count, parts)
    return tuple(part * shorter + min(part, longer) for part in range(parts + 1))


def _largest_first(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices along the last axis by descending value; of equal values the first comes first."""
    return np.argsort(-values, axis=-1, kind="stable")
