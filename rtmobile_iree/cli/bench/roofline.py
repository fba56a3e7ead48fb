"""`rtmobile bench --roofline`: what the machine allows, what a call takes, and on what."""

from __future__ import annotations

from rtmobile_iree.cli.bench.engines import check_runs_here
from rtmobile_iree.cli.bench.request import BenchRequest
from rtmobile_iree.cli.common import console, err
from rtmobile_iree.errors import InputError


def compare_with_limits(request: BenchRequest) -> None:
    """Times our programs beside one core's limits, prints a table, writes the JSON."""
    from rtmobile_iree.bench.roofline import run_roofline
    from rtmobile_iree.bench.roofline_table import roofline_table

    check_runs_here(request)
    settings = request.settings
    if (settings.values, settings.activations) != ("f32", "f32"):
        raise InputError("--roofline: the bound is stated for f32; leave --values out")
    if settings.threads > 1:
        raise InputError(f"--roofline --threads {settings.threads}: it is one core's; use 1")
    with err.status("starting") as status:
        results = run_roofline(
            request.model,
            settings,
            inputs=request.inputs,
            target=request.target,
            progress=status.update,
        )
    console().print(roofline_table(results))
    if request.json is not None:
        results.save(request.json)
