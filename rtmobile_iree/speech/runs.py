"""Whole runs: a dense model from a corpus, and a pruned one from a dense checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtmobile_iree.errors import DivergenceError
from rtmobile_iree.gru_training.stack import GRUPass, Precision
from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.prune.pruner import BSPPruner
from rtmobile_iree.prune.recipe import Recipe
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU, plain_copy
from rtmobile_iree.speech.batches import Batch, Example
from rtmobile_iree.speech.checkpoint import Checkpoint, save_checkpoint
from rtmobile_iree.speech.dataset import Dataset, Item
from rtmobile_iree.speech.decode import Decoding, estimate_decoding
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.scoring import PER, check_phones, module_scores, score
from rtmobile_iree.speech.task import Progress, Pruner, Task
from rtmobile_iree.speech.training import Run

# what is tried on `valid` once a model is trained, dense or pruned
PRIOR_SCALES = (0.0, 0.3, 0.6)
ACOUSTIC_SCALES = (0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.0, 3.0)
# what a run that diverged leaves in its folder
LAST_GOOD = "last-good.safetensors"
# utterances that the teacher scores at once
TEACHER_BATCH = 32


def train_dense(
    dataset: Dataset,
    recipe: TrainRecipe,
    seed: int,
    folder: Path,
    progress: Progress = lambda line: None,
) -> Checkpoint:
    """Trains a model from nothing; goes on where a run in `folder` was stopped.

    Raises:
        InputError: no training or validation set; the folder holds another run.
        DivergenceError: see `Run.finish`.
    """
    config = ModelConfig(dataset.corpus.phones, **recipe.model.model_dump())
    module = new_module(config, seed)
    train, valid = dataset.split("train"), dataset.split("valid")
    module.set_normalisation(np.concatenate([item.frames for item in train]))
    labels = (item.labels(config.phones, config.stack) for item in train)
    decoding = estimate_decoding(labels, len(config.phones))

    def validate() -> float:
        return evaluate(module, dataset, valid, decoding).percent

    subject = _subject(dataset, recipe, seed, "dense")
    task = Task(module, _examples(dataset, config), recipe, seed, subject, validate)
    run = Run(task, folder, progress)
    _finish(run, Checkpoint(module, decoding, dataset.corpus.folding, subject))
    decoding = tune_decoding(module, dataset, valid, decoding)
    notes = _notes(subject, module, dataset, decoding, run.at.step)
    return Checkpoint(module, decoding, dataset.corpus.folding, notes)


def train_pruned(
    start: Checkpoint,
    dataset: Dataset,
    make_pruner: Callable[[PhoneGRU], Pruner],
    subject: dict[str, Any],
    recipe: TrainRecipe,
    seed: int,
    folder: Path,
    progress: Progress = lambda line: None,
    at_stage: Callable[[Phase, Checkpoint], None] | None = None,
) -> Checkpoint:
    """Prunes a trained model while it trains on; goes on where a run in `folder` was stopped.

    Args:
        start: is left as it is, and is the teacher where the recipe distills.
        make_pruner: puts a pruner on a module; refuses what does not fit before the first step.
        subject: plain JSON that names what it does.
        at_stage: gets the model as it is after each stage's retraining; again, where a run that
            was stopped goes on from before it.

    Raises:
        InputError, DivergenceError: as `train_dense`; a corpus with other phones.
        PruneError: as `make_pruner`.
    """
    check_phones(dataset, start.config)
    module = copy.deepcopy(start.module)
    module.dropout.p = module.gru.dropout = recipe.dropout
    config = start.config
    pruner = make_pruner(module)
    subject = _subject(dataset, recipe, seed, subject) | {"start": start.notes}
    examples = _examples(dataset, config)
    if recipe.distill:
        examples = with_teacher(examples, start.module, recipe.precision)

    def finished(model: PhoneGRU) -> Checkpoint:
        decoding = tune_decoding(model, dataset, dataset.split("valid"), start.decoding)
        notes = _notes(subject, model, dataset, decoding, run.at.step)
        return replace(start, module=model, decoding=decoding, notes=notes)

    def snapshot(phase: Phase) -> None:
        if at_stage is not None:
            at_stage(phase, finished(plain_copy(module)))

    task = Task(module, examples, recipe, seed, subject, pruner=pruner, at_stage=snapshot)
    run = Run(task, folder, progress)
    return finished(_finish(run, replace(start, notes=subject)))


def prune_by_recipe(prune_recipe: Recipe) -> Callable[[PhoneGRU], Pruner]:
    """What `train_pruned` takes for a recipe of `rt.BSPPruner`."""
    return lambda module: BSPPruner(module, prune_recipe)


def new_module(config: ModelConfig, seed: int) -> PhoneGRU:
    """A model with PyTorch's own first weights, those of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PhoneGRU(config)


