"""A device benchmark's results for the terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from rtmobile_iree.bench.devices.results import CaseResult, DeviceResults
from rtmobile_iree.bench.table import microseconds
from rtmobile_iree.devices.probe import State


def device_table(results: DeviceResults) -> Table:
    """A row a module and number of steps."""
    what, how = results.description, results.settings
    model = f", {what.model}" if what.model else ""
    cores = f"cores {how.cores}" if how.cores else "any core"
    threads = f"{how.threads} thread{'s' if how.threads > 1 else ''}"
    table = Table(
        title=escape(f"{results.device}: {what.cpu}{model}, {what.machine}, {cores}, {threads}\n")
        + "microseconds a call over all rounds"
    )
    table.add_column("module", overflow="fold")
    table.add_column("target")
    for heading in ("T", "rounds", "median", "least", "greatest", "before", "after", "max error"):
        table.add_column(heading, justify="right")
    for case in results.cases:
        table.add_row(*_cells(case))
    return table


def _cells(case: CaseResult) -> tuple[str, ...]:
    figures = case.statistics()
    return (
        escape(case.module),
        case.target or "",
        str(case.steps or "fixed"),
        str(len(case.rounds)),
        *(microseconds(figures[key]) for key in ("median_us", "min_us", "max_us")),
        _degrees([entry["before"] for entry in case.rounds]),
        _degrees([entry["after"] for entry in case.rounds]),
        "not known" if case.max_error is None else f"{case.max_error:.1e}",
    )


def _degrees(states: list[dict[str, Any]]) -> str:
    """The hottest of the rounds, where the device can be read."""
    read = [hottest for state in states if (hottest := State(**state).hottest) is not None]
    return f"{max(read):.0f} C" if read else "not read"
