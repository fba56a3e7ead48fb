"""One point of the accuracy table: a dense checkpoint, pruned one way to one rate, and its PER."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rtmobile_iree.prune.recipe import Recipe
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU
from rtmobile_iree.speech.checkpoint import Checkpoint, load_checkpoint
from rtmobile_iree.speech.dataset import Dataset, open_dataset
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.runs import prune_by_recipe, train_pruned
from rtmobile_iree.speech.training import Progress, Pruner
from rtmobile_iree.speech.unstructured import UnstructuredPruner

Method = Literal["admm", "one-shot", "unstructured", "rows-columns"]
METHODS: dict[Method, str] = {
    "admm": "BSP, ADMM",
    "one-shot": "BSP, one-shot magnitude",
    "rows-columns": "whole rows and columns, ADMM",
    "unstructured": "unstructured magnitude",
}
# rows of a stripe, and columns of a block where a matrix has enough of them
STRIPE_ROWS, BLOCK_COLUMNS = 32, 32


@dataclass(frozen=True)
class Effort:
    """How long a point takes, in epochs.

    Attributes:
        admm: towards the structure, in each stage of each step (columns, rows).
        retrain: under the mask, after each.
        projections: updates of Z and U, an epoch.
        column_stages, row_stages: rates on the way, see `rt.Recipe`.
        rho: ADMM's, its growth and greatest value, see `rt.Recipe`.
    """

    admm: float = 3
    retrain: float = 3
    projections: float = 2
    column_stages: tuple[float, ...] = ()
    row_stages: tuple[float, ...] = ()
    rho: dict[str, float] = field(
        default_factory=lambda: {"rho": 1e-3, "rho_growth": 1.5, "rho_max": 1.0}
    )


@dataclass(frozen=True)
class Unstructured:
    """Magnitude pruning without structure: a rate, and optimizer steps of retraining."""

    rate: float
    steps: int


@dataclass(frozen=True)
class Point:
    """What came of it.

    Attributes:
        checkpoint: the pruned model.
        valid_per, test_per: percent.
        kept, weights: recurrent weights that are not 0, and all.
    """

    checkpoint: Checkpoint
    valid_per: float
    test_per: float
    kept: int
    weights: int


def run_point(
    checkpoint: Checkpoint | str | Path,
    corpus: Dataset | str | Path,
    recipe: Recipe | Unstructured,
    seed: int = 0,
    *,
    training: TrainRecipe | None = None,
    folder: Path | None = None,
    progress: Progress = lambda line: None,
) -> Point:
    """Prunes and retrains a dense model, and scores it.

    Args:
        checkpoint: the dense model or its file.
        corpus: opened, or its folder.
        recipe: what it is pruned to, and how long; steps as `steps_per_epoch` counts them.
        training: batches, learning rate, augmentation; the checkpoint's own recipe by default.
        folder: keeps what a stopped run goes on from; a temporary one by default.

    Raises:
        InputError, PruneError, DivergenceError: as `train_pruned`.
    """
    start = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    dataset = corpus if isinstance(corpus, Dataset) else open_dataset(corpus)
    training = training or TrainRecipe(**start.notes["recipe"])
    make, subject = _pruner(recipe)
    with tempfile.TemporaryDirectory() as temporary:
        trained = train_pruned(
            start, dataset, make, subject, training, seed, folder or Path(temporary), progress
        )
    notes = trained.notes
    valid, test = (
        100 * notes["per"][split]["errors"] / notes["per"][split]["phones"]
        for split in ("valid", "test")
    )
    return Point(trained, valid, test, notes["kept"], notes["weights"])


def steps_per_epoch(dataset: Dataset, training: TrainRecipe) -> int:
    """Optimizer steps of one pass over the training set."""
    return math.ceil(len(dataset.split("train")) / training.batch)


def point_recipe(
    method: Method,
    column_rate: float,
    row_rate: float,
    config: ModelConfig,
    epoch: int,
    effort: Effort,
) -> Recipe | Unstructured:
    """What a method does at a rate. All methods take the same number of optimizer steps.

    Args:
        epoch: steps of one.
    """
    admm, retrain = round(effort.admm * epoch), round(effort.retrain * epoch)
    masks = (column_rate > 1) + (row_rate > 1)
    stages = _stages(effort.column_stages, column_rate) + _stages(effort.row_stages, row_rate)
    steps = (masks + stages) * (admm + retrain)
    if method == "unstructured":
        return Unstructured(column_rate * row_rate, steps)
    shape = _blocks(config) if method != "rows-columns" else {"row_stripes": 1, "col_blocks": 1}
    rates = {"column_rate": column_rate, "row_rate": row_rate}
    layers = _layers(config, rates, method)
    if method == "one-shot":
        kind = {"kind": "magnitude"}
        return Recipe(method=kind, retrain_steps=steps // masks, layers=layers, **shape)
    every = max(1, round(epoch / effort.projections))
    return Recipe(
        method={"kind": "admm", "steps": admm, "project_every": min(every, admm), **effort.rho},
        retrain_steps=retrain,
        column_stages=effort.column_stages,
        row_stages=effort.row_stages,
        layers=layers,
        **shape,
    )


def _stages(stages: tuple[float, ...], rate: float) -> int:
    return sum(1 < stage < rate for stage in stages)


def _blocks(config: ModelConfig) -> dict[str, int]:
    return {
        "row_stripes": max(1, 3 * config.hidden // STRIPE_ROWS),
        "col_blocks": max(1, config.hidden // BLOCK_COLUMNS),
    }


def _layers(config: ModelConfig, rates: dict[str, float], method: Method) -> dict[str, Any]:
    """Rates by matrix; the input's has fewer columns, and takes fewer blocks."""
    if method == "rows-columns":
        return {"gru": rates}
    blocks = max(1, config.inputs // BLOCK_COLUMNS)
    return {"gru.weight_ih_l0": {**rates, "col_blocks": blocks}, "gru": rates}


def _pruner(
    recipe: Recipe | Unstructured,
) -> tuple[Callable[[PhoneGRU], Pruner], dict[str, Any]]:
    if isinstance(recipe, Recipe):
        return prune_by_recipe(recipe), recipe.to_dict()
    subject = {"unstructured": recipe.rate, "steps": recipe.steps}
    return lambda module: UnstructuredPruner(module, recipe.rate, recipe.steps), subject
