"""Estimates as tables and JSON. The word ESTIMATE stands on each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from rtmobile_iree.cycles.estimate import Estimate, Part
from rtmobile_iree.cycles.models import MISPREDICT_CYCLES

# blocks in the table of loops
SHOWN = 12
FMA = r"(fmla|fmlal|fmadd|sdot|smmla)\b"


def estimate_tables(estimates: Sequence[Estimate]) -> list[Table]:
    """Totals of every number of steps, and the loops of the greatest."""
    first = estimates[0]
    totals = Table(title=f"ESTIMATE, not measured: {where(first)}")
    for heading in ("steps", "us", "compute us", "memory us", "not overlapped us",
                    "products at peak us", "cycles", "instructions"):  # fmt: skip
        totals.add_column(heading, justify="right")
    for each in estimates:
        totals.add_row(
            str(each.steps), f"{each.us:,.1f}", f"{each.compute_us:,.1f}",
            f"{each.memory_us:,.1f}", f"{each.no_overlap_us:,.1f}",
            f"{each.multiply_us:,.1f}",
            f"{each.cycles:,.0f}", f"{each.instructions:,}",
        )  # fmt: skip
    return [totals, _loops(max(estimates, key=lambda each: each.steps))]


def _loops(estimate: Estimate) -> Table:
    table = Table(title=f"where the cycles of {estimate.steps} steps go (ESTIMATE)")
    for heading in ("kernel", "block at", "", "runs", "entered", "cycles a run", "instructions",
                    "multiply-adds", "share"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("kernel", "") else "right")
    for part in sorted(estimate.parts, key=lambda part: -part.cycles)[:SHOWN]:
        block = part.block
        table.add_row(
            part.kernel, f"{block.address:#x}", "loop" if block.is_loop else "",
            f"{block.times:,}", f"{block.entries:,}", f"{part.cost.more:.1f}",
            str(len(block.instructions)), str(block.count(FMA)),
            f"{part.cycles / estimate.cycles:.1%}",
        )  # fmt: skip
    return table


def notes(estimate: Estimate, left_out: Sequence[str]) -> list[str]:
    """What the figures rest on, and what they leave out."""
    model = f"scheduling model: {estimate.model.cpu} of LLVM {estimate.llvm}"
    lines = [
        f"{model}: {estimate.model.note}",
        *estimate.core.sources,
        "estimates: bandwidths of L2, L3 and memory (rtmobile_iree/cores.py); "
        f"{MISPREDICT_CYCLES} cycles a mispredicted branch",
        "not in it: the call itself, other programs, a clock lowered by heat",
    ]
    return lines + [f"not in it: {name}, made by IREE" for name in left_out]


def where(estimate: Estimate) -> str:
    """The core, and its clock."""
    core = estimate.core
    return f"{core.name}, {core.chip}, {core.clock_hz / 1e9:.2f} GHz"


def to_json(estimates: Sequence[Estimate], left_out: Sequence[str]) -> str:
    """Everything the tables show, and every block."""
    first = estimates[0]
    fields = {
        "kind": "ESTIMATE",
        "core": first.core.name,
        "chip": first.core.chip,
        "clock_ghz": first.core.clock_hz / 1e9,
        "scheduling_model": first.model.cpu,
        "llvm": first.llvm,
        "notes": notes(first, left_out),
        "estimates": [
            summary_fields(each) | {"blocks": [_part_fields(part) for part in each.parts]}
            for each in estimates
        ],
    }
    return json.dumps(fields, indent=2, allow_nan=False)


def summary_fields(estimate: Estimate) -> dict[str, Any]:
    """The totals of one estimate."""
    return {
        "steps": estimate.steps,
        "us": round(estimate.us, 2),
        "compute_us": round(estimate.compute_us, 2),
        "memory_us": round(estimate.memory_us, 2),
        "multiply_us": round(estimate.multiply_us, 2),
        "no_overlap_us": round(estimate.no_overlap_us, 2),
        "cycles": round(estimate.cycles),
        "instructions": estimate.instructions,
    }


def _part_fields(part: Part) -> dict[str, Any]:
    block = part.block
    return {
        "kernel": part.kernel,
        "address": block.address,
        "loop": block.is_loop,
        "runs": block.times,
        "entered": block.entries,
        "first_cycles": part.cost.first,
        "more_cycles": part.cost.more,
        "cycles": round(part.cycles),
        "code": [each.text for each in block.instructions],
    }
