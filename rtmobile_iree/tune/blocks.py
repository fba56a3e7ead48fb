"""What is searched: pairs of row stripes and column blocks that fit every matrix to be pruned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from rtmobile_iree.errors import InputError
from rtmobile_iree.prune.weights import as_matrix, plain_parameter, select_weights

__all__ = ["BlockSpace", "Blocks", "block_space"]

# Rows of a stripe in the smallest matrix: below 4, panels have fewer rows than a vector has lanes
LEAST_ROWS = 4
MOST_COL_BLOCKS = 64


@dataclass(frozen=True)
class Blocks:
    """A block size, as `prune` takes it."""

    row_stripes: int
    col_blocks: int

    def __str__(self) -> str:
        return f"{self.row_stripes}x{self.col_blocks}"


@dataclass(frozen=True)
class BlockSpace:
    """Every combination of these.

    Raises:
        InputError: an empty axis, a number below 1, or one given twice.
    """

    row_stripes: tuple[int, ...]
    col_blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, axis in (("row_stripes", self.row_stripes), ("col_blocks", self.col_blocks)):
            if not axis or min(axis) < 1 or len(set(axis)) < len(axis):
                raise InputError(f"{name} {list(axis)}: give whole numbers from 1, each once")

    @property
    def size(self) -> int:
        """Number of combinations."""
        return len(self.row_stripes) * len(self.col_blocks)


def block_space(module: nn.Module, layers: Iterable[str] | None = None) -> BlockSpace:
    """Block sizes worth a trial: stripes of 4, 8, 16 ... rows, and 1, 2, 4 ... column blocks.

    Args:
        layers: which matrices, as `prune` takes them.

    Returns:
        Stripes are counted for the greatest common divisor of the matrices' rows; no more column
        blocks than the narrowest matrix has columns.

    Raises:
        PruneError: nothing to prune, or a name that matches nothing.
    """
    shapes = [as_matrix(plain_parameter(each)).shape for each in select_weights(module, layers)]
    rows, columns = math.gcd(*(m for m, _ in shapes)), min(n for _, n in shapes)
    heights = [LEAST_ROWS << i for i in range(rows.bit_length()) if LEAST_ROWS << i <= rows]
    stripes = sorted({rows // height for height in heights} | {1})
    blocks = [
        1 << i for i in range(columns.bit_length()) if 1 << i <= min(columns, MOST_COL_BLOCKS)
    ]
    return BlockSpace(tuple(stripes), tuple(blocks))
