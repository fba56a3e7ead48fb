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
    """

    name: str
    workgroups: int
    threads: int
    shared_bytes: int
    phases: tuple[Phase, ...]
    kept_words: int = 0
    times: int = 1


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
    """Barriers are those of one workgroup; several arrive at theirs side by side."""
    runs = tuple(runs)
    phases = [(phase, phase.times * run.times) for run in runs for phase in run.phases]
    work: Counter[str] = Counter()
    for phase, times in phases:
        for key, value in phase.work.items():
            work[key] += value * times
    return Totals(
        work,
        sum(phase.distinct_bytes * times for phase, times in phases),
        sum(times for phase, times in phases if phase.ends_with_barrier),
        sum(run.times for run in runs),
    )
