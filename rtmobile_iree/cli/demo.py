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
    from rtmobile_iree.speech import shipped

    with err.status("starting") as status:
        result = run_demo(output, progress=status.update)
    console().print(shipped.table(result.recognised))
    console().print(shipped.summary(result.recognised), highlight=False, soft_wrap=True)
    console().print(result.table())
    console().print(result.summary(), highlight=False)
    if not result.is_right:
        raise InputError(
            f"outputs differ from PyTorch's by {result.max_error:.1e} (1e-4 is allowed), or a "
            "compiled model's PER from PyTorch's"
        )
