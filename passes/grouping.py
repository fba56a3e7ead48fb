"""Row groups of a constant matrix and their cost: the numbers behind encode and eliminate-loads.

A group of R rows and K kept columns becomes panels (rtmobile_iree/bspc.py); its cost in cycles is

    sum over its panels of  K * (x_cycles + height * row_cycles) + panel_cycles
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rtmobile_iree.passes.kernels.tall import HIGHEST

from rtmobile_iree.bspc import PANEL_HEIGHTS, Group, find_groups


@dataclass(frozen=True)
class PanelCosts:
    """What panels cost, and how tall they may be, tallest first."""

    x_cycles: float
    row_cycles: float
    panel_cycles: float
    heights: tuple[int, ...]


# Measured on Zen 4, one core: an index load and a broadcast load of x take 1.5 cycles; 16 weights
# come from L2 or L3 in 2 cycles (32 bytes a cycle); starting and writing out a panel takes 25.
MEASURED = PanelCosts(1.5, 2 / 16, 25.0, PANEL_HEIGHTS)
# Estimate for f16 panels (kernels/tall.py) on Cortex-A76: two loads a cycle, of which each column
# takes 1.25 and eight rows of it one more; the rest by llvm-mca.
HALF = PanelCosts(1.25 / 2, 1 / 16, 25.0, tuple(range(HIGHEST, 0, -8)))

# a table of all pairs of so many groups takes 64 MB; more groups are merged part by part
MERGED_AT_ONCE = 4096


@dataclass(frozen=True)
class RowCosts:
    """Costs of 0, 1, 2, … rows: panels they make, and rows with padding."""

    panels: NDArray[np.float32]
    rows: NDArray[np.float32]
    costs: PanelCosts

    @staticmethod
    def up_to(count: int, costs: PanelCosts = MEASURED) -> RowCosts:
        """The table for 0 to `count` rows."""
        align = min(costs.heights)
        padded = -(-np.arange(count + 1) // align) * align
        left, panels = padded.copy(), np.zeros_like(padded)
        for height in costs.heights:
            panels += left // height
            left %= height
        return RowCosts(panels.astype(np.float32), padded.astype(np.float32), costs)

    def cycles(
        self, rows: NDArray[np.integer], columns: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Cycles of groups with so many rows and columns; arrays broadcast."""
        panels, costs = self.panels[rows], self.costs
        a_column = costs.x_cycles * panels + costs.row_cycles * self.rows[rows]
        return columns * a_column + costs.panel_cycles * panels

    def loads(
        self, rows: NDArray[np.integer], columns: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Loads of x: one a panel and column."""
        return columns * self.panels[rows]


def cycles(groups: list[Group]) -> float:
    """Cycles of one matvec of a matrix laid out in these groups."""
    rows = np.array([g.rows.size for g in groups], np.int64)
    columns = np.array([g.columns.size for g in groups], np.float32)
    return float(RowCosts.up_to(int(rows.max(initial=0))).cycles(rows, columns).sum())


def loads(groups: list[Group]) -> int:
    """Loads of x in one matvec of a matrix laid out in these groups."""
    rows = np.array([g.rows.size for g in groups], np.int64)
    columns = np.array([g.columns.size for g in groups], np.float64)
    return int(RowCosts.up_to(int(rows.max(initial=0))).loads(rows, columns).sum())


def merge_groups(groups: list[Group], columns: int, costs: PanelCosts = MEASURED) -> list[Group]:
    """Merges groups of nearly equal patterns while that makes the matrix cheaper.

    A merged group keeps the union of the columns; weights that were pruned there become stored
    zeros. Pairs that gain most from each other merge, round by round, until nobody gains. A merge
    never adds loads of x.

    Args:
        groups: disjoint rows, any patterns.
        columns: N of the matrix.

    Returns:
        Groups in the order of their first rows, rows ascending in each.
    """
    while True:
        parts = [groups[i : i + MERGED_AT_ONCE] for i in range(0, len(groups), MERGED_AT_ONCE)]
        merged = [group for part in parts for group in _Merger(part, columns, costs).run()]
        if len(parts) <= 1 or len(merged) == len(groups):
            return sorted(merged, key=lambda group: int(group.rows[0]))
        groups = merged


class _Merger:
    """Groups on their way to being merged; `gain[a, b]` is what merging a and b would save."""

    def __init__(self, groups: list[Group], columns: int, costs: PanelCosts) -> None:
        self.members = [np.sort(group.rows) for group in groups]
        self.kept = np.zeros((len(groups), columns), np.float32)
        for i, group in enumerate(groups):
            self.kept[i, group.columns] = 1
        self.rows = np.array([m.size for m in self.members], np.int32)
        self.columns = self.kept.sum(axis=1)
        self.alive = np.ones(len(groups), bool)
        # twice over, since gains() looks at every group beside itself too
        self.table = RowCosts.up_to(2 * int(self.rows.sum()), costs)
        self.gain = self.gains(np.arange(len(groups)))

    def run(self) -> list[Group]:
        """Merges until nobody gains."""
        while pairs := self.best_pairs():
            for a, b in pairs:
                self.merge(a, b)
            changed = np.array([a for a, _ in pairs])
            fresh = self.gains(changed)
            self.gain[changed] = fresh
            self.gain[:, changed] = fresh.T
        return [
            Group(self.members[i], np.flatnonzero(self.kept[i]).astype(np.int32))
            for i in np.flatnonzero(self.alive)
        ]

    def best_pairs(self) -> list[tuple[int, int]]:
        """Disjoint pairs that gain most from each other."""
        if not self.gain.size:
            return []
        everyone = np.arange(len(self.gain))
        best = self.gain.argmax(axis=1)
        mutual = (best[best] == everyone) & (everyone < best)
        mutual &= self.gain[everyone, best] > 0
        return [(int(a), int(best[a])) for a in np.flatnonzero(mutual)]

    def merge(self, a: int, b: int) -> None:
        """Puts b's rows and columns into a."""
        self.members[a] = np.sort(np.concatenate([self.members[a], self.members[b]]))
        self.kept[a] = np.maximum(self.kept[a], self.kept[b])
        self.rows[a] += self.rows[b]
        self.columns[a] = self.kept[a].sum()
        self.alive[b] = False
        self.gain[b] = self.gain[:, b] = 0

    def gains(self, some: NDArray[np.integer]) -> NDArray[np.float32]:
        """Cycles saved by merging each of some groups with each of all; 0 where it may not be."""
        rows, columns, table = self.rows, self.columns, self.table
        union = columns[some, None] + columns - self.kept[some] @ self.kept.T
        together = rows[some, None] + rows
        apart = table.cycles(rows, columns)
        gain = apart[some, None] + apart - table.cycles(together, union)
        loads = table.loads(rows, columns)
        gain[table.loads(together, union) > loads[some, None] + loads] = 0
        gain[:, ~self.alive] = 0
        gain[np.arange(some.size), some] = 0
        return gain


def dense_group(shape: tuple[int, int]) -> Group:
    """One group of all rows and columns."""
    return Group(np.arange(shape[0], dtype=np.int32), np.arange(shape[1], dtype=np.int32))


def layout(weight: NDArray[np.float32]) -> list[Group]:
    """The groups a matrix [M, N] will end in: rows of one pattern, nearly equal ones merged."""
    return merge_groups(find_groups(weight), weight.shape[1])
