"""`rtmobile inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

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
from rtmobile_iree.targets import CpuTarget, GpuTarget, Target, get_target

# a model as `compile` takes it, and its example inputs
Imported = tuple[Any, tuple[Any, ...] | None]


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
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Bytes, FMAs, barriers and dispatches of a GPU's program, and ESTIMATED "
            "microseconds.",
        ),
    ] = False,
    cpu: CpuName = None,
    steps: Annotated[str, typer.Option(help="Steps of a call, with --cycles and --cost.")] = "1,30",
    values: Values = "f32",
    activations: Activations = "f32",
) -> None:
    """Prints what is encoded in a program, how well it fits, and what stayed dense and why."""
    if cycles or cost:
        counts = [whole_number("--steps", text) for text in names(steps)]
        options = Options(values, activations)
        if Path(model).suffix == ".vmfb":
            raise InputError(
                f"{'--cost' if cost else '--cycles'} {model}: a .vmfb does not say which constants "
                "its kernels read; give the MODEL it was compiled from"
            )
        imported_model = imported(model, prune, example_input or ())
        (_cost if cost else _cycles)(imported_model, get_target(target, cpu), counts, options, json)
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
    model: Imported, target: Target, steps: Sequence[int], options: Options, json: bool
) -> None:
    """`inspect --cycles`: an estimate from the machine code."""
    from rtmobile_iree.cycles.estimate import estimate
    from rtmobile_iree.cycles.report import estimate_tables, notes, to_json

    if not isinstance(target, CpuTarget):
        raise InputError(f"--cycles: target {target.name} is a GPU; use --cost, or a CPU's target")
    with err.status("starting") as status:
        made, left_out = estimate(*model, target, steps, options, progress=status.update)
    if json:
        print(to_json(made, left_out))
        return
    _print(estimate_tables(made), notes(made[0], left_out))


def _cost(
    model: Imported, target: Target, steps: Sequence[int], options: Options, json: bool
) -> None:
    """`inspect --cost`: what a GPU's program does, and an estimate."""
    from rtmobile_iree.gpu_cost.estimate import estimate
    from rtmobile_iree.gpu_cost.report import cost_tables, notes, to_json

    if not isinstance(target, GpuTarget):
        raise InputError(f"--cost: target {target.name} is no GPU; use --target adreno-640")
    with err.status("starting") as status:
        made, left_out = estimate(*model, target, steps, options, progress=status.update)
    if json:
        print(to_json(made, left_out))
        return
    _print(cost_tables(made), notes(made[0], left_out))


def _print(tables: Sequence[Table], lines: Sequence[str]) -> None:
    for table in tables:
        console().print(table)
    for line in lines:
        console().print(line, highlight=False)
