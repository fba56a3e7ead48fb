"""The table of PER against compression: `python -m rtmobile_iree.speech.accuracy --corpus DIR`.

Dense models of several seeds, and from each the paper's nine points by ADMM, beside one-shot BSP,
unstructured pruning and whole rows and columns at the same rates, with as many optimizer steps.
Every cell (method, rate, seed) is one training run. Finished cells are in the JSON file, a stopped
one goes on where it was, and the table is written anew after each; those not there yet are called
missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from rtmobile_iree.errors import InputError, RTMobileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.accuracy_table import Cell, markdown
from rtmobile_iree.speech.points import METHODS, Effort, Method
from rtmobile_iree.speech.recipe import TrainRecipe

# column rate x row rate, the paper's Table I
RATES = (
    (10.0, 1.0), (16.0, 1.25), (16.0, 2.0), (16.0, 5.0), (20.0, 8.0),
    (16.0, 16.0), (20.0, 10.0), (20.0, 16.0), (20.0, 20.0),
)  # fmt: skip
RESULTS = Path("docs/results/accuracy.json")
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Settings:
    """What the table's runs have in common.

    Attributes:
        corpus: folder.
        work: folder for what stopped runs go on from, and for checkpoints.
        dense: recipe of the dense models.
        prune: recipe of the points' training; its model and epochs do not count.
        effort: of a point.
    """

    corpus: Path
    work: Path
    dense: TrainRecipe
    prune: TrainRecipe
    effort: Effort

    def subject(self) -> dict[str, Any]:
        """What results may be put together: plain JSON."""
        return {
            "dense": self.dense.model_dump(mode="json"),
            "prune": self.prune.model_dump(mode="json", exclude={"model", "epochs", "patience"}),
            "effort": json.loads(json.dumps(asdict(self.effort))),
        }


def cells(seeds: int) -> Iterator[tuple[str, float, float, int]]:
    """(method, column rate, row rate, seed) of all cells, the most telling first."""
    yield "dense", 1, 1, 0
    yield from (("admm", *rate, 0) for rate in RATES)
    others: list[Method] = [method for method in METHODS if method != "admm"]
    yield from ((method, *rate, 0) for method in others for rate in RATES)
    for seed in range(1, seeds):
        yield "dense", 1, 1, seed
        yield from (("admm", *rate, seed) for rate in RATES)
    for seed in range(1, seeds):
        yield from ((method, *rate, seed) for method in others for rate in RATES)


def run_cell(settings: Settings, method: str, columns: float, rows: float, seed: int) -> Cell:
    """Trains one cell; a dense model that is needed first, too."""
    import torch

    from rtmobile_iree.speech.checkpoint import load_checkpoint, save_checkpoint
    from rtmobile_iree.speech.dataset import open_dataset
    from rtmobile_iree.speech.points import point_recipe, run_point, steps_per_epoch
    from rtmobile_iree.speech.runs import train_dense

    torch.set_num_threads(1)
    dataset = open_dataset(settings.corpus)
    folder = settings.work / f"dense-{seed}"
    dense = folder / "model.safetensors"
    if not dense.is_file():
        save_checkpoint(dense, train_dense(dataset, settings.dense, seed, folder))
    start = load_checkpoint(dense)
    if method == "dense":
        return Cell.of(method, columns, rows, seed, start.notes)
    epoch = steps_per_epoch(dataset, settings.prune)
    recipe = point_recipe(method, columns, rows, start.config, epoch, settings.effort)  # type: ignore[arg-type]
    folder = settings.work / f"{method}-{columns:g}x{rows:g}-{seed}"
    point = run_point(start, dataset, recipe, seed, training=settings.prune, folder=folder)
    save_checkpoint(folder / "model.safetensors", point.checkpoint)
    return Cell.of(method, columns, rows, seed, point.checkpoint.notes)


def read_results(path: Path, subject: dict[str, Any]) -> list[Cell]:
    """Finished cells.

    Raises:
        InputError: results of other settings, or no results.
    """
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text())
        if stored["subject"] != subject:
            raise InputError(f"{path}: results of other recipes; write to another --json")
        return [Cell(**fields) for fields in stored["cells"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no results of this table ({error}); move it away") from error


def write_results(path: Path, subject: dict[str, Any], done: Sequence[Cell]) -> None:
    """Writes the JSON and, beside it, the table."""
    stored = {"subject": subject, "cells": [asdict(cell) for cell in done]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(stored, indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".md"), markdown(done, subject, RATES).encode())


def run_table(settings: Settings, path: Path, seeds: int, jobs: int) -> list[Cell]:
    """Runs what is missing, `jobs` at once, and keeps the files up to date."""
    subject = settings.subject()
    done = read_results(path, subject)
    have = {cell.key for cell in done}
    todo = [key for key in cells(seeds) if key not in have]
    write_results(path, subject, done)
    # every process its own memory and one thread: torch's forked threads hang
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[Cell]] = set()
        while todo or waiting:
            while todo and len(waiting) < jobs and _may_start(todo[0], done):
                waiting.add(pool.submit(run_cell, settings, *todo.pop(0)))
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                done.append(cell := future.result())
                typer.echo(str(cell))
                write_results(path, subject, done)
    return done


def _may_start(key: tuple[str, float, float, int], done: Sequence[Cell]) -> bool:
    """Whether the dense model a cell starts from is there, so that no two runs train it."""
    return key[0] == "dense" or any(c.method == "dense" and c.seed == key[3] for c in done)


def main(
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    json_file: Annotated[Path, typer.Option("--json", help="Results; the table beside.")] = RESULTS,
    work: Annotated[Path, typer.Option(help="For what stopped runs go on from.")] = Path(
        "accuracy-runs"
    ),
    jobs: Annotated[int, typer.Option(help="Runs at once, a core each.")] = 1,
    seeds: Annotated[int, typer.Option(help="Dense models, and points from each.")] = 3,
    recipe: Annotated[Path | None, typer.Option(help="Of the dense models, YAML.")] = None,
    prune_recipe: Annotated[Path | None, typer.Option(help="Of the points' training.")] = None,
) -> None:
    """Fills the table of PER against compression."""
    if jobs < 1 or seeds < 1:
        raise InputError(f"--jobs {jobs}, --seeds {seeds}: use 1 or more")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = Settings(
        corpus,
        work,
        TrainRecipe.load(recipe or RECIPES / "dense.yaml"),
        TrainRecipe.load(prune_recipe or RECIPES / "prune.yaml"),
        Effort(),
    )
    run_table(settings, json_file, seeds, jobs)


if __name__ == "__main__":
    try:
        typer.run(main)
    except RTMobileError as error:
        typer.echo(f"accuracy: {error}", err=True)
        raise SystemExit(1) from None
