"""Pruning to square blocks, for engines whose sparse kernels want those.

As many weights stay in each matrix as BSP keeps there. At equal rate a model loses more accuracy
this way, so these peers' times flatter them; the tables say which pattern each one ran.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def prune_squares(matrices: Sequence[Tensor], kept: Sequence[int], block: int) -> None:
    """Zeroes each matrix in place but for the square blocks of greatest norm.

    Args:
        matrices: [M, N] each, not pruned; sizes that the block does not divide end in part blocks.
        kept: about how many weights of each matrix stay; at least one block does, if any.
        block: side of a block.
    """
    with torch.no_grad():
        for matrix, count in zip(matrices, kept, strict=True):
            matrix *= _mask(matrix, count, block)


def _mask(matrix: Tensor, kept: int, block: int) -> Tensor:
    rows, columns = matrix.shape
    down, across = -(-rows // block), -(-columns // block)
    padded = torch.zeros(down * block, across * block)
    padded[:rows, :columns] = matrix
    norms = padded.reshape(down, block, across, block).square().sum((1, 3)).flatten()
    count = min(len(norms), -(-kept // block**2))
    mask = torch.zeros(len(norms))
    mask[norms.topk(count).indices] = 1
    whole = mask.reshape(down, across).repeat_interleave(block, 0).repeat_interleave(block, 1)
    return whole[:rows, :columns]
