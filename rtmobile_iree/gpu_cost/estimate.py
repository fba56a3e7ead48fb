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
            for phase in run.phases:
                times = run.times * phase.times
                limits = phase_ns(phase, run, self.model)
                slowest = max(limits, key=limits.__getitem__)
                found[slowest] += times * limits[slowest] / NS * US
                if phase.ends_with_barrier:
                    found[BARRIERS] += times * self.model.barrier_ns / NS * US
        return dict(sorted(found.items(), key=lambda part: -part[1]))

    @property
    def us(self) -> float:
        return float(sum(self.parts_us.values()))

    @property
    def least_us(self) -> float:
        """The bytes alone, from where they fit, by the whole GPU: no kernel that reads every weight
        in every step takes less."""
        seconds = 0.0
        for run in self.runs:
            for phase in run.phases:
                rate = self.model.level(phase.working_set)[1]
                seconds += run.times * phase.times * phase.distinct_bytes / rate
        return seconds * US

    @property
    def level(self) -> str:
        """Where most bytes come from."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for phase in run.phases:
                name = self.model.level(phase.working_set)[0]
                found[name] += run.times * phase.times * phase.distinct_bytes
        return found.most_common(1)[0][0]


def phase_ns(phase: Phase, run: KernelRun, model: Model) -> dict[str, float]:
    """What each part of the GPU needs for a phase of all workgroups; the slowest decides."""
    share = min(run.workgroups, model.processors) / model.processors
    issued, work = phase.issued, phase.work
    seconds = (
        (issued["fma"] + issued["float"]) / model.fma_s
        + (issued[HALF_FMA] + issued[HALF]) / model.half_s
        + issued["integer"] / model.integer_s
        + issued["product"] / model.product_s
        + issued["special"] / model.special_s
    ) / share
    name, level_bytes_s = model.level(phase.working_set)
    bytes_s = min(level_bytes_s, model.l2_bytes_s * share)
    return {
        ARITHMETIC: seconds * NS,
        SHARED: work["shared"] / (model.shared_bytes_s * share) * NS,
        LINES: phase.line_bytes / (model.lines_bytes_s * share) * NS,
        f"bytes from {name}": phase.distinct_bytes / bytes_s * NS,
        CHAIN: phase.path_ns * rounds(run, model),
        ISSUE: phase.wave_ops / model.wave_ops_s * NS * rounds(run, model),
    }


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
