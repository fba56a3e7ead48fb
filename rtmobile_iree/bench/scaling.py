"""Does cost grow as the work does? `python -m rtmobile_iree.bench.scaling --json FILE --plot PNG`

Times the evaluation model at several sizes and one pruning rate, in alternating rounds, and fits a
line through time against kept weights. It is no option of `rtmobile bench`: that times one model
as its user has it, and here the sizes are the question.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rtmobile_iree.bench.machine import machine, versions
from rtmobile_iree.bench.models import Variant, counted_matrices, parse_rate, write_reference
from rtmobile_iree.bench.peers import OURS, Task
from rtmobile_iree.bench.peers.iree_peer import CompiledModule
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.models import speech_gru
from rtmobile_iree.prune import prune

SCHEMA = 1
HIDDEN = (512, 1024, 2048)
LAYERS = (1, 2, 4)
SAMPLES, SAMPLE_S = 5, 0.03


@dataclass(frozen=True)
class Point:
    """One size: kept weights of its recurrent layers, and median microseconds a call."""

    hidden: int
    layers: int
    kept: int
    time_us: float


@dataclass(frozen=True)
class Fit:
    """time_us = slope_ns / 1000 * kept + intercept_us, by least squares.

    Attributes:
        r_squared: share of the times' variance that the line explains.
        residuals_us: measured less fitted, point by point.
    """

    slope_ns: float
    intercept_us: float
    r_squared: float
    residuals_us: tuple[float, ...]


@dataclass(frozen=True)
class ScalingResults:
    """All sizes at one rate and number of steps."""

    rate: str
    steps: int
    points: tuple[Point, ...]

    @property
    def fit(self) -> Fit:
        return fit_line([p.kept for p in self.points], [p.time_us for p in self.points])

    def to_json(self) -> str:
        """Points, fit, machine and versions."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        fields: dict[str, Any] = asdict(self) | {"fit": asdict(self.fit), "date": now}
        fields |= {"machine": machine(), "versions": versions()}
        return json.dumps({"schema": SCHEMA, **fields}, indent=2, allow_nan=False) + "\n"


def fit_line(kept: Sequence[int], time_us: Sequence[float]) -> Fit:
    """Least squares through (kept, time).

    Raises:
        InputError: fewer than two sizes to put a line through.
    """
    x, y = np.array(kept, float), np.array(time_us, float)
    if np.unique(x).size < 2:
        raise InputError(f"{np.unique(x).size} sizes have no line; use two or more")
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - (slope * x + intercept)
    spread = ((y - y.mean()) ** 2).sum()
    explained = 1 - (residuals**2).sum() / spread if spread else 1.0
    return Fit(float(slope) * 1e3, float(intercept), float(explained), tuple(residuals.tolist()))


def run_scaling(
    rate: str,
    steps: int,
    *,
    hidden: Sequence[int] = HIDDEN,
    layers: Sequence[int] = LAYERS,
    rounds: int = 5,
    target: str = "host",
    progress: Callable[[str], None] = lambda line: None,
) -> ScalingResults:
    """Prunes, compiles and times every size, one thread each.

    Raises:
        InputError: a rate that is none, or too few sizes.
    """
    parse_rate(rate)
    if len(set(hidden)) * len(set(layers)) < 2 or rounds < 1:
        raise InputError("scaling: give two sizes or more, and at least one round")
    with tempfile.TemporaryDirectory(prefix="rtmobile-scaling-") as folder:
        sizes, modules = [], []
        for units in hidden:
            for depth in layers:
                progress(f"compiling {depth} x {units}")
                variant = _variant(rate, units, depth, Path(folder))
                sizes.append((units, depth, variant.kept))
                modules.append(_compiled(variant, steps, target))
        times: list[list[float]] = [[] for _ in modules]
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for turn in range(len(modules)):
                i = (number + turn) % len(modules)
                times[i].append(float(np.median(modules[i].times_us(SAMPLES, SAMPLE_S))))
    points = [Point(*size, float(np.median(t))) for size, t in zip(sizes, times, strict=True)]
    return ScalingResults(rate, steps, tuple(points))


def _variant(rate: str, hidden: int, layers: int, folder: Path) -> Variant:
    module = speech_gru(hidden=hidden, layers=layers)
    columns, rows = parse_rate(rate)
    prune(module, column_rate=columns, row_rate=rows)
    matrices = counted_matrices(module)
    own = folder / f"{layers}x{hidden}"
    own.mkdir()
    kept = sum(int((matrix != 0).sum()) for matrix in matrices)
    weights = sum(matrix.numel() for matrix in matrices)
    return Variant(f"speech_gru {layers} x {hidden}", rate, module, (), own, kept, weights, "BSP")


def _compiled(variant: Variant, steps: int, target: str) -> CompiledModule:
    compiled = variant.compiled(target, steps, dynamic_steps=True)
    files = write_reference(variant, steps)
    assert compiled.vmfb is not None
    vmfb = str(compiled.vmfb)
    task = Task(OURS, variant.model, "", *files, str(variant.folder), steps, 1, vmfb)
    return CompiledModule(compiled.vmfb, task)


def plot(results: ScalingResults, path: str | os.PathLike[str]) -> None:
    """Writes the points and the line as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for depth in sorted({p.layers for p in results.points}):
        own = [p for p in results.points if p.layers == depth]
        label = f"{depth} layer{'s' if depth > 1 else ''}"
        axes.plot([p.kept / 1e6 for p in own], [p.time_us for p in own], "o", label=label)
    fit = results.fit
    ends = np.array([0, max(p.kept for p in results.points)])
    line = fit.slope_ns / 1e3 * ends + fit.intercept_us
    name = f"{fit.slope_ns:.2f} ns a weight and call, R² = {fit.r_squared:.4f}"
    axes.plot(ends / 1e6, line, "-", color="gray", label=name)
    axes.set(
        xlabel="kept weights of the GRU layers, millions",
        ylabel="microseconds a call",
        title=f"speech_gru at {results.rate}, {results.steps} steps a call",
    )
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(
    rate: Annotated[str, typer.Option(help="Column rate x row rate.")] = "10x1",
    steps: Annotated[int, typer.Option(help="Time steps of a call.")] = 30,
    rounds: Annotated[int, typer.Option(help="Bursts of each size.")] = 5,
    json: Annotated[Path | None, typer.Option("--json", help="Points and fit.")] = None,
    png: Annotated[Path | None, typer.Option("--plot", help="A picture, PNG.")] = None,
) -> None:
    """Time against kept weights, and the line through them."""
    results = run_scaling(rate, steps, rounds=rounds, progress=lambda line: print(line, flush=True))
    for point, residual in zip(results.points, results.fit.residuals_us, strict=True):
        print(f"{point.layers} x {point.hidden}: {point.kept:,} weights, {point.time_us:,.1f} us, "
              f"{residual:+,.1f} us from the line")  # fmt: skip
    fit = results.fit
    print(f"{fit.slope_ns:.3f} ns a weight, {fit.intercept_us:+,.1f} us, R2 = {fit.r_squared:.4f}")
    if json is not None:
        write_atomically(json, results.to_json().encode())
    if png is not None:
        plot(results, png)


if __name__ == "__main__":
    typer.run(main)
