"""Runs a benchmark: prepares every contender, then times them in alternating bursts."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rtmobile_iree.bench.entries import Entry, Progress, make_entries
from rtmobile_iree.bench.machine import machine, versions
from rtmobile_iree.bench.peers import OURS
from rtmobile_iree.bench.peers.registry import F32, TOLERANCES, tolerance
from rtmobile_iree.bench.plan import Plan, Settings, make_plan, require_one
from rtmobile_iree.bench.process import AbsentError, Worker, WorkerError
from rtmobile_iree.bench.results import BenchResults, Measurement
from rtmobile_iree.vulkan import VulkanDevice

TOLERANCE = TOLERANCES[F32]
# the status of a peer whose engine cannot run the model; in no result
ABSENT = "absent"


def run_bench(
    model: str,
    settings: Settings | None = None,
    *,
    inputs: Sequence[str] = (),
    target: str = "host",
    progress: Progress = lambda line: None,
) -> BenchResults:
    """Times `model`, pruned and compiled by us, against peers that run it dense or as pruned.

    Args:
        model: `package.module:callable`, or the path of a `.pt2` or `.mlir`.
        settings: how to measure.
        inputs: `f32[1,T,40]`, one a forward() argument, where the module offers no
            `example_inputs(steps)`. A file says its own.
        target: what our programs are compiled for; must run on this machine, a GPU's where the
            settings' device is "vulkan".
        progress: called with a line at each stage.

    Raises:
        DeviceError: no Vulkan here, and it was asked for.
        InputError: unknown peers, none of those named can run the model, or a model that cannot be
            loaded.
        RTMobileError: a model of ours that cannot be pruned or compiled.
    """
    asked = settings or Settings()
    asked.check()
    plan = make_plan(model, asked, inputs)
    where = machine(asked.device)
    with tempfile.TemporaryDirectory(prefix="rtmobile-bench-") as folder:
        entries = make_entries(plan, target, Path(folder), progress)
        measurements, absent = _measure_all(entries, plan, progress)
    if plan.is_named:
        require_one(plan.asked, absent)
    against = tuple(peer for peer in plan.against if peer not in absent)
    timed = replace(asked, against=against, rates=plan.rates, steps=plan.steps)
    return BenchResults(
        model,
        asdict(timed) | {"target": target, "tolerances": TOLERANCES},
        where,
        versions(),
        tuple(measurements),
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        absent,
        (*plan.notes, *_notes(where)),
    )


def _notes(where: Mapping[str, Any]) -> tuple[str, ...]:
    device = where.get("vulkan")
    if device is None or not VulkanDevice(**device).is_cpu:
        return ()
    return ("a Vulkan driver on the CPU shares a dispatch's workgroups out to all its cores",)


def _measure_all(
    entries: Sequence[Entry], plan: Plan, progress: Progress
) -> tuple[list[Measurement], dict[str, str]]:
    """Times all contenders, one chunk length after the other; says which peers cannot run."""
    measurements: list[Measurement] = []
    absent = dict(plan.absent)
    for steps in plan.steps:
        group = [e for e in entries if e.task.steps == steps and e.task.contender not in absent]
        for measurement in _measure(group, plan.settings, progress):
            if measurement.status == ABSENT:
                absent[measurement.contender] = measurement.detail
            else:
                measurements.append(measurement)
    return measurements, absent


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
    except AbsentError as error:
        status = "failed" if measurement.contender == OURS else ABSENT
        return replace(measurement, status=status, detail=str(error))
    except WorkerError as error:
        return replace(measurement, status="failed", detail=str(error))
    right = ready.max_error <= tolerance(measurement.values)
    return replace(
        measurement,
        status="ok" if right else "wrong",
        detail=ready.description,
        tried=ready.tried,
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
