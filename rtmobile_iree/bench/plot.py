"""A benchmark's results as a picture: a bar a contender on a log axis, a panel a chunk length."""

from __future__ import annotations

import io
from pathlib import Path

from rtmobile_iree.bench.machine import place
from rtmobile_iree.bench.peers.registry import runs_dense
from rtmobile_iree.bench.results import BenchResults, Measurement
from rtmobile_iree.bench.table import microseconds
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically

OURS, SPARSE, INT8, DENSE = "#d1495b", "#edae49", "#66a182", "#5b7ea8"
LEGEND = {"rtmobile": OURS, "dense f32": DENSE, "dense int8": INT8, "with zeros": SPARSE}
KINDS = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises an `InputError` when no plot can be written there."""
    if path.suffix not in KINDS:
        raise InputError(f"--plot {path}: name it {', '.join(KINDS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--plot {path}: no folder {path.absolute().parent}")


def write_plot(results: BenchResults, path: Path) -> None:
    """Draws every contender that was timed, the fastest first; the whiskers are 10 to 90 %."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    timed = [m for m in results.measurements if m.rounds_us]
    steps = list(dict.fromkeys(m.steps for m in timed)) or [0]
    most = max([sum(m.steps == count for m in timed) for count in steps])
    figure = Figure(figsize=(8.5 * len(steps), 1.8 + 0.28 * most), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(steps), squeeze=False)[0]
    for axes, count in zip(panels, steps, strict=True):
        shown = sorted((m for m in timed if m.steps == count), key=lambda m: m.median_us)
        _draw(axes, shown)
        axes.set_title(f"{count} step{'s' if count > 1 else ''} a call" if count else "a call")
    handles = [Patch(color=color, label=name) for name, color in LEGEND.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    threads = results.settings["threads"]
    figure.suptitle(
        f"{results.model}, batch 1, {threads} thread{'s' if threads > 1 else ''}, "
        f"{place(results.machine)}",
        fontsize=11,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix("."), dpi=120)
    write_atomically(path, buffer.getvalue())


def _draw(axes: object, shown: list[Measurement]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    places = range(len(shown))
    medians = [m.median_us for m in shown]
    spread = [m.statistics() for m in shown]
    low = [m - s["p10_us"] for m, s in zip(medians, spread, strict=True)]
    high = [s["p90_us"] - m for m, s in zip(medians, spread, strict=True)]
    bars = axes.barh(places, medians, xerr=(low, high), color=[_color(m) for m in shown])
    axes.bar_label(bars, [microseconds(median) for median in medians], padding=4, fontsize=8)
    axes.set_yticks(places, [_label(m) for m in shown], fontsize=8)
    axes.invert_yaxis()
    if shown:  # an axis of nothing has no logarithm
        axes.set_xscale("log")
    axes.set_xlabel("microseconds, median and 10th to 90th percentile")
    axes.margins(x=0.12, y=0.02)
    axes.spines[["top", "right"]].set_visible(False)


def _label(m: Measurement) -> str:
    pattern = "" if m.pattern in ("dense", "as is") else f", {m.pattern}"
    return f"{m.name}, {m.values}{pattern}"


def _color(m: Measurement) -> str:
    if m.contender == "rtmobile":
        return OURS
    if not runs_dense(m.contender):
        return SPARSE
    return INT8 if m.values == "int8" else DENSE