def evaluate(module: PhoneGRU, dataset: Dataset, items: Sequence[Item], decoding: Decoding) -> PER:
    """PER of a module in eval mode."""
    return score(dataset, module_scores(module, items), module.config, decoding)


def tune_decoding(
    module: PhoneGRU, dataset: Dataset, items: Sequence[Item], decoding: Decoding
) -> Decoding:
    """The scales with the lowest PER on some items; of equal ones, the first."""
    if module.config.loss == "ctc":
        return decoding
    scores = list(module_scores(module, items))
    tried = [
        replace(decoding, prior_scale=prior, acoustic_scale=acoustic)
        for prior in PRIOR_SCALES
        for acoustic in ACOUSTIC_SCALES
    ]
    return min(tried, key=lambda d: score(dataset, iter(scores), module.config, d).errors)


def kept_weights(module: PhoneGRU) -> tuple[int, int]:
    """Recurrent weights that are not 0, and all of them; biases do not count."""
    matrices = [p for name, p in module.gru.named_parameters() if name.startswith("weight")]
    return sum(int((m != 0).sum()) for m in matrices), sum(m.numel() for m in matrices)


def _finish(run: Run, like: Checkpoint) -> PhoneGRU:
    """Trains to the end; where it diverges, the last good model is kept as a checkpoint."""
    try:
        return run.finish()
    except DivergenceError as error:
        good = run.last_good()
        if good is None:
            raise
        path = run.folder / LAST_GOOD
        save_checkpoint(path, replace(like, module=good))
        raise DivergenceError(f"{error}; the last good model is {path}") from error


def _examples(dataset: Dataset, config: ModelConfig) -> list[Example]:
    """The training set's."""
    own = {item.utterance.speaker for item in dataset.split("test")}
    return [
        Example.of(item, config, item.utterance.speaker in own) for item in dataset.split("train")
    ]


def with_teacher(
    examples: Sequence[Example], teacher: PhoneGRU, precision: Precision
) -> list[Example]:
    """The examples with what a module, in eval mode then, scores."""
    teacher.eval()
    gru, scored = GRUPass(teacher.gru, precision), list(examples)
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].x))
    with torch.no_grad():
        for start in range(0, len(order), TEACHER_BATCH):
            numbers = order[start : start + TEACHER_BATCH]
            batch = Batch.of([examples[n] for n in numbers])
            scores = teacher.training_scores(batch.x, gru)
            for number, row, length in zip(numbers, scores, batch.lengths.tolist(), strict=True):
                scored[number] = replace(examples[number], teacher=row[:length].clone())
    return scored


def _subject(
    dataset: Dataset, recipe: TrainRecipe, seed: int, what: str | dict[str, Any]
) -> dict[str, Any]:
    return {
        "what": what,
        "corpus": dataset.corpus.name,
        "utterances": len(dataset.items),
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
    }


def _notes(
    subject: dict[str, Any], module: PhoneGRU, dataset: Dataset, decoding: Decoding, steps: int
) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    kept, weights = kept_weights(module)
    per = {
        split: asdict(evaluate(module, dataset, dataset.split(split), decoding))
        for split in ("valid", "test")
    }
    return {**subject, "steps": steps, "kept": kept, "weights": weights, "per": per}
