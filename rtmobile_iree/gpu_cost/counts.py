"""What is counted of a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

# a line of a GPU's cache, and what neighbouring threads' loads are joined to
LINE_BYTES = 64


@dataclass(frozen=True)
class Phase:
    """What all workgroups of a dispatch do between two barriers.

    Attributes:
        work: operations of active threads, by class (`operations`), a vector's elements each;
            "read", "written", "shared": bytes asked for by active threads.
        issued: the same for all threads of the waves that have an active one: GPUs run these.
        line_bytes: of the lines that each wave's loads touch.
        distinct_bytes: of the lines that are touched at all.
        path_ns: longest chain of operations that wait for each other, of any wave.
        working_set: distinct bytes of the step this belongs to: what is read before it is again.
        wave_ops: most operations of any wave, a vector's elements each.
        times: how often it runs.
        ends_with_barrier: or else with the kernel, or where a loop begins or ends.
    """

    work: Counter[str]
    issued: Counter[str]
    line_bytes: int
    distinct_bytes: int
    path_ns: float
    working_set: int = 0
    wave_ops: int = 0
    times: int = 1
    ends_with_barrier: bool = False

    def repeated(self, times: int) -> Phase:
        """The same, so many times more often."""
        return replace(self, times=self.times * times)


@dataclass(frozen=True)
class KernelRun:
    """One dispatch, or several that do the same.

    Attributes:
        name: of the kernel.
        workgroups, threads: workgroups, and threads of each.
        shared_bytes: shared memory of a workgroup.
        phases: in order.
        kept_words: see `registers.kept_words`.
        times: dispatches.
        beside: the other workgroups of its dispatch, where barriers are under branches, so that not
            all go through the same phases.
    """

    name: str
    workgroups: int
    threads: int
    shared_bytes: int
    phases: tuple[Phase, ...]
    kept_words: int = 0
    times: int = 1
    beside: tuple[KernelRun, ...] = ()

    @property
    def sides(self) -> tuple[KernelRun, ...]:
        """All workgroups, by the phases they go through."""
        return (self, *self.beside)

    def others(self, side: KernelRun) -> list[KernelRun]:
        """The sides but this one that do more than find out that they have nothing to do."""
        return [each for each in self.sides if each is not side and _barriers(each)]


@dataclass(frozen=True)
class Totals:
    """Sums over dispatches.

    Attributes:
        work: see `Phase`.
        streamed_bytes: distinct bytes of every step, added up.
    """

    work: Counter[str] = field(default_factory=Counter)
    streamed_bytes: int = 0
    barriers: int = 0
    dispatches: int = 0


def totals(runs: Iterable[KernelRun]) -> Totals:
    """Barriers are those of one workgroup, of the one with most; several arrive side by side."""
    runs = tuple(runs)
    sides = [(side, run.times) for run in runs for side in run.sides]
    phases = [(phase, phase.times * times) for side, times in sides for phase in side.phases]
    work: Counter[str] = Counter()
    for phase, times in phases:
        for key, value in phase.work.items():
            work[key] += value * times
    return Totals(
        work,
        sum(phase.distinct_bytes * times for phase, times in phases),
        sum(run.times * max(map(_barriers, run.sides)) for run in runs),
        sum(run.times for run in runs),
    )


def _barriers(run: KernelRun) -> int:
    return sum(phase.times for phase in run.phases if phase.ends_with_barrier)
