"""`rtmobile train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtmobile_iree.cli.common import app, console, err
from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from rtmobile_iree.speech.checkpoint import Checkpoint
    from rtmobile_iree.speech.dataset import Dataset
    from rtmobile_iree.speech.recipe import TrainRecipe

MODEL = "model.safetensors"


@app.command()
def train(
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=f"Folder for {MODEL}, log and state; goes on there."),
    ],
    recipe: Annotated[Path | None, typer.Option(help="Training recipe, YAML.")] = None,
    prune: Annotated[
        Path | None, typer.Option(help="Pruning recipe, YAML (rt.Recipe); needs --start.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Dense checkpoint to prune.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches, dropout.")] = 0,
    half: Annotated[bool, typer.Option("--half", help="Store weights as f16.")] = False,
    on_bad: Annotated[str, typer.Option(help="A bad file: skip it and say so, or stop.")] = "skip",
) -> None:
    """Trains a phone recogniser on a corpus, or prunes a trained one with ADMM."""
    from rtmobile_iree.speech.checkpoint import save_checkpoint
    from rtmobile_iree.speech.dataset import open_dataset
    from rtmobile_iree.speech.recipe import TrainRecipe

    if on_bad not in ("stop", "skip"):
        raise InputError(f"--on-bad {on_bad!r}: use stop or skip")
    if (prune is None) != (start is None):
        raise InputError("--prune and --start go together: a recipe, and the checkpoint to prune")
    if seed < 0:
        raise InputError(f"--seed {seed}: use 0 or more")
    training = TrainRecipe() if recipe is None else TrainRecipe.load(recipe)
    dataset = open_dataset(corpus, on_bad, _say)  # type: ignore[arg-type]
    for line in dataset.corpus.left_out:
        _say(f"left out: {line}")
    checkpoint = _train(dataset, training, prune, start, seed, output)
    save_checkpoint(output / MODEL, checkpoint, half)
    notes = checkpoint.notes
    per = ", ".join(
        f"{split} {100 * n['errors'] / n['phones']:.2f} %" for split, n in notes["per"].items()
    )
    console().print(
        f"{output / MODEL}: PER {per}; {notes['kept']:,} of {notes['weights']:,} recurrent weights",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _train(
    dataset: Dataset,
    training: TrainRecipe,
    prune: Path | None,
    start: Path | None,
    seed: int,
    output: Path,
) -> Checkpoint:
    from rtmobile_iree.gru_training.memory import keep_freed_memory
    from rtmobile_iree.prune.recipe import Recipe
    from rtmobile_iree.speech.checkpoint import load_checkpoint
    from rtmobile_iree.speech.runs import prune_by_recipe, train_dense, train_pruned

    keep_freed_memory()

    if prune is None or start is None:
        return train_dense(dataset, training, seed, output, _say)
    wanted = Recipe.load(prune)
    make = prune_by_recipe(wanted)
    dense = load_checkpoint(start)
    return train_pruned(dataset=dataset, start=dense, make_pruner=make, subject=wanted.to_dict(),
                        recipe=training, seed=seed, folder=output, progress=_say)  # fmt: skip


def _say(line: str) -> None:
    err.print(line, highlight=False, soft_wrap=True)
