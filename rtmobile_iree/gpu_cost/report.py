"""Counts and estimates as tables and JSON. The word ESTIMATE stands on each time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from rtmobile_iree.gpu_cost.counts import KernelRun, Phase
from rtmobile_iree.gpu_cost.estimate import Estimate, phase_ns
from rtmobile_iree.gpu_cost.operations import FMA, HALF_FMA


def cost_tables(estimates: Sequence[Estimate]) -> list[Table]:
    """What is counted, what is estimated, and the phases of the greatest number of steps."""
    counted = Table(title="counted, of a call")
    for heading in ("steps", "FMAs", "bytes asked for", "distinct bytes, step by step",
                    "shared memory bytes", "special functions", "barriers",
                    "dispatches"):  # fmt: skip
        counted.add_column(heading, justify="right")
    timed = Table(title=f"ESTIMATE, not measured, on {estimates[0].model.gpu}: us a call")
    for heading in ("steps", "us", "bytes alone, whole GPU", "read from", "what takes it"):
        timed.add_column(heading, justify="left" if heading == "what takes it" else "right")
    for each in estimates:
        work, total = each.totals.work, each.totals
        counted.add_row(
            str(each.steps), f"{_fmas(work):,}", f"{work['read']:,}", f"{total.streamed_bytes:,}",
            f"{work['shared']:,}", f"{work['special']:,}", f"{total.barriers:,}",
            f"{total.dispatches:,}",
        )  # fmt: skip
        parts = ", ".join(f"{name} {us:,.0f}" for name, us in each.parts_us.items())
        timed.add_row(
            str(each.steps), f"{each.us:,.1f}", f"{each.least_us:,.1f}", each.level, parts
        )
    return [counted, timed, _phases(max(estimates, key=lambda each: each.steps))]


def _phases(estimate: Estimate) -> Table:
    table = Table(title=f"phases of {estimate.steps} steps (ESTIMATE)")
    for heading in ("kernel", "workgroups x threads", "runs", "FMAs", "bytes", "ns", "limit"):
        table.add_column(heading, justify="left" if heading in ("kernel", "limit") else "right")
    sides = [(run, side) for run in estimate.runs for side in run.sides]
    for run, side in sides:
        for phase in side.phases:
            limits = phase_ns(phase, side, estimate.model, run.others(side))
            limit = max(limits, key=limits.__getitem__)
            table.add_row(
                run.name, f"{side.workgroups} x {run.threads}", f"{run.times * phase.times:,}",
                f"{_fmas(phase.work):,}", f"{phase.distinct_bytes:,}", f"{limits[limit]:,.0f}",
                limit,
            )  # fmt: skip
    return table


def _fmas(work: Counter[str]) -> int:
    return work[FMA] + work[HALF_FMA]


def notes(estimate: Estimate, left_out: Sequence[str]) -> list[str]:
    """What the figures rest on, and what they leave out."""
    lines = [
        *estimate.model.sources,
        "integers are counted as our IR has them; a driver's compiler leaves some out",
        "not in it: the call itself (from the host to the GPU and back), a clock lowered by heat",
    ]
    for run in estimate.runs:
        has = estimate.model.registers_a_thread(run.threads)
        fits = "" if run.kept_words <= has else "; these do NOT fit, a driver would spill them"
        if run.kept_words:
            lines.append(
                f"{run.name}: a thread keeps {run.kept_words} words of its {has} registers from "
                f"step to step{fits}"
            )
    others = Counter(left_out).items()
    return lines + [f"not in it: {count} {name}, which IREE compiles" for name, count in others]


def to_json(estimates: Sequence[Estimate], left_out: Sequence[str]) -> str:
    """Everything the tables show."""
    fields = {
        "kind": "ESTIMATE",
        "gpu": estimates[0].model.gpu,
        "notes": notes(estimates[0], left_out),
        "estimates": [
            summary_fields(each)
            | {"kernels": [_run_fields(run, s, each) for run in each.runs for s in run.sides]}
            for each in estimates
        ],
    }
    return json.dumps(fields, indent=2, allow_nan=False)


def summary_fields(estimate: Estimate) -> dict[str, Any]:
    """The totals of one call."""
    total = estimate.totals
    return {
        "steps": estimate.steps,
        "us": round(estimate.us, 2),
        "bytes_alone_us": round(estimate.least_us, 2),
        "read_from": estimate.level,
        "parts_us": {name: round(us, 2) for name, us in estimate.parts_us.items()},
        "work": dict(total.work),
        "streamed_bytes": total.streamed_bytes,
        "barriers": total.barriers,
        "dispatches": total.dispatches,
    }


def _run_fields(run: KernelRun, side: KernelRun, estimate: Estimate) -> dict[str, Any]:
    """`side`: those of its workgroups that go the same way."""
    model, others = estimate.model, run.others(side)
    return {
        "kernel": run.name,
        "dispatches": run.times,
        "workgroups": side.workgroups,
        "threads": run.threads,
        "shared_bytes": run.shared_bytes,
        "kept_words": run.kept_words,
        "registers": model.registers_a_thread(run.threads),
        "phases": [
            _phase_fields(phase, phase_ns(phase, side, model, others)) for phase in side.phases
        ],
    }


def _phase_fields(phase: Phase, limits: dict[str, float]) -> dict[str, Any]:
    return {
        "runs": phase.times,
        "ends_with_barrier": phase.ends_with_barrier,
        "work": dict(phase.work),
        "distinct_bytes": phase.distinct_bytes,
        "working_set_bytes": phase.working_set,
        "limits_ns": {name: round(ns, 1) for name, ns in limits.items()},
    }
