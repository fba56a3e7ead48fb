"""The roofline as tables for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from rtmobile_iree.bench.roofline import OTHER, RooflineResults
from rtmobile_iree.roofline import Limits

TITLES = {"project": "W_ih", "recur": "W_hh", "gates": "activations", OTHER: "everything else"}


def roofline_table(results: RooflineResults) -> Group:
    """What the machine can do, then a line for each program and number of steps."""
    table = Table(
        title=f"{results.model}, 1 core, microseconds a call: at least, as it is, and its parts"
    )
    for title in ("rate", "steps", "kept\nweights", "least", "takes", "times\nthe least"):
        table.add_column(title, justify="right")
    for title in TITLES.values():
        table.add_column(f"{title}\ntakes (least)", justify="right")
    for row in results.rows:
        bound = row.bound
        least = (bound.w_ih, bound.w_hh, bound.activations, bound.linear)
        table.add_row(
            row.rate,
            str(row.steps),
            f"{row.work.kept:,}",
            _us(bound.total_us),
            _us(row.taken_us),
            f"{row.ratio:.2f}",
            *(
                f"{_us(row.shares_us[part])} ({_us(us)}) {row.shares_us[part] / row.taken_us:4.0%}"
                for part, us in zip(TITLES, least, strict=True)
            ),
        )
    return Group(limits_table(results), table)


def _us(number: float) -> str:
    """Four digits or so."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}"


def limits_table(results: RooflineResults) -> Table:
    """The machine's limits, bandwidth by working set."""
    limits: Limits = results.limits
    table = Table(title=f"One core of {results.machine['cpu']}")
    table.add_column("limit")
    table.add_column("measured", justify="right")
    for size, rate in limits.bandwidth_curve:
        table.add_row(f"read from {size / 1024:,.0f} KB", f"{rate / 1e9:.1f} GB/s")
    table.add_row("f32 multiply-adds", f"{limits.multiply_adds_s / 1e9:.1f} G/s")
    for name, ns in limits.activation_ns.items():
        table.add_row(f"{name}, an element", f"{ns:.3f} ns")
    return table
