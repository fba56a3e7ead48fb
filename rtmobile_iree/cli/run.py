"""`rtmobile run`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from rtmobile_iree.cli.common import app, console
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically


@app.command()
def run(
    program: Annotated[Path, typer.Argument(metavar="FILE.vmfb")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="FILE.npy, or f32[1,30,40] for numbers; one a program input."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="FILE.npy for an output; repeat it for more."),
    ] = None,
) -> None:
    """Runs a compiled program on arrays from files."""
    from rtmobile_iree.model_source import input_array
    from rtmobile_iree.program import load

    loaded = load(program)
    arrays = [input_array(text) for text in inputs or ()]
    results = loaded(*arrays)
    results = results if isinstance(results, tuple) else (results,)
    paths = output or []
    if len(paths) > len(results):
        raise InputError(f"{len(paths)} --output given; {program} has {len(results)}")
    for number, result in enumerate(results):
        spread = f"{result.min():.6g} to {result.max():.6g}, mean {result.mean():.6g}"
        console().print(
            f"output {number}: {list(result.shape)} {result.dtype}, {spread}", highlight=False
        )
    for path, result in zip(paths, results, strict=False):
        buffer = io.BytesIO()
        np.save(buffer, result)
        write_atomically(path, buffer.getvalue())
