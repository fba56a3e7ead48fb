"""What several commands share: their options, the consoles, and how text is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rtmobile_iree.cores import CORES
from rtmobile_iree.errors import InputError
from rtmobile_iree.schedule import GPU_KERNELS
from rtmobile_iree.targets import target_names

if TYPE_CHECKING:
    from rtmobile_iree.program import Program
    from rtmobile_iree.report.encoding import Report

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Block-structured pruning of recurrent networks, compiled by IREE.",
)
err = Console(stderr=True)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="package.module:callable, FILE.pt2 or FILE.mlir")
]
ExampleInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--example-input",
        help="One forward() argument, as f32[1,30,40]; repeat it for each. "
        "Not needed where the model has example_inputs(steps).",
    ),
]
Values = Annotated[
    str,
    typer.Option(
        help="How weights are stored: f32, f16, bf16, i8, i4, or rules by name with commas: "
        "'*.weight_hh_*=i8,*=0.002'; a number is the greatest relative error."
    ),
]
Activations = Annotated[
    str,
    typer.Option(
        help="f32; f16: recurrent layers of f16 weights are computed in f16, on ARM64; or i8: "
        "inputs of i8 weights are quantized as they come."
    ),
]
TargetName = Annotated[
    str,
    typer.Option("--target", help=f"Machine to compile for: {', '.join(target_names())}."),
]
GpuKernel = Annotated[
    str, typer.Option(help=f"Recurrent layers on a GPU: {', '.join(GPU_KERNELS)}.")
]
CpuName = Annotated[
    str | None,
    typer.Option("--cpu", help=f"Core of an ARM64 target: {', '.join(CORES)}."),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Run it there: ssh:HOST[:PORT], adb[:SERIAL], local, vulkan, or qemu, ARM64 in an "
        "emulator.",
    ),
]
Cores = Annotated[
    str | None, typer.Option(help="Cores of the device: big, little, 4-7 or a mask as 0xf0.")
]
RuntimeToolsFolder = Annotated[
    Path | None,
    typer.Option("--runtime-tools", help="Folder with IREE's tools for the device; Android's."),
]
DeviceFolder = Annotated[
    str | None, typer.Option("--device-folder", help="Where files go on the device.")
]
Prune = Annotated[str | None, typer.Option(help="Prune first: column rate x row rate, as 16x2.")]


def compiled(
    model: str,
    target: str,
    prune: str | None,
    example_input: Sequence[str],
    dynamic_steps: bool,
    **options: Any,
) -> Program:
    """MODEL compiled, with a spinner; `options` are those of `rtmobile_iree.compile`."""
    from rtmobile_iree.program import compile as compile_program

    source, inputs = imported(model, prune, example_input)
    with err.status("compiling") as status:
        return compile_program(
            source,
            inputs,
            target,
            dynamic_steps,
            progress=status.update,
            **options,
        )


def imported(
    model: str, prune: str | None, example_input: Sequence[str]
) -> tuple[Any, tuple[Any, ...] | None]:
    """MODEL as `rtmobile_iree.compile` takes it, pruned when asked, and its example inputs."""
    from rtmobile_iree.model_source import example_inputs, load_model

    source = load_model(model)
    if not isinstance(source, Path):
        return _pruned(source, prune), example_inputs(source, example_input)
    if prune is not None:
        raise InputError(f"--prune needs package.module:callable; {source} is a file")
    return source, example_inputs(None, example_input) if example_input else None


def _pruned(module: Any, rate: str | None) -> Any:
    """The module, pruned in place when a rate is given."""
    from rtmobile_iree import prune as prune_module
    from rtmobile_iree.bench.models import parse_rate

    if rate is not None:
        columns, rows = parse_rate(rate)
        prune_module(module, column_rate=columns, row_rate=rows)
    return module


def print_report(report: Report) -> None:
    """The report: its table, and a line for each matrix that stayed dense and why."""
    console().print(str(report), highlight=False, markup=False, soft_wrap=True)


def console(width: int = 140) -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width)


def names(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole_number(option: str, text: str) -> int:
    """A whole number from 1.

    Raises:
        InputError: it is none.
    """
    if not text.isdecimal() or not int(text):
        raise InputError(f"{option} {text!r}: use whole numbers from 1")
    return int(text)
