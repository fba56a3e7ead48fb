"""Times compiled modules on a device, in rounds that alternate between them.

Other engines do not run there. A benchmark that stops in the middle (a cable, Ctrl-C) keeps its
finished rounds in a journal, and goes on from there when it is started again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from rtmobile_iree.bench.devices.journal import Journal
from rtmobile_iree.bench.devices.results import Case, CaseResult, DeviceResults, DeviceSettings
from rtmobile_iree.bench.machine import versions
from rtmobile_iree.bench.peers.iree_peer import sample_times_us
from rtmobile_iree.devices.base import Device
from rtmobile_iree.devices.probe import Description, State
from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import DeviceError, InputError

JOURNAL_SCHEMA = 1
# how much warmer than before the first round a round may begin, where no limit is given
WARMER_C = 3.0
LOOK_S = 5.0
# how long to wait for the limit before the next round begins all the same
MOST_WAIT_S = 600.0
Progress = Callable[[str], None]


class BenchDevice(Device, Protocol):
    """A device that says what it is and how it is; its connection is kept while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def describe(self) -> Description:
        """What it is."""

    def state(self) -> State:
        """How it is now."""


def run_device_bench(
    device: BenchDevice,
    cases: Sequence[Case],
    settings: DeviceSettings,
    *,
    journal: Path | None = None,
    progress: Progress = lambda line: None,
) -> DeviceResults:
    """Times every case in each round, after its outputs are compared.

    Args:
        device: where.
        cases: what.
        settings: how.
        journal: file for finished rounds; under the user's cache, by what is measured, when None.
        progress: called with a line at each stage.

    Raises:
        DeviceError: the device failed or was lost; finished rounds are in the journal.
        InputError: settings out of range, or a module whose outputs are wrong there.
    """
    settings.check()
    keys = [case.key for case in cases]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"{twice}: is given twice")
    with device:
        description = device.describe()
        subject = _subject(device.name, description, cases, settings)
        book = Journal(journal or _journal_path(subject), subject)
        if book.entries:
            progress(f"going on after {len(book.entries)} finished bursts, from {book.path}")
        try:
            errors = [_compare(device, case, settings.threads, progress) for case in cases]
            _measure(device, cases, settings, book, progress)
        except DeviceError as error:
            kept = f"{len(book.entries)} of {settings.rounds * len(cases)} bursts are kept"
            raise DeviceError(f"{error}; {kept}, the same command goes on from there") from error
    results = [_result(*pair, book) for pair in zip(cases, errors, strict=True)]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    book.remove()
    return DeviceResults(device.name, description, settings, tuple(results), versions(), now)


def _subject(
    name: str, description: Description, cases: Sequence[Case], settings: DeviceSettings
) -> dict[str, Any]:
    """What rounds must have in common to be of one benchmark; more rounds may be asked for."""
    how = asdict(replace(settings, rounds=1))
    what = [case.key for case in cases]
    device = {"device": name, "cpu": description.cpu, "model": description.model}
    return {"journal": JOURNAL_SCHEMA, **device, "cases": what, "settings": how}


def _journal_path(subject: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "journals" / f"{digest[:16]}.jsonl"


def _compare(device: Device, case: Case, threads: int, progress: Progress) -> float | None:
    """Greatest difference from the right outputs.

    Raises:
        InputError: it is over the tolerance.
    """
    if case.expected is None:
        return None
    progress(f"{case.contents.name}: comparing its outputs")
    outputs = device.run(case.contents.vmfb, case.inputs, threads=threads)
    shapes = [y.shape for y in outputs]
    if shapes != [y.shape for y in case.expected]:
        raise InputError(f"{case.contents.name}: gives {shapes} on {device.name}; not timed")
    error = max(float(np.abs(y - e).max()) for y, e in zip(outputs, case.expected, strict=True))
    if not error <= case.tolerance:
        raise InputError(
            f"{case.contents.name}: outputs on {device.name} differ by {error:.1e}, over "
            f"{case.tolerance:.0e}; not timed"
        )
    return error


def _measure(
    device: BenchDevice,
    cases: Sequence[Case],
    settings: DeviceSettings,
    book: Journal,
    progress: Progress,
) -> None:
    """The bursts that the journal has not yet; every round starts with another case."""
    done = {(entry["case"], entry["round"]) for entry in book.entries}
    limit = settings.cool_below_c
    if limit is None and book.entries:
        limit = _warmer(State(**book.entries[0]["before"]))
    for number in range(settings.rounds):
        for turn in range(len(cases)):
            case = cases[(number + turn) % len(cases)]
            if (case.key, number) in done:
                continue
            before, waited_s = _cooled(device, settings, limit, len(book.entries) > 0)
            limit = _warmer(before) if limit is None else limit
            progress(f"{case.contents.name}: round {number + 1} of {settings.rounds}")
            result = device.benchmark(
                case.contents.vmfb,
                case.inputs,
                repetitions=settings.samples,
                threads=settings.threads,
                min_time_s=settings.sample_s,
            )
            book.append({
                "case": case.key,
                "round": number,
                "times_us": sample_times_us(result),
                "before": asdict(before),
                "after": asdict(device.state()),
                "waited_s": waited_s,
                "json": result,
            })  # fmt: skip


def _cooled(
    device: BenchDevice, settings: DeviceSettings, limit: float | None, is_warm: bool
) -> tuple[State, float]:
    """Waits as long as asked, then until it is cool enough; its state then, and the wait."""
    start = time.monotonic()
    if is_warm:
        time.sleep(settings.cool_down_s)
    state = device.state()
    is_limited = settings.cool_down_s > 0 or settings.cool_below_c is not None
    longest = MOST_WAIT_S if is_limited else 0
    while _is_hot(state, limit) and time.monotonic() - start < longest:
        time.sleep(min(LOOK_S, settings.cool_down_s or LOOK_S))
        state = device.state()
    return state, round(time.monotonic() - start, 3)


def _warmer(state: State) -> float | None:
    """The limit for later rounds, where the device can be read."""
    return None if state.hottest is None else state.hottest + WARMER_C


def _is_hot(state: State, limit: float | None) -> bool:
    return limit is not None and state.hottest is not None and state.hottest > limit


def _result(case: Case, error: float | None, book: Journal) -> CaseResult:
    rounds = sorted(
        (entry for entry in book.entries if entry["case"] == case.key), key=lambda e: e["round"]
    )
    contents = case.contents
    return CaseResult(contents.name, contents.sha256, len(contents.vmfb), contents.target,
                      case.steps, error, tuple(rounds))  # fmt: skip
