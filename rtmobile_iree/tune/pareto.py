"""The block sizes that nothing beats in both error and time: timed once more, printed, drawn."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial
from rich.table import Table

from rtmobile_iree.bench.devices.results import Case, DeviceSettings
from rtmobile_iree.bench.devices.rounds import run_device_bench
from rtmobile_iree.bench.machine import machine, versions
from rtmobile_iree.devices import get_device
from rtmobile_iree.devices.contents import read_contents

if TYPE_CHECKING:
    from rtmobile_iree.tune.search import Timing

__all__ = ["ParetoSet", "Placed", "place", "write_picture"]

SCHEMA = 1


@dataclass(frozen=True)
class Placed:
    """A block size that was tried.

    Attributes:
        blocks: row stripes x column blocks.
        error: what the problem said of it.
        time_us: of a call; of the last timing, by turns, where it is in the Pareto set.
        kept: weights left in all matrices the compiler saw.
        vmfb_bytes: of the module.
        is_best: whether nothing else is at least as good in both, and better in one.
    """

    blocks: str
    error: float
    time_us: float
    kept: int
    vmfb_bytes: int
    is_best: bool = False

    def is_beaten_by(self, other: Placed) -> bool:
        """Whether the other is at least as good in both, and better in one."""
        is_as_good = other.error <= self.error and other.time_us <= self.time_us
        return is_as_good and (other.error < self.error or other.time_us < self.time_us)


@dataclass(frozen=True)
class ParetoSet:
    """A search's outcome.

    Attributes:
        name: of the model and what was done to it.
        timing: where and how it was timed.
        trials: every block size, the fastest first.
    """

    name: str
    timing: dict[str, Any]
    trials: tuple[Placed, ...]

    @property
    def best(self) -> tuple[Placed, ...]:
        """The Pareto set, the fastest first."""
        return tuple(trial for trial in self.trials if trial.is_best)

    def table(self) -> Table:
        """The Pareto set, a line a block size."""
        table = Table(title=f"{self.name}: nothing is both better and faster, {self._where()}")
        for heading in ("stripes x blocks", "error", "us a call", "weights kept", ".vmfb bytes"):
            table.add_column(heading, justify="right")
        for trial in self.best:
            sizes = f"{trial.kept:,}", f"{trial.vmfb_bytes:,}"
            table.add_row(trial.blocks, f"{trial.error:.4g}", f"{trial.time_us:,.1f}", *sizes)
        return table

    def to_json(self) -> str:
        """Every trial, what was timed and where."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        fields = {"schema": SCHEMA, **asdict(self), "date": now}
        fields |= {"machine": machine(), "versions": versions()}
        return json.dumps(fields, indent=2, allow_nan=False) + "\n"

    def _where(self) -> str:
        return f"{self.timing['steps']} steps a call on {self.timing['device']}"


def place(
    done: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
    folder: Path,
    timing: Timing,
    name: str,
    progress: Callable[[str], None],
) -> ParetoSet:
    """Times the best trials by turns, and says which still are."""
    trials = {placed.blocks: placed for placed in map(_placed, done)}
    front = list(dict.fromkeys(_placed(trial).blocks for trial in best))
    again = {blocks: folder / f"{blocks}.vmfb" for blocks in front}
    here = {blocks: path for blocks, path in again.items() if path.is_file()}
    if here and timing.rounds:
        progress(f"timing the best {len(here)} by turns")
        for blocks, time_us in _times_us(here, timing).items():
            trials[blocks] = replace(trials[blocks], time_us=time_us)
    marked = mark_best(list(trials.values()))
    ordered = sorted(marked, key=lambda trial: (trial.time_us, trial.error))
    return ParetoSet(name, timing.fields(), tuple(ordered))


def _placed(trial: FrozenTrial) -> Placed:
    blocks = f"{trial.params['row_stripes']}x{trial.params['col_blocks']}"
    error, time_us = trial.values
    attrs = trial.user_attrs
    return Placed(blocks, error, time_us, attrs["kept"], attrs["vmfb_bytes"])


def mark_best(trials: Sequence[Placed]) -> list[Placed]:
    """The trials, each with whether it is in the Pareto set."""
    return [replace(one, is_best=not any(map(one.is_beaten_by, trials))) for one in trials]


def _times_us(modules: dict[str, Path], timing: Timing) -> dict[str, float]:
    """Median microseconds of each module, in alternating rounds."""
    cases = []
    for blocks, path in modules.items():
        contents = read_contents(path.read_bytes(), blocks)
        cases.append(Case(contents, timing.steps, tuple(contents.example_inputs(timing.steps))))
    device: Any = get_device(timing.device, **timing.device_options)
    settings = DeviceSettings(rounds=timing.rounds, sample_s=timing.sample_s)
    results = run_device_bench(device, cases, settings)
    return {case.module: float(np.median(case.samples_us)) for case in results.cases}


def write_picture(result: ParetoSet, path: str | os.PathLike[str]) -> None:
    """Draws every trial, time against error, and the Pareto set as steps. PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    rest = [trial for trial in result.trials if not trial.is_best]
    axes.plot(
        [t.time_us for t in rest], [t.error for t in rest], "o", color="silver", label="tried"
    )
    best = result.best
    times, errors = [t.time_us for t in best], [t.error for t in best]
    axes.step(times, errors, "o-", where="post", color="tab:blue", label="Pareto set")
    for trial in best:
        axes.annotate(
            trial.blocks, (trial.time_us, trial.error), (5, 5), textcoords="offset points"
        )
    axes.set(
        xlabel=f"microseconds a call of {result.timing['steps']} steps, {result.timing['device']}",
        ylabel="error",
        title=f"{result.name}: row stripes x column blocks",
    )
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
