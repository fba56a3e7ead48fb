"""What the processes of a data parallel run tell each other. Alone, everything is as it is.

All processes of torch.distributed's default group must call these alike.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["anywhere", "take_from_first"]


@torch.no_grad()
def take_from_first(tensor: Tensor) -> None:
    """Overwrites `tensor` with the first process's."""
    if not _parallel():
        return
    # as bytes: not every backend sends every type
    sent = tensor.detach().contiguous().clone().view(torch.uint8)
    dist.broadcast(sent, src=0)
    tensor.copy_(sent.view(tensor.dtype))


def anywhere(flag: Tensor) -> bool:
    """Whether a bool scalar, on the device of the training, is true in any process."""
    if not _parallel():
        return bool(flag)
    votes = flag.to(torch.uint8)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes)


def _parallel() -> bool:
    return dist.is_available() and dist.is_initialized()
