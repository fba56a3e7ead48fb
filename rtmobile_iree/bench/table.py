"""A benchmark's results as one table for the terminal, a row a contender."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rtmobile_iree.bench.machine import place
from rtmobile_iree.bench.peers.registry import OURS, runs_dense
from rtmobile_iree.bench.results import BenchResults, Measurement, named


def results_table(results: BenchResults) -> Group:
    """The table, then what was not timed and why."""
    machine, threads = results.machine, results.settings["threads"]
    steps = list(dict.fromkeys(m.steps for m in results.measurements))
    ours = [m for m in results.measurements if m.contender == OURS and m.rounds_us]
    rates = list(dict.fromkeys(m.rate for m in ours))
    table = Table(
        title=f"{results.model}, batch 1, {threads} thread{'s' if threads > 1 else ''}, "
        f"{place(machine)}\nmicroseconds a call: median (10th to 90th percentile); last columns: "
        f"how many times faster ours is, {' / '.join(map(_calls, steps))}",
    )
    for heading in ("contender", "version", "configuration", "values", "pattern", "kept"):
        table.add_column(heading, overflow="fold")
    table.add_column("thr.", justify="right")
    for count in steps:
        table.add_column(f"{_calls(count)}, us", justify="right", max_width=26)
    table.add_column("max error", justify="right")
    for rate in rates:
        table.add_column(f"{named('ours', rate)}\nis faster", justify="right", no_wrap=True)
    _add_rows(table, results, steps, rates)
    absent = [f"not timed: {peer}: {why}" for peer, why in results.absent.items()]
    return Group(table, *(Text(line) for line in (*absent, *results.notes)))


def _add_rows(table: Table, results: BenchResults, steps: list[int], rates: list[str]) -> None:
    groups: dict[str, dict[int, Measurement]] = {}
    for m in results.measurements:
        groups.setdefault(m.name, {})[m.steps] = m
    faster = {(r.steps, r.rate, r.peer, r.peer_rate): r.median for r in results.ratios()}
    # peers with dense weights, then those with zeros, then ours
    order = sorted(groups.values(), key=lambda group: _section(_any(group)))
    section = None
    for group in order:
        m = _any(group)
        if section not in (None, _section(m)):
            table.add_section()
        section = _section(m)
        cells = [_cell(group.get(count)) for count in steps]
        ratios = [
            " / ".join(
                f"{faster[key]:.1f}" if key in faster else "-"
                for key in ((count, rate, m.contender, m.rate) for count in steps)
            )
            for rate in rates
        ]
        table.add_row(
            m.name,
            m.version or "",
            _configuration(group),
            m.values,
            m.pattern,
            _kept(m),
            str(m.threads),
            *cells,
            _error(group),
            *("" if set(ratio) <= set("- /") else ratio for ratio in ratios),
        )


def _any(group: dict[int, Measurement]) -> Measurement:
    return next(iter(group.values()))


def _section(m: Measurement) -> int:
    return 2 if m.contender == OURS else int(not runs_dense(m.contender))


def _configuration(group: dict[int, Measurement]) -> str:
    """Which options it ran with; those of each chunk length where they differ."""
    told = {m.steps: m.detail for m in group.values() if m.status == "ok"}
    if len(set(told.values())) <= 1:
        return escape(next(iter(told.values()), ""))
    return escape("; ".join(f"{_calls(steps)}: {detail}" for steps, detail in told.items()))


def _cell(m: Measurement | None) -> str:
    if m is None:
        return ""
    if m.status == "ok":
        figures = [m.statistics()[key] for key in ("median_us", "p10_us", "p90_us")]
        median, low, high = map(microseconds, figures)
        return f"{median} ({low} - {high})"
    told = "wrong output, not timed" if m.status == "wrong" else f"failed: {escape(m.detail)}"
    return f"[red]{told}"


def microseconds(time: float) -> str:
    """A time with a tenth where that can matter."""
    return f"{time:,.0f}" if time >= 1000 else f"{time:.1f}"


def _kept(m: Measurement) -> str:
    return f"1/{m.weights / m.kept:.3g}" if m.kept else "none" if m.weights else ""


def _error(group: dict[int, Measurement]) -> str:
    errors = [m.max_error for m in group.values() if m.max_error is not None]
    return f"{max(errors):.1e}" if errors else ""


def _calls(steps: int) -> str:
    return f"T={steps}" if steps else "fixed"
