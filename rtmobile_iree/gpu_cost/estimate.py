"""From counts to an ESTIMATE of microseconds on a GPU: a roofline, phase by phase.

A phase, what all do between two barriers, takes as long as the slowest of: arithmetic, shared
memory, cache lines, bytes from the level that holds its working set, its longest chain of ops that
wait for each other, and the ops of its busiest wave. Nothing here was measured.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rtmobile_iree.errors import InputError
from rtmobile_iree.frontend import import_module
from rtmobile_iree.gpu_cost.counts import KernelRun, Phase, Totals, totals
from rtmobile_iree.gpu_cost.host import count_runs
from rtmobile_iree.gpu_cost.models import Model, get_model
from rtmobile_iree.gpu_cost.operations import HALF, HALF_FMA
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.options import Options
from rtmobile_iree.passes import run_passes
from rtmobile_iree.pipeline import layout_pipeline, vulkan_pipeline
from rtmobile_iree.targets import GpuTarget

NS, US = 1e9, 1e6
ARITHMETIC, SHARED, LINES, CHAIN = "arithmetic", "shared memory", "cache lines", "waiting"
ISSUE = "one wave's ops"
BARRIERS, DISPATCHES = "barriers", "dispatches"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Estimate:
    """A call of so many steps.

    Attributes:
        model: of the GPU.
        steps: time steps.
        runs: what was counted.
    """

    model: Model
    steps: int
    runs: tuple[KernelRun, ...]

    @property
    def totals(self) -> Totals:
        return totals(self.runs)

    @cached_property
    def parts_us(self) -> dict[str, float]:
        """Microseconds by what limits them: a phase counts for the slowest of its parts."""
        found: dict[str, float] = defaultdict(float)
        for run in self.runs:
            found[DISPATCHES] += run.times * self.model.dispatch_us
            for name, ns in busiest(run, self.model).items():
                found[name] += run.times * ns / NS * US
        return dict(sorted(found.items(), key=lambda part: -part[1]))

    @property
    def us(self) -> float:
        return float(sum(self.parts_us.values()))

    @property
    def least_us(self) -> float:
        """The bytes alone, from where they fit, by the whole GPU: no kernel that reads every weight
        in every step takes less."""
        seconds = 0.0
        for run, phase in self._phases:
            rate = self.model.level(phase.working_set)[1]
            seconds += run.times * phase.times * phase.distinct_bytes / rate
        return seconds * US

    @property
    def level(self) -> str:
        """Where most bytes come from."""
        found: Counter[str] = Counter()
        for run, phase in self._phases:
            name = self.model.level(phase.working_set)[0]
            found[name] += run.times * phase.times * phase.distinct_bytes
        return found.most_common(1)[0][0]

    @property
    def _phases(self) -> list[tuple[KernelRun, Phase]]:
        """Of all workgroups."""
        return [(run, phase) for run in self.runs for side in run.sides for phase in side.phases]


def busiest(run: KernelRun, model: Model) -> dict[str, float]:
    """What limits a dispatch, ns of each: on the processor that is done last.

    Workgroups that go different ways are taken, in turn, by the processor that is free first.
    """
    if not run.beside:
        return _side_ns(run, run, model)
    processors: list[dict[str, float]] = [{} for _ in range(model.processors)]
    for side in run.sides:
        first = min(processors, key=lambda parts: sum(parts.values()))
        for name, ns in _side_ns(side, run, model).items():
            first[name] = first.get(name, 0.0) + ns
    return max(processors, key=lambda parts: sum(parts.values()))


def _side_ns(side: KernelRun, run: KernelRun, model: Model) -> dict[str, float]:
    """What limits workgroups that go the same way, ns of each, beside the others of their run."""
    found: dict[str, float] = defaultdict(float)
    for phase in side.phases:
        limits = phase_ns(phase, side, model, run.others(side))
        slowest = max(limits, key=limits.__getitem__)
        found[slowest] += phase.times * limits[slowest]
        if phase.ends_with_barrier:
            found[BARRIERS] += phase.times * model.barrier_ns
    return dict(found)


def phase_ns(
    phase: Phase, run: KernelRun, model: Model, others: Sequence[KernelRun] = ()
) -> dict[str, float]:
    """What each part of the GPU needs for a phase of all workgroups; the slowest decides.

    Args:
        others: workgroups that go another way meanwhile. What they read takes room in the caches
            too, and each processor gets its share of what all reach together.
    """
    share = min(run.workgroups, model.processors) / model.processors
    issued, work = phase.issued, phase.work
    seconds = (
        (issued["fma"] + issued["float"]) / model.fma_s
        + (issued[HALF_FMA] + issued[HALF]) / model.half_s
        + issued["integer"] / model.integer_s
        + issued["product"] / model.product_s
        + issued["special"] / model.special_s
    ) / share
    beside = sum(_working_set(other, phase.times > 1) for other in others)
    name, level_bytes_s = model.level(phase.working_set + beside)
    bytes_s = min(level_bytes_s, model.l2_bytes_s * share)
    if others:
        bytes_s = min(bytes_s, level_bytes_s * share)
    return {
        ARITHMETIC: seconds * NS,
        SHARED: work["shared"] / (model.shared_bytes_s * share) * NS,
        LINES: phase.line_bytes / (model.lines_bytes_s * share) * NS,
        f"bytes from {name}": phase.distinct_bytes / bytes_s * NS,
        CHAIN: phase.path_ns * rounds(run, model),
        ISSUE: phase.wave_ops / model.wave_ops_s * NS * rounds(run, model),
    }


def _working_set(run: KernelRun, of_steps: bool) -> int:
    """The greatest of any phase, or `of_steps` of those that run again and again."""
    sets = [each.working_set for each in run.phases if each.times > 1 or not of_steps]
    return max(sets, default=0)


def rounds(run: KernelRun, model: Model) -> int:
    """How often a processor fills up with workgroups."""
    resident = max(1, model.resident_threads // run.threads)
    if run.shared_bytes:
        has = GPUS[model.gpu].shared_bytes
        resident = max(1, min(resident, has // run.shared_bytes))
    return -(-run.workgroups // (model.processors * resident))


def estimate(
    source: Any,
    example_inputs: Sequence[Any] | None,
    target: GpuTarget,
    steps: Sequence[int] = (1, 30),
    options: Options | None = None,
    progress: Progress = lambda line: None,
) -> tuple[tuple[Estimate, ...], tuple[str, ...]]:
    """Counts and estimates calls of so many steps; and the ops that are in none of our kernels.

    Args:
        source: what `rtmobile_iree.compile` takes.

    Raises:
        InputError: nothing in the model is a kernel of ours.
        TargetError, CompileError: see `models.get_model`, `rtmobile_iree.compile`.
    """
    options, model = options or Options(), get_model(target.gpu)
    progress(f"compiling for {target.name}")
    module = import_module(source, example_inputs).module
    run_passes(module, (*layout_pipeline(options), *vulkan_pipeline(target, options)))
    found: list[Estimate] = []
    left_out: tuple[str, ...] = ()
    for count in steps:
        progress(f"counting {count} steps")
        runs, left_out = count_runs(module, count, model.latencies)
        if not runs:
            raise InputError("cost: no recurrent or block-sparse layer: no kernel of ours to count")
        found.append(Estimate(model, count, runs))
    return tuple(found), left_out
