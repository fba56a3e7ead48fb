"""`rtmobile bench`: this machine, its processor or its Vulkan, against other engines."""

from __future__ import annotations

from dataclasses import replace

from rtmobile_iree.cli.bench.request import BenchRequest
from rtmobile_iree.cli.common import console, err
from rtmobile_iree.errors import InputError
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.runtime import VULKAN
from rtmobile_iree.targets import runs_here

# what the table of a benchmark needs where it does not go to a terminal
BENCH_COLUMNS = 210


def check_runs_here(request: BenchRequest) -> None:
    """Raises InputError for a target whose programs this machine's processor does not run."""
    target, cpu = request.target, request.cpu
    if target in GPUS:
        raise InputError(f"--target {target}: it is a GPU; time its programs with --device vulkan")
    if cpu is None and runs_here(target):
        return
    asked = f"--cpu {cpu}" if cpu else f"--target {target}"
    raise InputError(
        f"{asked}: this machine is timed, and does not run its programs; give a --device, "
        "or leave --target and --cpu out"
    )


def time_vulkan(request: BenchRequest) -> None:
    """`bench --device vulkan`: our programs beside stock IREE's on the same Vulkan device."""
    from rtmobile_iree.vulkan import describe

    request.device.refuse_options("is this machine's")
    target = request.target
    if target == "host":
        target = "lavapipe" if describe().is_cpu else "vulkan"
    if target not in GPUS or request.cpu is not None:
        raise InputError(
            f"--device vulkan: --target {target} is no GPU; use one of {', '.join(GPUS)}"
        )
    settings = replace(request.settings, device=VULKAN)
    _time(replace(request, settings=settings, target=target))


def time_engines(request: BenchRequest) -> None:
    """Our programs on this machine's processor, beside the peers."""
    check_runs_here(request)
    _time(request)


def _time(request: BenchRequest) -> None:
    """Times all of them, prints a table, writes what was asked for."""
    from rtmobile_iree.bench import check_plot, results_table, run_bench, write_plot

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
