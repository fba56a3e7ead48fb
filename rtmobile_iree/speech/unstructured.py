"""Magnitude pruning without structure, once, then retraining: what BSP is compared with.

Its zeros are the cheapest in accuracy and buy no speed. The interface is `rt.BSPPruner`'s.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rtmobile_iree.prune.guard import Guard
from rtmobile_iree.prune.masks import MaskedWeight
from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.prune.projection import check_rate
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.prune.weights import plain_parameter, select_weights


class UnstructuredPruner:
    """Keeps the largest 1 / rate of every recurrent matrix.

    Raises:
        PruneError: a rate under 1, or a module without recurrent layers.
    """

    def __init__(self, module: nn.Module, rate: float, steps: int) -> None:
        """Sets the masks.

        Args:
            rate: weights of a matrix over kept weights.
            steps: of retraining.
        """
        check_rate("rate", rate)
        self.rate, self._steps, self._done = rate, steps, 0
        plain = Structure(1, 1, 1, 1)
        self._weights = [
            MaskedWeight(weight, plain_parameter(weight), plain)
            for weight in select_weights(module, None)
        ]
        for weight in self._weights:
            weight.keep(_largest(weight.parameter.detach(), rate))
        self._guard = Guard(module)

    @property
    def phase(self) -> Phase:
        kind = "done" if self.done else "retrain"
        return Phase(kind, "columns", self.rate, self._steps)

    @property
    def done(self) -> bool:
        return self._done >= self._steps

    @property
    def steps(self) -> int:
        return self._steps

    def penalty(self) -> Tensor:
        """0."""
        return torch.zeros(())

    def step(self, loss: Tensor) -> None:
        """After every optimizer step; see `rt.BSPPruner.step`."""
        self._guard.check(loss, f"{self.phase}, step {self._done + 1} of {self._steps}")
        self._done += 1
        self._guard.keep()

    def residuals(self) -> dict[str, float]:
        """None: there is no way towards the structure."""
        return {}

    def finalize(self) -> None:
        """Takes the masks off."""
        for weight in reversed(self._weights):
            weight.release()

    def state_dict(self) -> dict[str, Any]:
        """How far it is; the masks are the module's buffers."""
        return {"rate": self.rate, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._done = int(state["done"])
        self._guard.keep()


def _largest(weight: Tensor, rate: float) -> Tensor:
    """Mask of the max(1, round(size / rate)) largest entries; of equal ones the first stay."""
    kept = max(1, round(weight.numel() / rate))
    order = weight.abs().flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask.view_as(weight)
