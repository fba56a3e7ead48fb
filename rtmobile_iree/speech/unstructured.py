"""Magnitude pruning without structure: what BSP is compared with.

Its zeros are the cheapest in accuracy and buy no speed. The interface is `rt.BSPPruner`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """Keeps the largest 1 / rate of every recurrent matrix, at rates that rise.

    Raises:
        PruneError: a rate under 1, or a module without recurrent layers.
    """

    def __init__(self, module: nn.Module, phases: Sequence[Phase]) -> None:
        """Puts masks on, with everything kept.

        Args:
            phases: their caps are the rates; what sets masks trains as any other, under the mask
                there is, and sets the next one by magnitude at its end.
        """
        for phase in phases:
            check_rate("rate", phase.cap)
        self._phases = (*phases, Phase("done", "columns", math.inf, 0))
        self._at = self._done = 0
        plain = Structure(1, 1, 1, 1)
        self._weights = [
            MaskedWeight(weight, plain_parameter(weight), plain)
            for weight in select_weights(module, None)
        ]
        self._guard = Guard(module)
        self._move_on()

    @property
    def phase(self) -> Phase:
        """The one that is on."""
        return self._phases[self._at]

    @property
    def done(self) -> bool:
        return self._at == len(self._phases) - 1

    @property
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self._phases)

    def penalty(self) -> Tensor:
        """0."""
        return torch.zeros(())

    def step(self, loss: Tensor) -> None:
        """After every optimizer step; see `rt.BSPPruner.step`."""
        self._guard.check(loss, f"{self.phase}, step {self._done + 1} of {self.phase.steps}")
        self._done += 1
        self._move_on()
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
        return {"phase": self._at, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._at, self._done = int(state["phase"]), int(state["done"])
        self._guard.keep()

    def _move_on(self) -> None:
        """To the next phase that has steps left."""
        while not self.done and self._done >= self.phase.steps:
            if self.phase.sets_masks:
                for weight in self._weights:
                    weight.keep(_largest(weight.value.detach(), self.phase.cap))
            self._at, self._done = self._at + 1, 0


def _largest(weight: Tensor, rate: float) -> Tensor:
    """Mask of the max(1, round(size / rate)) largest entries; of equal ones the first stay."""
    kept = max(1, round(weight.numel() / rate))
    order = weight.abs().flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask.view_as(weight)
