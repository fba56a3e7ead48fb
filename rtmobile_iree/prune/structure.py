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
        """[M, N] at each weight, the squared norm of the group that the step keeps or drops."""
        if step == "columns":
            energy = column_energy(w, self.row_stripes)
            sizes = [len(part) for part in np.array_split(np.arange(w.shape[0]), self.row_stripes)]
            return np.repeat(energy, sizes, axis=0)
        energy = np.square(w, dtype=np.float64).sum(axis=1, keepdims=True)
        return np.broadcast_to(energy, w.shape)
