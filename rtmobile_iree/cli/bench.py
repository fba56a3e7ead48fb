"""`rtmobile bench`: against other engines, or against the machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtmobile_iree.cli.bench_device import DeviceRequest, bench_on_device
from rtmobile_iree.cli.common import (
    Activations,
    Cores,
    CpuName,
    DeviceFolder,
    DeviceName,
    ExampleInputs,
    RuntimeToolsFolder,
    TargetName,
    Values,
    app,
    console,
    err,
    names,
    whole_number,
)
from rtmobile_iree.errors import InputError
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.targets import runs_here

if TYPE_CHECKING:
    from rtmobile_iree.bench import Settings

RATES_HELP = (
    "Our programs: column rate x row rate, or dense; with commas. 10x1,14.5x2,16x15.6 by default; "
    "a file is timed as it is."
)
PEERS_HELP = (
    "Peers, with commas; torch,onnxruntime,iree-dense by default. all: every one that is "
    "installed; the others are named."
)
# what the table of a benchmark needs where it does not go to a terminal
BENCH_COLUMNS = 210


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

    With --device qemu it counts the instructions of ARM64 programs instead.
    """
    from rtmobile_iree.bench import Settings, check_plot, results_table, run_bench, write_plot

    request = DeviceRequest(device, cores, runtime_tools, device_folder, cool_down, cool_below)
    request.refuse()
    if len(models) > 1 and (device is None or Path(models[0]).suffix != ".vmfb"):
        raise InputError(f"{len(models)} models given; several .vmfb files can go on a --device")
    model = models[0]
    settings = Settings(
        against=None if peers is None else tuple(names(peers)),
        steps=tuple(whole_number("--steps", text) for text in names(steps)),
        rates=None if rates is None else tuple(names(rates)),
        threads=threads,
        rounds=rounds,
        values=values,
        activations=activations,
    )
    if json is not None and not json.absolute().parent.is_dir():
        raise InputError(f"--json {json}: no folder {json.absolute().parent}")
    if device is not None and (roofline or plot is not None):
        raise InputError("--device: --roofline and --plot are this machine's")
    if device == "qemu":
        request.refuse_options()
        _instructions(model, settings, (target, cpu), json, example_input or ())
        return
    if device is not None:
        if peers is not None:
            raise InputError(f"--device {device}: --peers are this machine's")
        bench_on_device(
            models,
            request,
            json,
            steps=settings.steps,
            rates=settings.rates,
            inputs=example_input or (),
            target=target,
            cpu=cpu,
            rounds=rounds,
            threads=threads,
            values=values,
            activations=activations,
        )
        return
    if target in GPUS:
        raise InputError(
            f"--target {target}: a GPU's programs are not timed yet; leave --target out"
        )
    if cpu is not None or not runs_here(target):
        asked = f"--cpu {cpu}" if cpu else f"--target {target}"
        raise InputError(
            f"{asked}: this machine is timed, and does not run its programs; give a --device, "
            "or leave --target and --cpu out"
        )
    if roofline:
        _roofline(model, settings, target, json, example_input or ())
        return
    if plot is not None:
        check_plot(plot)
    with err.status("starting") as status:
        results = run_bench(
            model, settings, inputs=example_input or (), target=target, progress=status.update
        )
    console(BENCH_COLUMNS).print(results_table(results))
    if json is not None:
        results.save(json)
    if plot is not None:
        write_plot(results, plot)
    bad = [f"{m.name} at {m.steps} steps" for m in results.measurements if m.status != "ok"]
    if bad:
        raise InputError(f"not timed: {', '.join(bad)}; see the table")


def _instructions(
    model: str,
    settings: Settings,
    core: tuple[str, str | None],
    json: Path | None,
    inputs: Sequence[str],
) -> None:
    """`bench --device qemu`: instructions, which an emulator can tell, in place of time."""
    from rtmobile_iree.bench.instructions import CPU, TARGET, run_instructions

    target, cpu = core if core[0] != "host" else (TARGET, core[1] or CPU)
    with err.status("starting") as status:
        results = run_instructions(
            model, settings, inputs=inputs, target=target, cpu=cpu, progress=status.update
        )
    console().print(results.table())
    if json is not None:
        results.save(json)


def _roofline(
    model: str, settings: Settings, target: str, json: Path | None, inputs: Sequence[str]
) -> None:
    """`bench --roofline`: what the machine allows, what a call takes, and on what."""
    from rtmobile_iree.bench.roofline import run_roofline
    from rtmobile_iree.bench.roofline_table import roofline_table

    if (settings.values, settings.activations) != ("f32", "f32"):
        raise InputError("--roofline: the bound is stated for f32; leave --values out")
    if settings.threads > 1:
        raise InputError(f"--roofline --threads {settings.threads}: it is one core's; use 1")
    with err.status("starting") as status:
        results = run_roofline(
            model, settings, inputs=inputs, target=target, progress=status.update
        )
    console().print(roofline_table(results))
    if json is not None:
        results.save(json)
