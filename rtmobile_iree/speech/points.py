"""One point of the accuracy table: a dense checkpoint, pruned one way to one rate, and its PER."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rtmobile_iree.prune.phases import Phase, plan_phases
from rtmobile_iree.prune.recipe import Recipe
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU
from rtmobile_iree.speech.checkpoint import Checkpoint, load_checkpoint
from rtmobile_iree.speech.dataset import Dataset, open_dataset
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.runs import prune_by_recipe, train_pruned
from rtmobile_iree.speech.task import Progress, Pruner
from rtmobile_iree.speech.unstructured import UnstructuredPruner

Method = Literal["admm", "one-shot", "unstructured", "rows-columns"]
METHODS: dict[Method, str] = {
    "admm": "BSP, ADMM",
    "one-shot": "BSP, one-shot magnitude",
    "rows-columns": "whole rows and columns, ADMM",
    "unstructured": "unstructured magnitude",
}
# columns of a block where a matrix has enough of them
BLOCK_COLUMNS = 32


@dataclass(frozen=True)
class Effort:
    """How long a stage takes, in optimizer steps.

    Attributes:
        admm: towards the structure, each time the rate rises.
        rise: by which factor at most, and for how many steps it then retrains, see `rt.Recipe`.
        retrain: at the stage's own rate.
        settings: the rest of ADMM's.
    """

    admm: int = 20
    rise: float = 1.2
    rise_steps: int = 10
    retrain: int = 2000
    settings: dict[str, float] = field(
        default_factory=lambda: {
            "project_every": 5, "rho": 1e-2, "rho_growth": 2.0, "rho_max": 1.0,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """Rates one after the other, each from the one before: all columns first, then rows.

    Attributes:
        columns, rows: rising; the last are the recipe's rates, the others stages on the way.
        stripe_rows: rows of a stripe.
    """

    columns: tuple[float, ...]
    rows: tuple[float, ...] = (1.0,)
    stripe_rows: int = 4

    def point(self, phase: Phase) -> tuple[float, float]:
        """(column rate, row rate) of the module after a phase's retraining."""
        if phase.step == "columns":
            return phase.cap, 1.0
        return self.columns[-1], phase.cap


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
    at_stage: Callable[[Phase, Checkpoint], None] | None = None,
) -> Point:
    """Prunes and retrains a dense model, and scores it.

    Args:
        checkpoint: the dense model or its file.
        corpus: opened, or its folder.
        recipe: what it is pruned to, and for how many optimizer steps.
        training: batches, learning rate, augmentation; the checkpoint's own recipe by default.
        folder: keeps what a stopped run goes on from; a temporary one by default.
        at_stage: see `train_pruned`.

    Raises:
        InputError, PruneError, DivergenceError: as `train_pruned`.
    """
    start = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    dataset = corpus if isinstance(corpus, Dataset) else open_dataset(corpus)
    training = training or TrainRecipe(**start.notes["recipe"])
    make, subject = _pruner(recipe)
    with tempfile.TemporaryDirectory() as temporary:
        trained = train_pruned(
            start, dataset, make, subject, training, seed, folder or Path(temporary), progress,
            at_stage,
        )  # fmt: skip
    notes = trained.notes
    valid, test = (
        100 * notes["per"][split]["errors"] / notes["per"][split]["phones"]
        for split in ("valid", "test")
    )
    return Point(trained, valid, test, notes["kept"], notes["weights"])


def chain_recipe(
    method: Method, chain: Chain, config: ModelConfig, effort: Effort
) -> Recipe | Unstructured:
    """What a method does to reach a chain's last rates.

    ADMM goes through all of the chain. What sets masks by magnitude goes straight to the last
    rates, and retrains for as many steps as ADMM takes, half of them after columns and half after
    rows where both are pruned.
    """
    rates = {"column_rate": chain.columns[-1], "row_rate": chain.rows[-1]}
    shape = (
        _blocks(config, chain.stripe_rows)
        if method != "rows-columns"
        else {"row_stripes": 1, "col_blocks": 1}
    )
    layers = _layers(config, rates, method)
    whole = Recipe(
        method={"kind": "admm", "steps": effort.admm, **effort.settings},
        retrain_steps=effort.retrain,
        rise=effort.rise,
        rise_steps=effort.rise_steps,
        column_stages=chain.columns[:-1],
        row_stages=chain.rows[:-1],
        layers=layers,
        **shape,
    )
    if method in ("admm", "rows-columns"):
        return whole
    structure = Structure(chain.columns[-1], chain.rows[-1], 1, 1)
    steps = sum(phase.steps for phase in plan_phases(whole, [structure]))
    if method == "unstructured":
        return Unstructured(rates["column_rate"] * rates["row_rate"], steps)
    masks = sum(rate > 1 for rate in rates.values())
    kind = {"kind": "magnitude"}
    return Recipe(method=kind, retrain_steps=steps // masks, layers=layers, **shape)


def _blocks(config: ModelConfig, stripe_rows: int) -> dict[str, int]:
    return {
        "row_stripes": max(1, 3 * config.hidden // stripe_rows),
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
