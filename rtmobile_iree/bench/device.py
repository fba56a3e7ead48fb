"""Times compiled modules on a device, in rounds that alternate between them.

Other engines do not run there. A benchmark that stops in the middle (a cable, Ctrl-C) keeps its
finished rounds in a journal, and goes on from there when it is started again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from rtmobile_iree.bench.journal import Journal
from rtmobile_iree.bench.machine import versions
from rtmobile_iree.bench.peers.iree_peer import sample_times_us
from rtmobile_iree.devices.base import Device
from rtmobile_iree.devices.contents import Contents
from rtmobile_iree.devices.probe import Description, State
from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import DeviceError, InputError
from rtmobile_iree.files import write_atomically

SCHEMA = 1
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


@dataclass(frozen=True)
class Case:
    """One module at one number of steps.

    Attributes:
        contents: the module.
        steps: time steps of a call; 0 for a module of one size.
        inputs: of the call.
        expected: its right outputs, None where nobody knows them.
        tolerance: greatest error of those.
    """

    contents: Contents
    steps: int
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...] | None = None
    tolerance: float = 1e-4

    @property
    def key(self) -> str:
        """Tells it from the others, in the journal too."""
        digest = hashlib.sha256(self.contents.vmfb)
        for array in self.inputs:
            digest.update(str(array.shape).encode() + array.tobytes())
        return f"{self.contents.name} T={self.steps} {digest.hexdigest()[:16]}"


@dataclass(frozen=True)
class DeviceSettings:
    """How to measure.

    Attributes:
        rounds: bursts of each module.
        samples: of a burst, each the mean over enough calls to last `sample_s`.
        sample_s: see `samples`.
        threads: a module may use.
        cores: as given; see `devices.cores`.
        cool_down_s: to wait after a round.
        cool_below_c: hottest that a round may begin at; None for `WARMER_C` over the start.
    """

    rounds: int = 5
    samples: int = 5
    sample_s: float = 0.2
    threads: int = 1
    cores: str | None = None
    cool_down_s: float = 0.0
    cool_below_c: float | None = None

    def check(self) -> None:
        """Raises InputError where a figure is out of range."""
        if min(self.rounds, self.samples, self.threads) < 1 or self.cool_down_s < 0:
            raise InputError("--rounds and --threads are whole numbers from 1, --cool-down from 0")


@dataclass(frozen=True)
class CaseResult:
    """What was measured of one module at one number of steps.

    Attributes:
        module: its file.
        sha256: of it.
        size_bytes: of it.
        target: what it was compiled for.
        steps: time steps of a call; 0 for a module of one size.
        max_error: greatest difference from the right outputs, None where nobody knows them.
        rounds: one entry a round: `times_us`, `before` and `after` (states), `waited_s`, `json`.
    """

    module: str
    sha256: str
    size_bytes: int
    target: str | None
    steps: int
    max_error: float | None
    rounds: tuple[dict[str, Any], ...]

    @property
    def samples_us(self) -> np.ndarray:
        """All samples of all rounds, microseconds a call."""
        return np.array([time for entry in self.rounds for time in entry["times_us"]])

    def statistics(self) -> dict[str, float]:
        """Of all samples, microseconds a call."""
        samples = self.samples_us
        return {
            "median_us": float(np.median(samples)),
            "min_us": float(samples.min()),
            "max_us": float(samples.max()),
        }


@dataclass(frozen=True)
class DeviceResults:
    """One benchmark of one device.

    Attributes:
        device: as on the command line.
        description: what it is.
        settings: how it was measured.
        cases: what was measured.
        versions: of what is installed here.
        date: UTC, ISO 8601.
    """

    device: str
    description: Description
    settings: DeviceSettings
    cases: tuple[CaseResult, ...]
    versions: dict[str, str | None]
    date: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON; a failure leaves whatever was at `path` as it was."""
        fields = asdict(self)
        fields["cases"] = [asdict(case) | case.statistics() for case in self.cases]
        write_atomically(path, (json.dumps({"schema": SCHEMA, **fields}, indent=2) + "\n").encode())


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
    with device:
        description = device.describe()
        subject = _subject(device.name, description, cases, settings)
        book = Journal(journal or _journal_path(subject), subject)
        if book.entries:
            progress(f"going on after {len(book.entries)} finished bursts, from {book.path}")
        try:
            errors = [_compare(device, case, progress) for case in cases]
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
    return {"journal": SCHEMA, "device": name, "cpu": description.cpu, "model": description.model,
            "cases": what, "settings": how}  # fmt: skip


def _journal_path(subject: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "journals" / f"{digest[:16]}.jsonl"


def _compare(device: Device, case: Case, progress: Progress) -> float | None:
    """Greatest difference from the right outputs.

    Raises:
        InputError: it is over the tolerance.
    """
    if case.expected is None:
        return None
    progress(f"{case.contents.name}: comparing its outputs")
    outputs = device.run(case.contents.vmfb, case.inputs)
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
