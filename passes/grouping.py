"""Row groups of a constant matrix and their cost: the numbers behind encode and eliminate-loads.

A group of R rows and K kept columns becomes panels (rtmobile_iree/bspc.py); its cost in cycles is

    sum over its panels of  K * (X_CYCLES + height * ROW_CYCLES) + PANEL_CYCLES

Measured on Zen 4, one core: an index load and a broadcast load of x take 1.5 cycles; 16 weights
come from L2 or L3 in 2 cycles (32 bytes a cycle); starting and writing out a panel takes about 25.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.bspc import PANEL_HEIGHTS, Group, find_groups

X_CYCLES = 1.5
ROW_CYCLES = 2 / 16
PANEL_CYCLES = 25.0
ROW_ALIGN = min(PANEL_HEIGHTS)


@dataclass(frozen=True)
class RowCosts:
    """Costs of 0, 1, 2, … rows: panels they make, and rows with padding."""

    panels: NDArray[np.float32]
    rows: NDArray[np.float32]

    @staticmethod
    def up_to(count: int) -> RowCosts:
        """The table for 0 to `count` rows."""
        padded = -(-np.arange(count + 1) // ROW_ALIGN) * ROW_ALIGN
        left, panels = padded.copy(), np.zeros_like(padded)
        for height in PANEL_HEIGHTS:
            panels += left // height
            left %= height
        return RowCosts(panels.astype(np.float32), padded.astype(np.float32))

    def cycles(
        self, rows: NDArray[np.integer], columns: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Cycles of groups with so many rows and columns; arrays broadcast."""
        panels = self.panels[rows]
        return columns * (X_CYCLES * panels + ROW_CYCLES * self.rows[rows]) + PANEL_CYCLES * panels

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


def merge_groups(groups: list[Group], columns: int) -> list[Group]:
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
    kept = np.zeros((len(groups), columns), np.float32)
    for i, group in enumerate(groups):
        kept[i, group.columns] = 1
    members = [np.sort(group.rows) for group in groups]
    # twice over, since _gaining_pairs looks at every group beside itself too
    table = RowCosts.up_to(2 * sum(m.size for m in members))
    while len(members) > 1:
        pairs = _gaining_pairs(np.array([m.size for m in members]), kept, table)
        if not pairs:
            break
        for a, b in pairs:
            members[a] = np.sort(np.concatenate([members[a], members[b]]))
            kept[a] = np.maximum(kept[a], kept[b])
        gone = {b for _, b in pairs}
        stay = [i for i in range(len(members)) if i not in gone]
        members, kept = [members[i] for i in stay], kept[stay]
    columns_of = [np.flatnonzero(row).astype(np.int32) for row in kept]
    merged = [Group(m, c) for m, c in zip(members, columns_of, strict=True)]
    return sorted(merged, key=lambda group: int(group.rows[0]))


def _gaining_pairs(
    rows: NDArray[np.integer], kept: NDArray[np.float32], table: RowCosts
) -> list[tuple[int, int]]:
    """Pairs of groups that gain most from each other and lose no load."""
    columns = kept.sum(axis=1)
    union = columns[:, None] + columns[None, :] - kept @ kept.T
    together = rows[:, None] + rows[None, :]
    apart = table.cycles(rows, columns)
    gain = apart[:, None] + apart[None, :] - table.cycles(together, union)
    separate = table.loads(rows, columns)
    gain[table.loads(together, union) > separate[:, None] + separate[None, :]] = 0
    np.fill_diagonal(gain, 0)
    best = gain.argmax(axis=1)
    everyone = np.arange(rows.size)
    mutual = (best[best] == everyone) & (gain[everyone, best] > 0) & (everyone < best)
    return [(int(a), int(best[a])) for a in np.flatnonzero(mutual)]


def dense_group(shape: tuple[int, int]) -> Group:
    """One group of all rows and columns."""
    return Group(np.arange(shape[0], dtype=np.int32), np.arange(shape[1], dtype=np.int32))


def layout(weight: NDArray[np.float32]) -> list[Group]:
    """The groups a matrix [M, N] will end in: rows of one pattern, nearly equal ones merged."""
    return merge_groups(find_groups(weight), weight.shape[1])
