"""`rtmobile inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import (
    Activations,
    CpuName,
    ExampleInputs,
    Prune,
    TargetName,
    Values,
    app,
    compiled,
    console,
    err,
    imported,
    names,
    print_report,
    whole_number,
)
from rtmobile_iree.errors import InputError
from rtmobile_iree.options import Options


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL|FILE.vmfb")],
    target: TargetName = "host",
    prune: Prune = None,
    example_input: ExampleInputs = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    cycles: Annotated[
        bool, typer.Option("--cycles", help="ESTIMATE microseconds on a phone's core.")
    ] = False,
    cpu: CpuName = None,
    steps: Annotated[str, typer.Option(help="Steps of a call, with --cycles.")] = "1,30",
    values: Values = "f32",
    activations: Activations = "f32",
) -> None:
    """Prints what is encoded in a program, how well it fits, and what stayed dense and why."""
    if cycles:
        counts = [whole_number("--steps", text) for text in names(steps)]
        options = Options(values, activations)
        _cycles(model, target, prune, example_input or (), cpu, counts, options, json)
        return
    if Path(model).suffix == ".vmfb":
        from rtmobile_iree.program import load

        program = load(model)
    else:
        program = compiled(
            model,
            target,
            prune,
            example_input or (),
            True,
            cpu=cpu,
            values=values,
            activations=activations,
        )
    if json:
        print(program.report.to_json())
        return
    print_report(program.report)
    for spec in program.inputs:
        console().print(f"input {spec.name}: {spec}", highlight=False)


def _cycles(
    model: str,
    target: str,
    prune: str | None,
    example_input: Sequence[str],
    cpu: str | None,
    steps: Sequence[int],
    options: Options,
    json: bool,
) -> None:
    """`inspect --cycles`: an estimate from the machine code."""
    from rtmobile_iree.cycles.estimate import estimate
    from rtmobile_iree.cycles.report import estimate_tables, notes, to_json
    from rtmobile_iree.targets import get_cpu_target

    if Path(model).suffix == ".vmfb":
        raise InputError(
            f"--cycles {model}: a .vmfb does not say which constants its kernels read; "
            "give the MODEL it was compiled from"
        )
    machine = get_cpu_target(target, cpu)
    source, inputs = imported(model, prune, example_input)
    with err.status("starting") as status:
        made, left_out = estimate(source, inputs, machine, steps, options, progress=status.update)
    if json:
        print(to_json(made, left_out))
        return
    for table in estimate_tables(made):
        console().print(table)
    for line in notes(made[0], left_out):
        console().print(line, highlight=False)
