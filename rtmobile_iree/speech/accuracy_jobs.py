"""The training runs behind the accuracy table, in the order they are worth running."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.speech.accuracy_table import PAPER, Key
from rtmobile_iree.speech.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rtmobile_iree.speech.dataset import Dataset, open_dataset
from rtmobile_iree.speech.points import METHODS, Chain, Effort, Method, chain_recipe, run_point
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.runs import train_dense

# column rate, row rate
RATES = tuple(PAPER)


def row_rates(column_rate: float) -> tuple[float, ...]:
    """Those of a column rate, rising."""
    return tuple(sorted(row for column, row in RATES if column == column_rate))


# The same rates as stages of three runs. Smaller stripes lose less, and make more panels: masks of
# 16 x 1 set at once and retrained for 500 steps add 18.5 points to PER in stripes of 16 rows, 14.8
# in 8, and 12.0 in 4.
CHAINS = (
    Chain((10.0,), stripe_rows=16),
    Chain((10.0, 16.0), row_rates(16.0), stripe_rows=4),
    Chain((10.0, 16.0, 20.0), row_rates(20.0), stripe_rows=4),
)
CHAINED: tuple[Method, ...] = ("admm", "rows-columns")


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
        method: "dense", or one of `points.METHODS`.
        points: the cells it fills, (column rate, row rate).
        chain: its stages; those not among the points are on the way only.
    """

    method: str
    seed: int
    points: tuple[tuple[float, float], ...]
    chain: Chain

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple((self.method, *point, self.seed) for point in self.points)

    def folder(self, work: Path) -> Path:
        last = f"{self.chain.columns[-1]:g}x{self.chain.rows[-1]:g}"
        return work / f"{self.method}-{last}-{self.seed}"

    def checkpoint(self, work: Path, key: Key) -> Path:
        """Where a cell's model is, once it is there."""
        return self.folder(work) / f"{key[1]:g}x{key[2]:g}.safetensors"


def dense_job(seed: int) -> Job:
    """The dense model of a seed."""
    return Job("dense", seed, ((1.0, 1.0),), Chain((1.0,)))


def jobs_of(seeds: int) -> list[Job]:
    """All runs, the most telling first: ADMM and one-shot at the lowest rate, a second dense model,
    ADMM at the next rates; then all of the lowest rate, and the rest seed by seed."""
    jobs = [_by_method(seed) for seed in range(seeds)]
    dense = [dense_job(seed) for seed in range(seeds)]
    admm, one_shot = jobs[0]["admm"], jobs[0]["one-shot"]
    order = [dense[0], admm[0], *dense[1:2], one_shot[0], admm[1], *dense[2:]]
    order += [found[0] for method in METHODS for found in (seed[method] for seed in jobs)]
    order += [job for seed in jobs for method in METHODS for job in seed[method]]
    return list(dict.fromkeys(order))


def _by_method(seed: int) -> dict[Method, list[Job]]:
    """A seed's runs, the lowest rate first."""
    return {method: list(_jobs(method, seed)) for method in METHODS}


def _jobs(method: Method, seed: int) -> Iterator[Job]:
    for chain in CHAINS:
        last = chain.columns[-1]
        parts = {
            point: part for point, part in _parts(chain) if point in RATES and point[0] == last
        }
        if method in CHAINED:
            yield Job(method, seed, tuple(parts), chain)
        else:
            yield from (Job(method, seed, (point,), part) for point, part in parts.items())


def _parts(chain: Chain) -> Iterator[tuple[tuple[float, float], Chain]]:
    """Every stage's rates, and the chain up to there."""
    for end, column in enumerate(chain.columns, 1):
        yield (column, 1.0), replace(chain, columns=chain.columns[:end], rows=(1.0,))
    for end, row in enumerate(chain.rows, 1):
        if row > 1:
            yield (chain.columns[-1], row), replace(chain, rows=chain.rows[:end])


def run_job(settings: Settings, job: Job) -> None:
    """Trains, and writes a checkpoint for every cell as soon as it is there."""
    torch.set_num_threads(1)
    dataset = open_dataset(settings.corpus)
    dense = dense_job(job.seed)
    path = dense.checkpoint(settings.work, dense.keys[0])
    if job.method == "dense":
        folder = dense.folder(settings.work)
        save_checkpoint(path, train_dense(dataset, settings.dense, job.seed, folder))
        return
    _prune(settings, job, dataset, load_checkpoint(path))


def _prune(settings: Settings, job: Job, dataset: Dataset, start: Checkpoint) -> None:
    def keep(phase: Phase, checkpoint: Checkpoint) -> None:
        write(job.chain.point(phase), checkpoint)

    def write(point: tuple[float, float], checkpoint: Checkpoint) -> None:
        if point in job.points:
            key = (job.method, *point, job.seed)
            save_checkpoint(job.checkpoint(settings.work, key), checkpoint)

    method: Method = next(method for method in METHODS if method == job.method)
    recipe = chain_recipe(method, job.chain, start.config, settings.effort)
    folder = job.folder(settings.work)
    last = run_point(
        start, dataset, recipe, job.seed, training=settings.prune, folder=folder, at_stage=keep
    )
    write((job.chain.columns[-1], job.chain.rows[-1]), last.checkpoint)
