"""One global rate, shared out over matrices by their sensitivity.

A matrix's sensitivity is the loss of its projection: ||W - projection||^2 / ||W||^2, at every pair
of a column rate and a row rate that the recipe allows. The pairs that minimise the sum of losses
within the weights that may be kept are sought by a Lagrangian: each matrix walks along the lower
convex hull of its (kept, loss) points, and the next step is always the one that costs the least
loss for a weight saved (Shoham and Gersho, Efficient bit allocation for an arbitrary set of
quantizers, 1988). What the last step saved too much is given back where it helps most. Ties go to
the first matrix, so equal weights give equal rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.recipe import Budget
from rtmobile_iree.prune.structure import Structure

__all__ = ["Option", "options", "share"]


@dataclass(frozen=True)
class Option:
    """What one matrix may become.

    Attributes:
        kept: weights left.
        loss: sensitivity, 0 to 1.
    """

    kept: int
    loss: float
    structure: Structure


def options(
    w: NDArray[np.floating], budget: Budget, row_stripes: int, col_blocks: int, name: str
) -> tuple[Option, ...]:
    """All pairs of rates for w [M, N], in the recipe's order."""
    energy = float(np.square(w, dtype=np.float64).sum())
    found = []
    for column_rate in budget.column_rates:
        for row_rate in budget.row_rates:
            structure = Structure(column_rate, row_rate, row_stripes, col_blocks)
            mask = structure.project("columns", w, name=name)
            mask = mask & structure.project("rows", np.where(mask, w, 0), name=name)
            lost = float(np.square(w[~mask], dtype=np.float64).sum())
            found.append(Option(int(mask.sum()), lost / energy if energy else 0.0, structure))
    return tuple(found)


def share(matrices: Sequence[Sequence[Option]], weights: int, rate: float) -> tuple[Structure, ...]:
    """One option for each matrix, of little loss in all, keeping weights / rate at most.

    Args:
        matrices: the options of each.
        weights: of all matrices together, pruned or not.

    Raises:
        PruneError: even the highest rates keep more.
    """
    limit = weights / rate
    least = sum(min(option.kept for option in found) for found in matrices)
    if least > limit:
        raise PruneError(
            f"prune: budget.rate {rate:g} of {weights} weights keeps {limit:.0f}, but the highest "
            f"rates still keep {least}; use a rate up to {weights / least:.4g}, or higher "
            f"column_rates and row_rates, or fewer col_blocks"
        )
    hulls = [_hull(found) for found in matrices]
    chosen = [0] * len(hulls)
    while sum(hull[at].kept for hull, at in zip(hulls, chosen, strict=True)) > limit:
        _, cheapest = min(
            (_slope(hull[at], hull[at + 1]), number)
            for number, (hull, at) in enumerate(zip(hulls, chosen, strict=True))
            if at + 1 < len(hull)
        )
        chosen[cheapest] += 1
    picked = [hull[at] for hull, at in zip(hulls, chosen, strict=True)]
    return tuple(option.structure for option in _give_back(picked, matrices, limit))


def _hull(found: Sequence[Option]) -> list[Option]:
    """The lower convex hull of (kept, loss), from the most kept to the fewest."""
    hull: list[Option] = []
    for option in sorted(found, key=lambda option: (-option.kept, option.loss)):
        if hull and option.kept == hull[-1].kept:
            continue
        while hull and option.loss <= hull[-1].loss:
            hull.pop()
        while len(hull) > 1 and _slope(hull[-1], option) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(option)
    return hull


def _slope(dense: Option, sparse: Option) -> float:
    """Loss for each weight saved."""
    return (sparse.loss - dense.loss) / (dense.kept - sparse.kept)


def _give_back(
    picked: list[Option], matrices: Sequence[Sequence[Option]], limit: float
) -> list[Option]:
    """Takes the option that lowers the loss most and still fits, until there is none."""
    while True:
        room = limit - sum(option.kept for option in picked)
        better = [
            (option.loss - now.loss, number, option)
            for number, (now, found) in enumerate(zip(picked, matrices, strict=True))
            for option in found
            if option.loss < now.loss and option.kept - now.kept <= room
        ]
        if not better:
            return picked
        _, number, option = min(better, key=lambda entry: entry[:2])
        picked[number] = option
