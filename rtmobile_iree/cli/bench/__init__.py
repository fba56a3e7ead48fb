"""`rtmobile bench`: the options; what is measured, and against what, is a file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.bench.device import time_on_device
from rtmobile_iree.cli.bench.engines import time_engines, time_vulkan
from rtmobile_iree.cli.bench.instructions import count_instructions
from rtmobile_iree.cli.bench.request import BenchRequest, DeviceRequest
from rtmobile_iree.cli.bench.roofline import compare_with_limits
from rtmobile_iree.cli.common import (
    Activations,
    Cores,
    CpuName,
    DeviceFolder,
    DeviceName,
    ExampleInputs,
    GpuKernel,
    RuntimeToolsFolder,
    TargetName,
    Values,
    app,
    names,
    whole_number,
)
from rtmobile_iree.errors import InputError
from rtmobile_iree.runtime import VULKAN
from rtmobile_iree.schedule import AUTO

RATES_HELP = (
    "Our programs: column rate x row rate, or dense; with commas. 10x1,14.5x2,16x15.6 by default; "
    "a file is timed as it is."
)
PEERS_HELP = (
    "Peers, with commas; torch,onnxruntime,iree-dense by default, on --device vulkan all of its "
    "own. all: every one that is installed; the others are named."
)


@app.command()
def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="package.module:callable, FILE.pt2 or FILE.mlir; with --device FILE.vmfb ... too.",
        ),
    ],
    peers: Annotated[
        str | None,
        typer.Option("--peers", "--against", help=PEERS_HELP),
    ] = None,
    steps: Annotated[str, typer.Option(help="Time steps of a call, with commas.")] = "1,30",
    rates: Annotated[str | None, typer.Option(help=RATES_HELP)] = None,
    threads: Annotated[int, typer.Option(help="Threads of each contender.")] = 1,
    rounds: Annotated[int, typer.Option(help="Bursts of each contender.")] = 7,
    target: TargetName = "host",
    cpu: CpuName = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the times here.")
    ] = None,
    example_input: ExampleInputs = None,
    values: Values = "f32",
    activations: Activations = "f32",
    gpu_kernel: GpuKernel = AUTO,
    dynamic_steps: Annotated[
        bool,
        typer.Option(help="Whether one program of ours takes all --steps, or one each."),
    ] = True,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Against this machine's limits, not other engines.")
    ] = False,
    device: DeviceName = None,
    cores: Cores = None,
    cool_down: Annotated[
        float | None, typer.Option("--cool-down", help="Seconds to wait after a round there.")
    ] = None,
    cool_below: Annotated[
        float | None,
        typer.Option(
            "--cool-below",
            help="Hottest that a round there may begin at, degrees Celsius; 3 over the start.",
        ),
    ] = None,
    runtime_tools: RuntimeToolsFolder = None,
    device_folder: DeviceFolder = None,
) -> None:
    """Times compiled programs against other engines, in alternating bursts, or on a device.

    With --device qemu it counts the instructions of ARM64 programs instead; with --device vulkan
    peers are stock IREE's code for the same Vulkan device.
    """
    from rtmobile_iree.bench import Settings

    settings = Settings(
        against=None if peers is None else tuple(names(peers)),
        steps=tuple(whole_number("--steps", text) for text in names(steps)),
        rates=None if rates is None else tuple(names(rates)),
        threads=threads,
        rounds=rounds,
        values=values,
        activations=activations,
        gpu_kernel=gpu_kernel,
        dynamic_steps=dynamic_steps,
    )
    where = DeviceRequest(device, cores, runtime_tools, device_folder, cool_down, cool_below)
    request = BenchRequest(
        tuple(models), settings, tuple(example_input or ()), target, cpu, json, plot, where
    )
    request.check()
    _choose(request, roofline)(request)


def _choose(request: BenchRequest, roofline: bool) -> Callable[[BenchRequest], None]:
    """The benchmark that is asked for."""
    device = request.device.name
    is_compiled = Path(request.model).suffix == ".vmfb"
    if device == VULKAN and not is_compiled and not roofline:
        return time_vulkan
    if device is not None and (roofline or request.plot is not None):
        raise InputError("--device: --roofline and --plot are this machine's")
    if device == "qemu":
        return count_instructions
    if device is not None:
        return time_on_device
    return compare_with_limits if roofline else time_engines
