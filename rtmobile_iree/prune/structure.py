"""The structure a matrix is pruned to: its rates and blocks, and both steps' projections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.prune.projection import column_energy, project_columns, project_rows

__all__ = ["STEPS", "Step", "Structure"]

Step = Literal["columns", "rows"]
STEPS: tuple[Step, ...] = ("columns", "rows")
"""Algorithm 1's step 1, column blocks of row stripes; and step 2, rows of the whole matrix."""


@dataclass(frozen=True)
class Structure:
    """What one matrix W [M, N] is pruned to.

    Attributes:
        column_rate, row_rate: at least 1.
        row_stripes, col_blocks: 1 to M, 1 to N.
    """

    column_rate: float
    row_rate: float
    row_stripes: int
    col_blocks: int

    def rate(self, step: Step, cap: float = math.inf) -> float:
        """The rate of one step, no higher than `cap`: what a stage on the way to it prunes to."""
        return min(self.column_rate if step == "columns" else self.row_rate, cap)

    def project(
        self, step: Step, w: NDArray[np.floating], *, cap: float = math.inf, name: str = "w"
    ) -> NDArray[np.bool_]:
        """Mask of the nearest point of the step's set; errors as `projection`'s."""
        if step == "columns":
            rate = self.rate(step, cap)
            return project_columns(w, rate, self.row_stripes, self.col_blocks, name=name)
        return project_rows(w, self.rate(step, cap), name=name)

    def group_energy(self, step: Step, w: NDArray[np.floating]) -> NDArray[np.float64]:
        """Squared norms of the groups that a step keeps or drops: [P, N] columns of the row
        stripes, or [M, 1] rows."""
        if step == "columns":
            return column_energy(w, self.row_stripes)
        return np.square(w, dtype=np.float64).sum(axis=1, keepdims=True)

    def spread(
        self, step: Step, groups: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """A value for each group (as `group_energy`'s), at every weight of a matrix [M, N]."""
        if step == "columns":
            stripes = np.array_split(np.arange(shape[0]), self.row_stripes)
            return np.repeat(groups, [len(stripe) for stripe in stripes], axis=0)
        return np.repeat(groups, shape[1], axis=1)
