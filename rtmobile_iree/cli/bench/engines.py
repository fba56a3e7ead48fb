"""`rtmobile bench`: this machine, against other engines."""

from __future__ import annotations

from rtmobile_iree.cli.bench.request import BenchRequest
from rtmobile_iree.cli.common import console, err
from rtmobile_iree.errors import InputError
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.targets import runs_here

# what the table of a benchmark needs where it does not go to a terminal
BENCH_COLUMNS = 210


def check_runs_here(request: BenchRequest) -> None:
    """Raises InputError for a target whose programs this machine's processor does not run."""
    target, cpu = request.target, request.cpu
    if target in GPUS:
        raise InputError(
            f"--target {target}: a GPU's programs are not timed yet; leave --target out"
        )
    if cpu is None and runs_here(target):
        return
    asked = f"--cpu {cpu}" if cpu else f"--target {target}"
    raise InputError(
        f"{asked}: this machine is timed, and does not run its programs; give a --device, "
        "or leave --target and --cpu out"
    )


def time_engines(request: BenchRequest) -> None:
    """Times our programs and the peers, prints a table, writes what was asked for."""
    from rtmobile_iree.bench import check_plot, results_table, run_bench, write_plot

    check_runs_here(request)
    if request.plot is not None:
        check_plot(request.plot)
    with err.status("starting") as status:
        results = run_bench(
            request.model,
            request.settings,
            inputs=request.inputs,
            target=request.target,
            progress=status.update,
        )
    console(BENCH_COLUMNS).print(results_table(results))
    if request.json is not None:
        results.save(request.json)
    if request.plot is not None:
        write_plot(results, request.plot)
    bad = [f"{m.name} at {m.steps} steps" for m in results.measurements if m.status != "ok"]
    if bad:
        raise InputError(f"not timed: {', '.join(bad)}; see the table")
