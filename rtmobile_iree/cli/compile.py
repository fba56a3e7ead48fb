"""`rtmobile compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import (
    Activations,
    CpuName,
    ExampleInputs,
    Model,
    Prune,
    TargetName,
    Values,
    app,
    compiled,
    console,
    print_report,
)
from rtmobile_iree.schedule import ACTIVATION_ERROR, AUTO, GPU_KERNELS


@app.command()
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the .vmfb.")],
    target: TargetName = "host",
    cpu: CpuName = None,
    prune: Prune = None,
    example_input: ExampleInputs = None,
    dynamic_steps: Annotated[
        bool, typer.Option(help="Whether the program takes any number of time steps.")
    ] = True,
    activation_error: Annotated[
        float, typer.Option(help="Greatest absolute error of sigmoid and tanh.")
    ] = ACTIVATION_ERROR,
    values: Values = "f32",
    activations: Activations = "f32",
    threads: Annotated[int, typer.Option(help="Most threads a recurrent stack may use.")] = 1,
    gpu_kernel: Annotated[
        str, typer.Option(help=f"Recurrent layers on a GPU: {', '.join(GPU_KERNELS)}.")
    ] = AUTO,
) -> None:
    """Compiles a model to a .vmfb that IREE's own tools run."""
    program = compiled(
        model,
        target,
        prune,
        example_input or (),
        dynamic_steps,
        activation_error=activation_error,
        cpu=cpu,
        values=values,
        activations=activations,
        threads=threads,
        gpu_kernel=gpu_kernel,
    )
    program.save(output)
    print_report(program.report)
    out = console()
    where = " ".join(filter(None, (program.target, program.cpu)))
    out.print(f"{output}: {len(program.vmfb):,} bytes, target {where}", highlight=False)
