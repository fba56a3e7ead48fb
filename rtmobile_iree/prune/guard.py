"""What a diverging run leaves: where it was, and the last good weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmobile_iree.errors import DivergenceError
from rtmobile_iree.prune.processes import anywhere

__all__ = ["Guard"]


class Guard:
    """Keeps a copy of a module's parameters and buffers from when they were last all finite."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Takes the module as it is for good; a copy is all it costs."""
        self.good = {name: tensor.clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def check(self, loss: Tensor | float | None, where: str) -> None:
        """Puts the module back to the last good copy when it is not finite.

        A loss that is not finite in one process of a data parallel run stops them all.

        Raises:
            DivergenceError: a NaN or infinite loss, parameter or buffer.
        """
        reasons = [reason for reason in (self._bad_loss(loss), self._bad_tensors()) if reason]
        if reasons:
            for name, tensor in self._tensors().items():
                tensor.copy_(self.good[name])
            raise DivergenceError(
                f"prune: diverged at {where}: {' and '.join(reasons)}; the module is back at the "
                f"last good step; lower the learning rate, or the recipe's rho or strength"
            )

    def _bad_loss(self, loss: Tensor | float | None) -> str:
        """What is wrong with the loss, here or elsewhere."""
        if loss is None:
            return ""
        value = torch.as_tensor(loss).detach()
        device = next(self.module.parameters()).device  # NCCL has no reduction on the CPU
        bad = (~torch.isfinite(value)).any().to(device)
        if not anywhere(bad):
            return ""
        return f"the loss is {value.tolist()}" if bad else "another process's loss is not finite"

    def _bad_tensors(self) -> str:
        """Which tensor is not finite; all are checked at once first, one wait for the device.

        A sum is one fast pass; one that overflows, of finite numbers, costs the second look.
        """
        tensors = {n: t for n, t in self._tensors().items() if t.is_floating_point() and t.numel()}
        device = next(self.module.parameters()).device
        sums = [tensor.sum().to(device, torch.float64) for tensor in tensors.values()]
        if torch.isfinite(torch.stack(sums)).all():
            return ""
        for name, tensor in tensors.items():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                return f"{_plain_name(name)} has {bad} NaN or infinite of {tensor.numel()} values"
        return ""

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}


def _plain_name(name: str) -> str:
    """`gru.weight_hh_l0` of `gru.parametrizations.weight_hh_l0.original`."""
    return name.replace("parametrizations.", "").removesuffix(".original")
