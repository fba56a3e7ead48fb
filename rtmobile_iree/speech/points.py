"""One point of the accuracy table: a dense checkpoint, pruned one way to one rate, and its PER."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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

Method = Literal["admm", "straight", "one-shot", "unstructured", "rows-columns", "trained-on"]
METHODS: dict[Method, str] = {
    "admm": "BSP, ADMM",
    "straight": "BSP, ADMM straight there",
    "one-shot": "BSP, one-shot magnitude",
    "rows-columns": "whole rows and columns, ADMM",
    "unstructured": "unstructured magnitude",
}
# what the methods are to be told from: the dense model, unpruned, after as many steps more
TRAINED_ON: Method = "trained-on"
# Of BSP's stripes. Smaller ones lose less, and make more panels: masks of 16 x set at once and
# retrained for 500 steps add 18.5 points to PER in stripes of 16 rows, 14.8 in 8, and 12.0 in 4
# (2 x 512 units). Blocks of columns make no difference to that, so there is one.
STRIPE_ROWS = 4
# Of the steps of "straight", at least so much goes into its rises. Points added to 245 and 301 (2 x
# 512, two seeds, means of four runs) on `valid` and `test`: with a tenth 12.2 and 14.4, with a
# quarter 12.7 and 13.6, no more apart than chance; with half (one run) as much, in twice the time.
RISING = 1 / 4


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
class Unstructured:
    """Magnitude pruning without structure; see `UnstructuredPruner`."""

    phases: tuple[Phase, ...]


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


def point_recipe(
    method: Method, compressions: Sequence[float], config: ModelConfig, effort: Effort
) -> Recipe | Unstructured:
    """What a method does to reach the last of some rising compressions.

    BSP's are of columns alone. ADMM goes through all of them, a stage each. So does unstructured
    pruning, which trains where ADMM does and takes the largest weights where that takes the nearest
    point; and so do whole columns and rows, pruned alike and in turn by ADMM, in as many steps
    altogether. "straight" is ADMM with one stage, the last, and as many steps: RISING of them
    before its last mask, all that are left over under that. One-shot pruning sets that at once, and
    retrains for as many. "trained-on" prunes nothing.
    """
    rates = column_rates(compressions, config)
    admm = {"kind": "admm", "steps": effort.admm, **effort.settings}
    rising = {"method": admm, "rise": effort.rise, "rise_steps": effort.rise_steps}
    stripes = {"row_stripes": max(1, 3 * config.hidden // STRIPE_ROWS), "col_blocks": 1}
    bsp = {"layers": {"gru": {"column_rate": rates[-1]}}, **stripes}
    staged = Recipe(retrain_steps=effort.retrain, column_stages=rates[:-1], **rising, **bsp)
    phases = _phases(staged)
    steps = sum(phase.steps for phase in phases)
    if method == "admm":
        return staged
    if method == "unstructured":
        return Unstructured(phases)
    if method == TRAINED_ON:
        return Unstructured((Phase("retrain", "columns", 1.0, steps),))
    if method == "one-shot":
        return Recipe(method={"kind": "magnitude"}, retrain_steps=steps, **bsp)
    if method == "straight":
        straight = Recipe(retrain_steps=0, **rising, **bsp)
        masks = sum(phase.sets_masks for phase in _phases(straight))
        longer = max(effort.rise_steps, int(RISING * steps) // masks - effort.admm)
        return _taking(steps, 1, straight.model_copy(update={"rise_steps": longer}))
    *before, last = whole_rates(compressions)
    lines = Recipe(
        retrain_steps=0, layers={"gru": {"column_rate": last, "row_rate": last}}, alternate=True,
        column_stages=before, row_stages=before, row_stripes=1, col_blocks=1, **rising,
    )  # fmt: skip
    return _taking(steps, 2 * len(compressions), lines)


def _taking(steps: int, stages: int, recipe: Recipe) -> Recipe:
    """A recipe without retraining, given what its stages, so many, leave of the steps."""
    rises = sum(phase.steps for phase in _phases(recipe))
    return recipe.model_copy(update={"retrain_steps": max(0, steps - rises) // stages})


def whole_rates(compressions: Sequence[float]) -> tuple[float, ...]:
    """What whole columns, and whole rows, are pruned by, each as much as the other."""
    return tuple(math.sqrt(compression) for compression in compressions)


def column_rates(compressions: Sequence[float], config: ModelConfig) -> tuple[float, ...]:
    """What columns are pruned by so that a model of BSP keeps no more than a compression says;
    unstructured pruning takes the same rates.

    A stripe keeps whole columns, 13 of 1024 at 80, and one at least: where rounding leaves over a
    hundredth too much, the rate is raised.
    """
    widths = [config.inputs] + [config.hidden] * (2 * config.layers - 1)

    def kept(rate: float) -> int:
        return sum(max(1, round(width / rate)) for width in widths)

    found = []
    for compression in compressions:
        rate = float(compression)
        while kept(rate) > max(len(widths), 1.01 * sum(widths) / compression):
            rate *= 1.005
        found.append(rate)
    return tuple(found)


def _phases(recipe: Recipe) -> tuple[Phase, ...]:
    """All but "done"."""
    assert recipe.layers is not None, "made from rates of layers"
    (rates,) = recipe.layers.values()
    structure = Structure(rates.column_rate, rates.row_rate, 1, 1)
    return plan_phases(recipe, [structure])[:-1]


def _pruner(
    recipe: Recipe | Unstructured,
) -> tuple[Callable[[PhoneGRU], Pruner], dict[str, Any]]:
    if isinstance(recipe, Recipe):
        return prune_by_recipe(recipe), recipe.to_dict()
    subject = {"unstructured": [asdict(phase) for phase in recipe.phases]}
    return lambda module: UnstructuredPruner(module, recipe.phases), subject
