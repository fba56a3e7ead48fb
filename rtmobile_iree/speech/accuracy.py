"""The table of PER against compression: `python -m rtmobile_iree.speech.accuracy --corpus DIR`.

Dense models of several seeds, and from each the paper's nine points by ADMM, beside one-shot BSP,
unstructured pruning and whole rows and columns at the same rates. A training run fills one cell
(method, rate, seed), or, of a method that goes through all rates, all of them. Finished cells are
in the JSON file, a stopped run goes on where it was, and the table is written anew after each cell;
those not there yet are called missing. Runs of a seed are compared with its dense model alone, so
all of them begin with the one that is in the folder of work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from rtmobile_iree.errors import InputError, RTMobileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.accuracy_jobs import (
    RATES,
    Job,
    Settings,
    dense_job,
    jobs_of,
    run_job,
)
from rtmobile_iree.speech.accuracy_table import Cell, markdown
from rtmobile_iree.speech.checkpoint import load_checkpoint
from rtmobile_iree.speech.points import Effort
from rtmobile_iree.speech.recipe import TrainRecipe

RESULTS = "accuracy.json"
RECIPES = Path(__file__).parent / "recipes"
# between looks for cells that a chain has filled meanwhile
LOOK_S = 10.0


def subject_of(settings: Settings) -> dict[str, Any]:
    """What results may be put together: plain JSON."""
    return {
        "dense": settings.dense.model_dump(mode="json"),
        "prune": settings.prune.model_dump(mode="json", exclude={"model", "epochs", "patience"}),
        "effort": json.loads(json.dumps(asdict(settings.effort))),
    }


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
    """Runs what is missing, `jobs` at once, and keeps the files up to date.

    Raises:
        InputError: as `read_results`; results whose dense models are not those in `settings.work`.
    """
    subject = subject_of(settings)
    done = read_results(path, subject)
    every = jobs_of(seeds)
    _check_dense_models(settings.work, path, _missing(every, done), done)
    done += _new_cells(settings.work, every, done)
    todo = _missing(every, done)
    write_results(path, subject, done)
    # every process its own memory and one thread: torch's forked threads hang
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[None]] = set()
        while todo or running:
            while todo and len(running) < jobs and _may_start(todo[0], done):
                running.add(pool.submit(run_job, settings, todo.pop(0)))
            finished, running = wait(running, LOOK_S, FIRST_COMPLETED)
            for future in finished:
                if isinstance(error := future.exception(), RTMobileError):
                    typer.echo(f"failed, its cells stay missing: {error}", err=True)
                elif error is not None:
                    raise error
            if new := _new_cells(settings.work, every, done):
                done += new
                write_results(path, subject, done)
    return done


def _missing(every: Sequence[Job], done: Sequence[Cell]) -> list[Job]:
    """Those with a cell that is not there."""
    have = {cell.key for cell in done}
    return [job for job in every if not have.issuperset(job.keys)]


def _check_dense_models(work: Path, path: Path, todo: Sequence[Job], done: Sequence[Cell]) -> None:
    """Refuses to compare with finished runs those that would begin with another dense model."""
    seeds = {job.seed for job in todo}
    for cell in done:
        if cell.method != "dense" or cell.seed not in seeds:
            continue
        file, found = dense_job(cell.seed).checkpoint(work, cell.key), "is not there"
        if file.is_file():
            there = Cell.of(cell.key, load_checkpoint(file).notes)
            if there == cell:
                continue
            found = f"has {there.test_per:.2f} %"
        raise InputError(
            f"{path}: its runs of seed {cell.seed} began with a dense model of "
            f"{cell.test_per:.2f} % PER on `test`, and {file} {found}; give those runs' --work, or "
            "another --json"
        )


def _may_start(job: Job, done: Sequence[Cell]) -> bool:
    """Whether the dense model a job starts from is there, so that no two runs train it."""
    return job.method == "dense" or any(
        cell.method == "dense" and cell.seed == job.seed for cell in done
    )


def _new_cells(work: Path, every: Sequence[Job], done: Sequence[Cell]) -> list[Cell]:
    """Cells whose models have been written since."""
    have = {cell.key for cell in done}
    found = []
    for job in every:
        for key in job.keys:
            path = job.checkpoint(work, key)
            if key not in have and path.is_file():
                found.append(cell := Cell.of(key, load_checkpoint(path).notes))
                typer.echo(str(cell))
    return found


def main(
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help=f"Results; the table beside. {RESULTS} in --work by default."),
    ] = None,
    work: Annotated[Path, typer.Option(help="For what stopped runs go on from.")] = Path(
        "accuracy-runs"
    ),
    jobs: Annotated[int, typer.Option(help="Runs at once, a core each.")] = 1,
    seeds: Annotated[int, typer.Option(help="Dense models, and points from each.")] = 3,
    recipe: Annotated[Path | None, typer.Option(help="Of the dense models, YAML.")] = None,
    prune_recipe: Annotated[Path | None, typer.Option(help="Of the points' training.")] = None,
    retrain: Annotated[int, typer.Option(help="Steps at each stage's own rate.")] = Effort.retrain,
) -> None:
    """Fills the table of PER against compression."""
    if min(jobs, seeds, retrain) < 1:
        raise InputError(f"--jobs {jobs}, --seeds {seeds}, --retrain {retrain}: use 1 or more")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = Settings(
        corpus,
        work,
        TrainRecipe.load(recipe or RECIPES / "dense.yaml"),
        TrainRecipe.load(prune_recipe or RECIPES / "prune.yaml"),
        Effort(retrain=retrain),
    )
    run_table(settings, json_file or work / RESULTS, seeds, jobs)


if __name__ == "__main__":
    try:
        typer.run(main)
    except RTMobileError as error:
        typer.echo(f"accuracy: {error}", err=True)
        raise SystemExit(1) from None
