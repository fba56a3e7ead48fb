"""`rtmobile demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import app, console, err
from rtmobile_iree.errors import InputError


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for what it writes.")
    ] = Path("demo-out"),
) -> None:
    """The whole flow on recorded speech: prune, compile, check, time, draw."""
    from rtmobile_iree.demo import run_demo

    with err.status("starting") as status:
        result = run_demo(output, progress=status.update)
    console().print(result.table())
    console().print(result.summary(), highlight=False)
    if not result.is_right:
        raise InputError(f"outputs differ from PyTorch's by {result.max_error:.1e}, over 1e-4")
