"""What a diverging run leaves: where it was, and the last good weights."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from rtmobile_iree.errors import DivergenceError

__all__ = ["Guard"]


class Guard:
    """Keeps a copy of a module's parameters and buffers from when they were last all finite."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Takes the module as it is for good."""
        self.good = {name: tensor.clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def check(self, loss: Tensor | float | None, where: str) -> None:
        """Puts the module back to the last good copy when it is not finite.

        Under torch.distributed all processes must call it alike, with a loss or without: a loss
        that is not finite in one of them stops them all.

        Raises:
            DivergenceError: a NaN or infinite loss, parameter or buffer.
        """
        reason = self._bad_loss(loss) or self._bad_tensors()
        if reason:
            for name, tensor in self._tensors().items():
                tensor.copy_(self.good[name])
            raise DivergenceError(
                f"prune: diverged at {where}: {reason}; the module is back at the last good step; "
                f"lower the learning rate, or the recipe's rho or strength"
            )

    def _bad_loss(self, loss: Tensor | float | None) -> str:
        """What is wrong with the loss, here or elsewhere."""
        if loss is None:
            return ""
        value = torch.as_tensor(loss).detach()
        device = next(self.module.parameters()).device  # NCCL has no reduction on the CPU
        bad = (~torch.isfinite(value)).any().to(device, torch.uint8)
        reason = f"the loss is {value.tolist()}" if bad else ""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(bad, op=dist.ReduceOp.MAX)
        return reason or ("the loss of another process is not finite" if bad else "")

    def _bad_tensors(self) -> str:
        """Which tensor is not finite; all are checked at once first, one wait for the device."""
        tensors = {n: t for n, t in self._tensors().items() if t.is_floating_point() and t.numel()}
        if torch.isfinite(get_total_norm(list(tensors.values()), norm_type=torch.inf)):
            return ""
        for name, tensor in tensors.items():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                return f"{_plain_name(name)} has {bad} NaN or infinite of {tensor.numel()} values"
        raise AssertionError("a norm that is not finite, of finite tensors")

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}


def _plain_name(name: str) -> str:
    """`gru.weight_hh_l0` of `gru.parametrizations.weight_hh_l0.original`."""
    return name.replace("parametrizations.", "").removesuffix(".original")
