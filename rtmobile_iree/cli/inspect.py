"""`rtmobile inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import (
    ExampleInputs,
    Prune,
    TargetName,
    app,
    compiled,
    console,
    print_report,
)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL|FILE.vmfb")],
    target: TargetName = "host",
    prune: Prune = None,
    example_input: ExampleInputs = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prints what is encoded in a program, how well it fits, and what stayed dense and why."""
    if Path(model).suffix == ".vmfb":
        from rtmobile_iree.program import load

        program = load(model)
    else:
        program = compiled(model, target, prune, example_input or (), True)
    if json:
        print(program.report.to_json())
        return
    print_report(program.report)
    for spec in program.inputs:
        console().print(f"input {spec.name}: {spec}", highlight=False)
