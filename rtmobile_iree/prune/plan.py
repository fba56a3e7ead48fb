"""Which matrices a recipe prunes, and to what: everything that can be refused before training."""

from __future__ import annotations

from torch import nn

from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.budget import options, share
from rtmobile_iree.prune.processes import take_from_first
from rtmobile_iree.prune.projection import check_blocks, check_finite
from rtmobile_iree.prune.recipe import LayerRates, Recipe
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.prune.weights import Weight, as_matrix, plain_parameter, select_weights

__all__ = ["Planned", "plan"]

Planned = tuple[Weight, nn.Parameter, Structure]


def plan(module: nn.Module, recipe: Recipe) -> tuple[Planned, ...]:
    """The matrices in the module's order.

    The module is not changed, but in a data parallel run: there the weights become the first
    process's before anything is computed from them.

    Raises:
        PruneError: a pattern that matches nothing that is left, blocks that do not fit a matrix, a
            budget that cannot be met, NaN or infinite weights, a weight that cannot be trained.
    """
    if not isinstance(module, nn.Module):
        raise PruneError(f"prune: module is a {type(module).__name__}; give a torch.nn.Module")
    rates = _rates(module, recipe)
    parameters = [_trainable(weight) for weight, _ in rates]
    matrices = [as_matrix(parameter) for parameter in parameters]
    structures = []
    for (weight, rate), matrix in zip(rates, matrices, strict=True):
        structure = _structure(recipe, rate)
        where = f"prune: {weight.names[0]} {list(matrix.shape)}"
        check_blocks(matrix.shape, structure.row_stripes, structure.col_blocks, where=where)
        check_finite(matrix, weight.names[0])
        structures.append(structure)
    for parameter in parameters:
        take_from_first(parameter)
    if recipe.budget is not None:
        budget = recipe.budget
        found = [
            options(as_matrix(parameter), budget, s.row_stripes, s.col_blocks, weight.names[0])
            for (weight, _), parameter, s in zip(rates, parameters, structures, strict=True)
        ]
        structures = list(share(found, sum(matrix.size for matrix in matrices), budget.rate))
    weights = [weight for weight, _ in rates]
    return tuple(zip(weights, parameters, structures, strict=True))


def _rates(module: nn.Module, recipe: Recipe) -> list[tuple[Weight, LayerRates]]:
    """Every matrix that a pattern takes, with the rates of the first that does."""
    if recipe.budget is not None:
        return [(w, LayerRates()) for w in select_weights(module, recipe.budget.layers)]
    assert recipe.layers is not None, "Recipe checks it"
    weights = select_weights(module, recipe.layers)
    taken: dict[tuple[str, ...], LayerRates] = {}
    for pattern, rates in recipe.layers.items():
        matched = [weight for weight in weights if weight.matches(pattern)]
        new = [weight for weight in matched if weight.names not in taken]
        if not new:
            raise PruneError(
                f"prune: layers {pattern!r} matches only {', '.join(w.names[0] for w in matched)}, "
                f"which an earlier pattern takes; put it first, or leave it out"
            )
        taken.update((weight.names, rates) for weight in new)
    return [(weight, taken[weight.names]) for weight in weights]


def _structure(recipe: Recipe, rates: LayerRates) -> Structure:
    return Structure(
        rates.column_rate,
        rates.row_rate,
        recipe.row_stripes if rates.row_stripes is None else rates.row_stripes,
        recipe.col_blocks if rates.col_blocks is None else rates.col_blocks,
    )


def _trainable(weight: Weight) -> nn.Parameter:
    """The weight's parameter, where training can change it."""
    parameter = plain_parameter(weight)
    if not parameter.requires_grad:
        raise PruneError(
            f"prune: {weight.names[0]} is frozen (requires_grad is False) and cannot be trained "
            f"towards zeros; leave it out, or unfreeze it"
        )
    return parameter
