"""Masks on a module's weights, by `torch.nn.utils.parametrize`.

While masked, a layer's `weight` is computed: the parameter where the mask holds, exactly 0
elsewhere. The parameter stays the same object (named `parametrizations.weight.original`), so an
optimizer made before or after works, and whatever momentum or weight decay do to pruned entries
never shows. Masks are buffers: they move and are saved with the module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rtmobile_iree.prune.processes import take_from_first
from rtmobile_iree.prune.structure import Step, Structure
from rtmobile_iree.prune.weights import Weight, as_matrix

__all__ = ["Mask", "MaskedWeight"]


class Mask(nn.Module):
    """Keeps some entries of a weight; the others are 0 and get no gradient."""

    kept: Tensor
    """The weight's shape, bool."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight where kept, 0 elsewhere (never -0, and never NaN of a pruned entry)."""
        return torch.where(self.kept, weight, 0.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is assigned to the masked weight becomes the parameter."""
        return weight


class MaskedWeight:
    """A weight under a mask, at every layer that shares it."""

    def __init__(self, weight: Weight, parameter: nn.Parameter, structure: Structure) -> None:
        """Masks the weight, with everything kept."""
        self.names = weight.names
        self.sites = weight.sites
        self.parameter = parameter
        self.structure = structure
        self.mask = Mask(parameter)
        self.orders = [tuple(layer._parameters) for layer, _ in self.sites]
        for layer, attribute in self.sites:
            parametrize.register_parametrization(layer, attribute, self.mask)

    @property
    def name(self) -> str:
        """The weight's first name."""
        return self.names[0]

    @property
    def value(self) -> Tensor:
        """The masked weight, with its gradient."""
        masked: Tensor = self.mask(self.parameter)
        return masked

    def project(self, step: Step, cap: float, values: Tensor) -> Tensor:
        """Mask of the nearest point of a step's set to `values`, within the mask there is.

        In a data parallel run every process gets the first one's: a last bit of difference
        between machines cannot part them.

        Raises:
            PruneError: NaN or infinite values.
        """
        found = self.structure.project(step, as_matrix(values), cap=cap, name=self.name)
        mask = torch.from_numpy(found).reshape(values.shape).to(values.device)
        take_from_first(mask)
        return mask & self.mask.kept

    @torch.no_grad()
    def keep(self, mask: Tensor) -> None:
        """Sets the mask."""
        self.mask.kept.copy_(mask)

    def release(self) -> None:
        """Makes the weight a plain parameter again, its value as masked.

        Of a layer's weights, the one masked last has to be released first.
        """
        for (layer, attribute), order in zip(self.sites, self.orders, strict=True):
            parametrize.remove_parametrizations(layer, attribute, leave_parametrized=True)
            for name in order:  # where it was: optimizers and files count parameters
                layer._parameters[name] = layer._parameters.pop(name)
