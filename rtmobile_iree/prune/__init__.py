"""Block-based structured pruning (BSP) of PyTorch modules. The first room: module -> pruned module.

Source: RTMobile (arXiv 2002.11474), section IV-A, Algorithm 1; here in one shot, by magnitude.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.projection import check_rate, project_bsp
from rtmobile_iree.prune.report import PrunedMatrix, PruneReport

__all__ = ["PruneReport", "PrunedMatrix", "prune"]


@dataclass(frozen=True, eq=False)
class _Weight:
    """A weight matrix that can be pruned, with every name it has in the module."""

    parameter: nn.Parameter | None
    """None where the layer computes the weight (weight norm, parametrizations)."""
    names: tuple[str, ...]
    owners: tuple[str, ...]
    recurrent: bool


def prune(
    module: nn.Module,
    *,
    column_rate: float = 16,
    row_rate: float = 2,
    row_stripes: int = 48,
    col_blocks: int = 8,
    layers: Iterable[str] | None = None,
) -> PruneReport:
    """Prunes weight matrices of `module` in place to BSP's structure, by magnitude, in one shot.

    `projection` says exactly which weights stay. Both steps' rates multiply: 16 x 2 keeps about
    1/32. A parameter that several layers share is pruned once, for all of them.

    Args:
        column_rate: columns of a row stripe over kept columns, at least 1.
        row_rate: rows of a matrix over kept rows, at least 1.
        row_stripes: row stripes of each matrix, 1 to its rows; they need not divide.
        col_blocks: column blocks of each stripe, 1 to the matrix's columns; they need not divide.
        layers: which matrices, one name or several: parameter names (`gru.weight_hh_l0`), layer
            names (`gru`: all its matrices) or globs over parameter names (`*.weight_hh_*`). By
            default every weight_ih, weight_hh and weight_hr of nn.GRU, nn.LSTM, nn.RNN and their
            cells. The weight of an nn.Linear is pruned only when `layers` says so.

    Raises:
        PruneError: nothing to prune, a name that matches nothing, a matrix the stripes or blocks
            do not fit, NaN or infinite weights, a weight that is no plain floating parameter. No
            weight has changed then.
    """
    if not isinstance(module, nn.Module):
        raise PruneError(f"prune: module is a {type(module).__name__}; give a torch.nn.Module")
    check_rate("column_rate", column_rate)
    check_rate("row_rate", row_rate)
    planned = []
    for weight in _select(module, layers):
        parameter = _plain_parameter(weight)
        name = weight.names[0]
        values = parameter.detach().to("cpu", torch.float64).numpy()
        mask = project_bsp(values, column_rate, row_rate, row_stripes, col_blocks, name=name)
        kept = mask & (values != 0)
        pruned = PrunedMatrix(
            name=name,
            also=weight.names[1:],
            shape=(values.shape[0], values.shape[1]),
            kept=int(kept.sum()),
            kept_rows=int(kept.any(axis=1).sum()),
        )
        planned.append((parameter, mask, pruned))
    with torch.no_grad():
        for parameter, mask, _ in planned:
            parameter.masked_fill_(torch.from_numpy(~mask).to(parameter.device), 0.0)
    matrices = tuple(pruned for _, _, pruned in planned)
    return PruneReport(
        matrices, float(column_rate), float(row_rate), int(row_stripes), int(col_blocks)
    )


def _weight_names(layer: nn.Module) -> list[str]:
    """The attributes of `layer` that hold matrices `prune` can work on."""
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
    return ["weight"] if isinstance(layer, nn.Linear) else []


def _weights(module: nn.Module) -> list[_Weight]:
    """Every matrix that can be pruned, in the module's order, a shared one once."""
    found: dict[int | str, _Weight] = {}
    for owner, layer in module.named_modules(remove_duplicate=False):
        parameters = dict(layer.named_parameters(recurse=False, remove_duplicate=False))
        for attribute in _weight_names(layer):
            name = f"{owner}.{attribute}" if owner else attribute
            parameter = parameters.get(attribute)
            key = name if parameter is None else id(parameter)
            known = found.get(key, _Weight(parameter, (), (), recurrent=False))
            found[key] = _Weight(
                parameter,
                (*known.names, name),
                (*known.owners, owner),
                known.recurrent or not isinstance(layer, nn.Linear),
            )
    return list(found.values())


def _select(module: nn.Module, layers: Iterable[str] | None) -> list[_Weight]:
    """The matrices that `layers` asks for."""
    weights = _weights(module)
    if not weights:
        raise PruneError(
            f"prune: {type(module).__name__} has nothing to prune; it needs an nn.GRU, nn.LSTM, "
            f"nn.RNN, one of their cells or an nn.Linear"
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
        if not isinstance(pattern, str) or not any(_matches(weight, pattern) for weight in weights):
            raise PruneError(
                f"prune: layers {pattern!r} matches no matrix of {type(module).__name__}; "
                f"use some of: {candidates}"
            )
    return [weight for weight in weights if any(_matches(weight, name) for name in patterns)]


def _matches(weight: _Weight, pattern: str) -> bool:
    """Whether `pattern` is a glob over one of the weight's names, or the name of its layer."""
    by_name = any(fnmatchcase(name, pattern) for name in weight.names)
    return by_name or (pattern != "" and pattern in weight.owners)


def _plain_parameter(weight: _Weight) -> nn.Parameter:
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
