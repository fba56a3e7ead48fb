"""Making a corpus's files, many at a time, so that a run that is killed goes on where it was.

Every finished recording is a WAV file under its final name and a line of a stage's journal. A line
counts while its task is the same and its file is as it was written; everything else is made again.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, Protocol

import pydantic

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.corpora.alignment import AlignmentError
from rtmobile_iree.speech.corpus import Entry, bad_file

PROGRESS = ".progress"
# entries written by another version of the steps that make them are made again
VERSION = 1

Report = Callable[[str], None]


class Task(Protocol):
    """Makes one utterance."""

    @property
    def name(self) -> str:
        """The utterance's, unique."""

    @property
    def recipe(self) -> str:
        """All that its result depends on, in a line."""

    def make(self, folder: Path) -> Entry:
        """Writes the WAV file under `folder`.

        Raises:
            AlignmentError: the recording does not fit its transcript.
            InputError: it cannot be made of its source.
        """


@dataclass(frozen=True)
class Made:
    """What came of one task: an entry of the manifest, or why there is none.

    Attributes:
        bad: whether its source is at fault: missing, empty, cut short, wrongly sampled.
    """

    name: str
    recipe: str
    entry: Entry | None
    reason: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Built:
    """All of it, in the tasks' order."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


def build(
    folder: Path,
    stage: str,
    tasks: Sequence[Task],
    jobs: int = 1,
    strict: bool = False,
    report: Report = lambda line: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Built:
    """Makes what is not there yet.

    Args:
        folder: of the corpus; it is made where missing.
        stage: name of the journal.
        tasks: one for each utterance.
        jobs: processes.
        strict: stop at the first bad source.
        report: called with a line for each recording left out.
        advance: called with the number of tasks done since the last call.

    Raises:
        InputError: a bad source under `strict`, or another run is at work in the folder.
    """
    path = folder / PROGRESS / f"{stage}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder / PROGRESS / "lock"):
        done = _kept(folder, path, tasks)
        advance(len(done))
        waiting = [task for task in tasks if task.name not in done]
        with path.open("a") as journal:
            for made in _made(folder, waiting, jobs):
                if made.bad and strict:
                    raise InputError(f"{made.name}: {made.reason}")
                done[made.name] = made
                _note(journal, made)
                advance(1)
                if made.entry is None:
                    report(f"{made.name}: {made.reason}")
        results = [done[task.name] for task in tasks]
        lines = "".join(_line(made) for made in results)
        write_atomically(path, lines.encode())
    left_out = tuple(f"{made.name}: {made.reason}" for made in results if made.entry is None)
    return Built(tuple(made.entry for made in results if made.entry), left_out)


def run_task(task: Task, folder: Path) -> Made:
    """One task, what a user's files can cause caught."""
    try:
        return Made(task.name, _key(task), task.make(folder))
    except AlignmentError as error:
        return Made(task.name, _key(task), None, str(error))
    except InputError as error:
        return Made(task.name, _key(task), None, str(error), bad=True)


def _made(folder: Path, tasks: Sequence[Task], jobs: int) -> Iterator[Made]:
    if jobs == 1:
        yield from (run_task(task, folder) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: list[Future[Made]] = [pool.submit(run_task, task, folder) for task in tasks]
        try:
            yield from (future.result() for future in as_completed(running))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _kept(folder: Path, journal: Path, tasks: Sequence[Task]) -> dict[str, Made]:
    """Results of an earlier run that still hold; bad sources are tried again."""
    keys = {task.name: _key(task) for task in tasks}
    kept = {}
    for made in _read(journal):
        if keys.get(made.name) != made.recipe or made.bad:
            continue
        if made.entry is None or bad_file(folder, made.entry) is None:
            kept[made.name] = made
    return kept


def _read(journal: Path) -> Iterator[Made]:
    """The lines of a journal; one that a killed run wrote half is passed over."""
    adapter = pydantic.TypeAdapter(Made)
    for line in journal.read_text().splitlines() if journal.is_file() else ():
        try:
            yield adapter.validate_json(line)
        except pydantic.ValidationError:
            continue


def _note(journal: IO[str], made: Made) -> None:
    journal.write(_line(made))
    journal.flush()


def _line(made: Made) -> str:
    return json.dumps(asdict(made)) + "\n"


def _key(task: Task) -> str:
    return f"{VERSION} {task.recipe}"


@contextmanager
def _locked(path: Path) -> Iterator[Any]:
    """Keeps a second run out of the folder; the system frees the lock when a run is killed."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{path}: another run is at work there; wait for it") from error
        yield
