"""`rtmobile run`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rtmobile_iree.cli.common import (
    Cores,
    DeviceFolder,
    DeviceName,
    RuntimeToolsFolder,
    app,
    console,
)
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
    device: DeviceName = None,
    cores: Cores = None,
    runtime_tools: RuntimeToolsFolder = None,
    device_folder: DeviceFolder = None,
) -> None:
    """Runs a compiled program on arrays from files."""
    from rtmobile_iree.model_source import input_array

    arrays = [input_array(text) for text in inputs or ()]
    options = {"cores": cores, "tools": runtime_tools, "folder": device_folder}
    if device is not None:
        results = _run_there(device, program, arrays, options)
    elif any(option is not None for option in options.values()):
        raise InputError("--cores, --runtime-tools and --device-folder need a --device")
    else:
        results = _run_here(program, arrays)
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


def _run_here(program: Path, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    from rtmobile_iree.program import load

    results = load(program)(*arrays)
    return results if isinstance(results, tuple) else (results,)


def _run_there(
    device: str, program: Path, arrays: list[np.ndarray], options: dict[str, Any]
) -> tuple[np.ndarray, ...]:
    from rtmobile_iree.devices import get_device
    from rtmobile_iree.devices.contents import load_contents

    place = get_device(device, **options)
    contents = load_contents(program)
    return place.run(contents.vmfb, contents.check(arrays))
