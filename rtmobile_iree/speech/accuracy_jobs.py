"""The training runs behind the accuracy table, in the order they are worth running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rtmobile_iree.gru_training.memory import keep_freed_memory
from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.speech.accuracy_table import PAPER, Key
from rtmobile_iree.speech.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rtmobile_iree.speech.dataset import Dataset, open_dataset
from rtmobile_iree.speech.points import (
    METHODS,
    TRAINED_ON,
    Effort,
    Method,
    column_rates,
    point_recipe,
    run_point,
    whole_rates,
)
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.runs import train_dense

RATES = tuple(PAPER)
# a run goes through all rates
CHAINED: tuple[Method, ...] = ("admm", "rows-columns", "unstructured")


@dataclass(frozen=True)
class Settings:
    """What the table's runs have in common.

    Attributes:
        corpus: folder.
        work: folder for what stopped runs go on from, and for checkpoints.
        dense: recipe of the dense models.
        prune: recipe of the points' training; its model and epochs do not count.
        effort: of a stage.
    """

    corpus: Path
    work: Path
    dense: TrainRecipe
    prune: TrainRecipe
    effort: Effort


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        method: "dense", or one of `points.Method`.
        rates: rising; those it goes through, or that give it its number of steps.
        cells: those of the rates whose cells it fills.
    """

    method: Method | Literal["dense"]
    seed: int
    rates: tuple[int, ...]
    cells: tuple[int, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple((self.method, rate, self.seed) for rate in self.cells)

    def folder(self, work: Path) -> Path:
        return work / f"{self.method}-{self.rates[-1]}x-{self.seed}"

    def checkpoint(self, work: Path, key: Key) -> Path:
        """Where a cell's model is, once it is there."""
        return self.folder(work) / f"{key[1]}x.safetensors"


def dense_job(seed: int) -> Job:
    """The dense model of a seed."""
    return Job("dense", seed, (1,), (1,))


def jobs_of(seeds: int) -> list[Job]:
    """All runs, the most telling first: a dense model and all its rates by ADMM, then one-shot;
    the other seeds' dense and by ADMM; then all else, seed by seed."""
    made = [(dense_job(seed), *_jobs("admm", seed)) for seed in range(seeds)]
    jobs = [*made[0], *_jobs(TRAINED_ON, 0), *_jobs("one-shot", 0)] if made else []
    jobs += [job for chain in made[1:] for job in chain]
    jobs += [job for seed in range(seeds) for job in _jobs(TRAINED_ON, seed)]
    jobs += [job for seed in range(seeds) for method in METHODS for job in _jobs(method, seed)]
    return list(dict.fromkeys(jobs))


def _jobs(method: Method, seed: int) -> Iterator[Job]:
    if method in CHAINED:
        yield Job(method, seed, RATES, RATES)
        return
    if method == TRAINED_ON:
        yield Job(method, seed, RATES[:1], (1,))
        return
    for count, rate in enumerate(RATES, 1):
        yield Job(method, seed, RATES[:count], (rate,))


def run_job(settings: Settings, job: Job) -> None:
    """Trains, and writes a checkpoint for every cell as soon as it is there."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = open_dataset(settings.corpus)
    dense = dense_job(job.seed)
    path = dense.checkpoint(settings.work, dense.keys[0])
    if job.method == "dense":
        folder = dense.folder(settings.work)
        save_checkpoint(path, train_dense(dataset, settings.dense, job.seed, folder))
    else:
        _prune(settings, job, job.method, dataset, load_checkpoint(path))


def _prune(
    settings: Settings, job: Job, method: Method, dataset: Dataset, start: Checkpoint
) -> None:
    is_whole = method == "rows-columns"
    rates = whole_rates(job.rates) if is_whole else column_rates(job.rates, start.config)
    stages = dict(zip(rates, job.rates, strict=True))

    def keep(phase: Phase, checkpoint: Checkpoint) -> None:
        if not is_whole or phase.step == "rows":  # which come after columns
            write(stages[phase.cap], checkpoint)

    def write(rate: int, checkpoint: Checkpoint) -> None:
        if rate in job.cells:
            path = job.checkpoint(settings.work, (job.method, rate, job.seed))
            save_checkpoint(path, checkpoint)

    training = settings.prune
    if method == TRAINED_ON:  # all weights at the rate of those that go unlearn what they know
        training = training.model_copy(update={"learning_rate": settings.dense.learning_rate})
    recipe = point_recipe(method, job.rates, start.config, settings.effort)
    folder = job.folder(settings.work)
    last = run_point(
        start, dataset, recipe, job.seed, training=training, folder=folder,
        at_stage=keep if method in CHAINED else None,
    )  # fmt: skip
    write(job.cells[-1], last.checkpoint)
