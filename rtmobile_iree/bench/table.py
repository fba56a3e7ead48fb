"""A benchmark's results as tables for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rtmobile_iree.bench.results import BenchResults, Measurement, our_name


def results_table(results: BenchResults) -> Group:
    """One table of times and one of ratios."""
    machine = results.machine
    threads = results.settings["threads"]
    times = Table(
        title=f"{results.model}, batch 1, {threads} thread{'s' if threads > 1 else ''}, "
        f"{machine['cpu']}, microseconds a call"
    )
    times.add_column("steps", justify="right")
    times.add_column("contender")
    times.add_column("kept of the\nrecurrent weights", justify="right")
    for heading in ("median", "min", "p10", "p90", "max error"):
        times.add_column(heading, justify="right")
    steps = None
    for m in results.measurements:
        if steps not in (None, m.steps):
            times.add_section()
        times.add_row("" if steps == m.steps else str(m.steps or "fixed"), *_row(m))
        steps = m.steps
    ratios = [_ratio_table(results)] if results.ratios() else []
    absent = [f"not timed: {peer}: {why}" for peer, why in results.absent.items()]
    return Group(times, *ratios, *(Text(line) for line in (*absent, *results.notes)))


def _row(m: Measurement) -> list[str]:
    kept = f"1/{m.weights / m.kept:.3g}" if m.kept else "none" if m.weights else ""
    error = "" if m.max_error is None else f"{m.max_error:.1e}"
    if m.status == "ok":
        s = m.statistics()
        figures = [f"{s[key]:,.1f}" for key in ("median_us", "min_us", "p10_us", "p90_us")]
        return [m.name, kept, *figures, error]
    told = "wrong output, not timed" if m.status == "wrong" else f"failed: {escape(m.detail)}"
    return [m.name, kept, f"[red]{told}", "", "", "", error]


def _ratio_table(results: BenchResults) -> Table:
    table = Table(title="Times faster than each peer: median of the rounds (least to greatest)")
    table.add_column("steps", justify="right")
    table.add_column("ours")
    peers = list(dict.fromkeys(ratio.peer for ratio in results.ratios()))
    for peer in peers:
        table.add_column(peer, justify="right")
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for r in results.ratios():
        cell = f"{r.median:.2f} ({r.minimum:.2f} to {r.maximum:.2f})"
        rows.setdefault((r.steps, r.rate), {})[r.peer] = cell
    for (steps, rate), cells in rows.items():
        table.add_row(
            str(steps or "fixed"), our_name(rate), *(cells.get(peer, "") for peer in peers)
        )
    return table
