"""Which weight matrices of a module can be pruned, by name. The matrix form of a convolution.

A weight is a matrix W [M, N], rows = outputs. A convolution's [out, in / groups, *kernel] is one of
M = out rows and N = in / groups x kernel columns, as it is multiplied with unrolled patches
(GRIM, arXiv 2108.11033, prunes convolutions in that form).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtmobile_iree.errors import PruneError

__all__ = ["Weight", "as_matrix", "find_weights", "plain_parameter", "select_weights"]

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
OTHERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight matrix that can be pruned, with every name it has in the module."""

    parameter: nn.Parameter | None
    """None where the layer computes the weight (weight norm, parametrizations)."""
    names: tuple[str, ...]
    owners: tuple[str, ...]
    recurrent: bool
    sites: tuple[tuple[nn.Module, str], ...]
    """The layers that hold it, each with its attribute's name."""

    def matches(self, pattern: str) -> bool:
        """Whether `pattern` is a glob over one of the names, or the name of a layer."""
        by_name = any(fnmatchcase(name, pattern) for name in self.names)
        return by_name or (pattern != "" and pattern in self.owners)


def as_matrix(weight: Tensor) -> NDArray[np.float64]:
    """A weight's values as [M, N] f64 on the CPU."""
    values = weight.detach().to("cpu", torch.float64)
    return values.reshape(values.shape[0], math.prod(values.shape[1:])).numpy()


def _weight_names(layer: nn.Module) -> list[str]:
    """The attributes of `layer` that hold matrices that can be pruned."""
    if isinstance(layer, nn.RNNBase):
        directions = ("", "_reverse") if layer.bidirectional else ("",)
        return [
            f"weight_{side}_l{number}{direction}"
            for number in range(layer.num_layers)
            for direction in directions
            for side in (("ih", "hh", "hr") if layer.proj_size else ("ih", "hh"))
        ]
    if isinstance(layer, nn.RNNCellBase):
        return ["weight_ih", "weight_hh"]
    return ["weight"] if isinstance(layer, OTHERS) else []


def find_weights(module: nn.Module) -> list[Weight]:
    """Every matrix that can be pruned, in the module's order, a shared one once."""
    found: dict[int | str, Weight] = {}
    for owner, layer in module.named_modules(remove_duplicate=False):
        parameters = dict(layer.named_parameters(recurse=False, remove_duplicate=False))
        for attribute in _weight_names(layer):
            name = f"{owner}.{attribute}" if owner else attribute
            parameter = parameters.get(attribute)
            key = name if parameter is None else id(parameter)
            known = found.get(key, Weight(parameter, (), (), recurrent=False, sites=()))
            found[key] = Weight(
                parameter,
                (*known.names, name),
                (*known.owners, owner),
                known.recurrent or isinstance(layer, RECURRENT),
                (*known.sites, (layer, attribute)),
            )
    return list(found.values())


def select_weights(module: nn.Module, layers: Iterable[str] | None) -> list[Weight]:
    """The matrices that `layers` asks for."""
    weights = find_weights(module)
    if not weights:
        raise PruneError(
            f"prune: {type(module).__name__} has nothing to prune; it needs an nn.GRU, nn.LSTM, "
            f"nn.RNN, one of their cells, an nn.Linear, nn.Conv1d or nn.Conv2d"
        )
    candidates = ", ".join(name for weight in weights for name in weight.names)
    if layers is None:
        recurrent = [weight for weight in weights if weight.recurrent]
        if not recurrent:
            raise PruneError(
                f"prune: {type(module).__name__} has no nn.GRU, nn.LSTM or nn.RNN; name what to "
                f"prune in layers: {candidates}"
            )
        return recurrent
    if not isinstance(layers, Iterable):
        raise PruneError(f"prune: layers {layers!r}; give names, some of: {candidates}")
    patterns = (layers,) if isinstance(layers, str) else tuple(layers)
    if not patterns:
        raise PruneError(f"prune: layers is empty; leave it out, or name some of: {candidates}")
    for pattern in patterns:
        if not isinstance(pattern, str) or not any(weight.matches(pattern) for weight in weights):
            raise PruneError(
                f"prune: layers {pattern!r} matches no matrix of {type(module).__name__}; "
                f"use some of: {candidates}"
            )
    return [weight for weight in weights if any(weight.matches(name) for name in patterns)]


def plain_parameter(weight: Weight) -> nn.Parameter:
    """The weight's parameter; raises PruneError where its values cannot be changed in place."""
    parameter, where = weight.parameter, f"prune: {weight.names[0]}"
    if parameter is None:
        raise PruneError(
            f"{where} is computed by its layer, not a parameter; remove weight norm or "
            f"parametrizations first"
        )
    if nn.parameter.is_lazy(parameter) or parameter.is_meta:
        raise PruneError(f"{where} holds no values yet; run the module once, or load its weights")
    if not parameter.is_floating_point():
        raise PruneError(f"{where} is {parameter.dtype}; use a floating type such as torch.float32")
    if parameter.is_inference() and not torch.is_inference_mode_enabled():
        raise PruneError(
            f"{where} was made in torch.inference_mode and is read-only; build the module outside"
        )
    return parameter
