"""Runs a benchmark: prepares every contender, then times them in alternating bursts."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rtmobile_iree.bench.machine import machine, versions
from rtmobile_iree.bench.models import (
    AS_IS,
    DENSE,
    Variant,
    is_file,
    make_variant,
    parse_rate,
    write_reference,
)
from rtmobile_iree.bench.peers import ABSENT, OURS, Task, check_peers
from rtmobile_iree.bench.process import Worker, WorkerError
from rtmobile_iree.bench.results import BenchResults, Measurement
from rtmobile_iree.errors import InputError

DEFAULT_RATES = ("10x1", "14.5x2", "16x15.6")
# f32 sums in another order differ by about 1e-6 here; another formula by far more
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        against: peers; see `bench.peers.PEERS`.
        steps: chunk lengths; 1 is one streaming step with state in and out.
        rates: our programs, "10x1" = column rate x row rate; "dense" prunes nothing. The default
            keeps at least 1/10, 1/29 and 1/245 of the evaluation model's recurrent weights. A
            file is taken as it is.
        threads: threads each contender may use.
        rounds: bursts of each contender.
        samples: means in a burst.
        sample_s: least seconds of one mean.
    """

    against: tuple[str, ...] = ("torch", "onnxruntime", "iree-dense")
    steps: tuple[int, ...] = (1, 30)
    rates: tuple[str, ...] = DEFAULT_RATES
    threads: int = 1
    rounds: int = 7
    samples: int = 5
    sample_s: float = 0.03

    def check(self) -> None:
        """Raises an `InputError` for a setting that cannot be measured."""
        check_peers(self.against)
        for rate in self.rates:
            parse_rate(rate)
        whole = (*self.steps, self.threads, self.rounds, self.samples)
        if not self.steps or min(whole) < 1:
            raise InputError("steps, threads, rounds and samples must be whole numbers from 1")
        if not 0 < self.sample_s <= 10:
            raise InputError(f"sample_s {self.sample_s}; use more than 0 and at most 10 seconds")


Progress = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A contender that is about to run.

    Attributes:
        task: what it runs.
        measurement: what is known of it so far.
    """

    task: Task
    measurement: Measurement


def run_bench(
    model: str,
    settings: Settings | None = None,
    *,
    inputs: Sequence[str] = (),
    target: str = "host",
    progress: Progress = lambda line: None,
) -> BenchResults:
    """Times `model`, pruned and compiled by us, against peers that run it dense.

    Args:
        model: `package.module:callable`, or the path of a `.pt2` or `.mlir`.
        settings: how to measure.
        inputs: `f32[1,T,40]`, one a forward() argument, where the module offers no
            `example_inputs(steps)`.
        target: what our programs are compiled for; must run on this machine.
        progress: called with a line at each stage.

    Raises:
        InputError: unknown peers, missing packages, or a model that cannot be loaded.
        RTMobileError: a model of ours that cannot be pruned or compiled.
    """
    settings = settings or Settings()
    settings.check()
    absent: dict[str, str] = {}
    if is_file(model):
        settings, absent = _for_file(model, settings)
    with tempfile.TemporaryDirectory(prefix="rtmobile-bench-") as folder:
        entries = _entries(model, settings, inputs, target, Path(folder), progress)
        measurements: list[Measurement] = []
        for steps in settings.steps:
            group = [entry for entry in entries if entry.task.steps == steps]
            measurements += _measure(group, settings, progress)
    return BenchResults(
        model,
        asdict(settings) | {"target": target, "tolerance": TOLERANCE, "absent": absent},
        machine(),
        versions(),
        tuple(measurements),
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _for_file(model: str, settings: Settings) -> tuple[Settings, dict[str, str]]:
    """Settings for a file, whose weights are taken as they are, and the peers that cannot run it.

    Raises:
        InputError: rates other than the default.
    """
    if settings.rates != DEFAULT_RATES:
        raise InputError(
            f"{model}: a file is timed with the weights it has, not at rates "
            f"{', '.join(settings.rates)}; prune it first, with rtmobile prune"
        )
    kind = Path(model).suffix
    absent = {p: ABSENT[p, kind] for p in settings.against if (p, kind) in ABSENT}
    against = tuple(peer for peer in settings.against if peer not in absent)
    return replace(settings, against=against, rates=(AS_IS,)), absent


def _entries(
    model: str,
    settings: Settings,
    inputs: Sequence[str],
    target: str,
    folder: Path,
    progress: Progress,
) -> list[Entry]:
    """Prunes and compiles every variant and writes what the contenders' processes will read."""
    entries = []
    first = AS_IS if is_file(model) else DENSE
    for rate in dict.fromkeys((first, *settings.rates)):
        contenders = list(settings.against) if rate == first else []
        contenders += [OURS] if rate in settings.rates else []
        if not contenders:
            continue
        variant = make_variant(model, rate, inputs, folder)
        if OURS in contenders:
            progress(f"compiling {model} at {rate}")
            variant = variant.compiled(target, max(settings.steps))
        for steps in settings.steps:
            files = write_reference(variant, steps)
            entries += [_entry(variant, name, steps, settings, files) for name in contenders]
    return entries


