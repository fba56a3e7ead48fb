"""`rtmobile corpus`: makes corpora that `rtmobile train` learns from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtmobile_iree.cli.common import app, console, err
from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from rtmobile_iree.speech.corpora.preparation import How

corpus = typer.Typer(no_args_is_help=True, help="Makes a corpus of speech to train on.")
app.add_typer(corpus, name="corpus")

Output = Annotated[
    Path | None,
    typer.Option("--output", help="Folder of the corpus; in the user's cache if not given."),
]
Jobs = Annotated[int, typer.Option(help="Processes; 0 for as many as there are cores.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad file.")]


@corpus.command()
def asterisk(
    output: Output = None,
    sentences: Annotated[int, typer.Option(help="Of each synthetic voice.")] = 180,
    copies: Annotated[
        int, typer.Option(help="In noise or at another speed, of each training prompt.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of every random choice but the splits.")] = 0,
    jobs: Jobs = 0,
    strict: Strict = False,
) -> None:
    """Asterisk's prompts by one speaker, and synthetic voices; fetched from Debian's packages."""
    preparation = _preparation()
    if sentences < 0 or copies < 0:
        raise InputError(f"--sentences {sentences} --copies {copies}: use 0 or more")
    folder = output or preparation.corpora_folder() / "asterisk"
    amounts = preparation.Amounts(sentences, copies, seed)
    with _how(jobs, strict) as how:
        preparation.prepare_asterisk(folder, how, amounts)
    _show(folder)
    _show(folder / preparation.UNSEEN_FOLDER)


@corpus.command()
def timit(
    source: Annotated[Path, typer.Argument(metavar="LDC_DIR", help="With TRAIN and TEST in it.")],
    output: Output = None,
    jobs: Jobs = 0,
    strict: Strict = False,
) -> None:
    """TIMIT as the Linguistic Data Consortium distributes it (LDC93S1)."""
    preparation = _preparation()
    folder = output or preparation.corpora_folder() / "timit"
    with _how(jobs, strict) as how:
        preparation.prepare_timit(source, folder, how)
    _show(folder)


def _preparation() -> ModuleType:
    try:
        from rtmobile_iree.speech.corpora import preparation
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; pip install 'rtmobile-iree[speech]'"
        ) from error
    return preparation


@contextmanager
def _how(jobs: int, strict: bool) -> Iterator[How]:
    """With bars on stderr and a line for each recording left out."""
    from rtmobile_iree.speech.corpora.preparation import How

    if jobs < 0:
        raise InputError(f"--jobs {jobs}: use 0 or more")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:

        def stage(name: str, count: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=count)
            return lambda done: progress.advance(task, done)

        def report(line: str) -> None:
            progress.console.print(f"left out: {line}", highlight=False, soft_wrap=True)

        yield How(jobs or os.cpu_count() or 1, strict, report, stage)


def _show(folder: Path) -> None:
    from rtmobile_iree.speech.corpora.figures import table

    console().print(table(folder))