def _entry(
    variant: Variant,
    contender: str,
    steps: int,
    settings: Settings,
    files: tuple[tuple[str, ...], tuple[str, ...]],
) -> Entry:
    folder = variant.folder / f"{contender}-{steps}"
    folder.mkdir()
    ours = contender == OURS
    task = Task(
        contender=contender,
        model=variant.model,
        weights=str(variant.weights_file),
        inputs=files[0],
        expected=files[1],
        folder=str(folder),
        steps=steps,
        threads=settings.threads,
        vmfb=str(variant.vmfb) if ours else None,
    )
    measurement = Measurement(
        contender,
        variant.rate,
        steps,
        "failed",
        "",
        variant.kept,
        variant.weights,
        size_bytes=variant.vmfb.stat().st_size if ours and variant.vmfb else None,
        prepare_s=variant.compile_s if ours else None,
    )
    return Entry(task, measurement)


def _measure(entries: Sequence[Entry], settings: Settings, progress: Progress) -> list[Measurement]:
    """Starts the contenders one after the other, then times those that are right in turns."""
    done: list[Measurement] = []
    with ExitStack() as stack:
        running: list[tuple[Worker, Measurement]] = []
        for entry in entries:
            progress(f"preparing {entry.measurement.name}, {entry.task.steps} steps")
            worker = stack.enter_context(Worker(entry.task))
            measurement = _prepared(worker, entry.measurement)
            if measurement.status == "ok":
                running.append((worker, measurement))
            else:
                done.append(measurement)
        bursts = _bursts([worker for worker, _ in running], settings, progress)
    for (_, measurement), rounds in zip(running, bursts, strict=True):
        if isinstance(rounds, str):
            done.append(replace(measurement, status="failed", detail=rounds))
        else:
            done.append(replace(measurement, rounds_us=tuple(rounds)))
    order = [entry.measurement.name for entry in entries]
    return sorted(done, key=lambda measurement: order.index(measurement.name))


def _prepared(worker: Worker, measurement: Measurement) -> Measurement:
    """Waits for a contender and says whether it may be timed."""
    try:
        ready = worker.wait_ready()
    except WorkerError as error:
        return replace(measurement, status="failed", detail=str(error))
    right = ready.max_error <= TOLERANCE
    return replace(
        measurement,
        status="ok" if right else "wrong",
        detail=ready.description,
        max_error=ready.max_error,
        prepare_s=measurement.prepare_s or ready.prepare_s,
    )


def _bursts(
    workers: Sequence[Worker], settings: Settings, progress: Progress
) -> list[list[tuple[float, ...]] | str]:
    """Each worker's bursts, or why it failed; every round starts with another worker."""
    results: list[list[tuple[float, ...]] | str] = [[] for _ in workers]
    for number in range(settings.rounds):
        progress(f"round {number + 1} of {settings.rounds}")
        for turn in range(len(workers)):
            i = (number + turn) % len(workers)
            rounds = results[i]
            if isinstance(rounds, str):
                continue
            try:
                rounds.append(tuple(workers[i].times_us(settings.samples, settings.sample_s)))
            except WorkerError as error:
                results[i] = str(error)
    return results
