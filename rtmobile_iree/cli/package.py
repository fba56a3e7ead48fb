"""`rtmobile package`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from rtmobile_iree.cli.common import (
    Activations,
    CpuName,
    DeviceName,
    ExampleInputs,
    Prune,
    TargetName,
    Values,
    app,
    console,
    err,
)
from rtmobile_iree.errors import InputError
from rtmobile_iree.gpus import GPUS

if TYPE_CHECKING:
    from rtmobile_iree.package import Bundle


@app.command()
def package(
    model: Annotated[str, typer.Argument(metavar="MODEL|FILE.vmfb")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder, or an archive: X.tar.gz, X.zip.")
    ],
    target: TargetName = "host",
    cpu: CpuName = None,
    prune: Prune = None,
    steps: Annotated[int, typer.Option(min=1, help="Time steps of the sample inputs.")] = 30,
    example_input: ExampleInputs = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="FILE.vmfb: FILE.npy or f32[1,30,40], one a program input."),
    ] = None,
    device: DeviceName = None,
    values: Values = "f32",
    activations: Activations = "f32",
) -> None:
    """Writes a program, sample inputs and outputs, and what runs them, for a device."""
    from rtmobile_iree.package import archive_kind, bundle_files, write_bundle

    archive_kind(output)
    with err.status("starting") as status:
        if Path(model).suffix == ".vmfb":
            asked = (prune, example_input, cpu, values != "f32", activations != "f32")
            if any(asked):
                raise InputError(f"{model} is compiled already; give --input, --steps, --device")
            bundle = _file_bundle(Path(model), steps, inputs or [], device or "local")
        else:
            if inputs or device is not None:
                raise InputError("--input and --device are for a FILE.vmfb; PyTorch is asked here")
            options = {"values": values, "activations": activations, "cpu": cpu}
            bundle = _model_bundle(
                model, target, prune, steps, example_input or [], status.update, options
            )
    if bundle.contents.target in GPUS:
        raise InputError(f"target {bundle.contents.target}: a bundle's programs run on a CPU")
    files = bundle_files(bundle)
    write_bundle(files, output)
    size = sum(map(len, files.values()))
    console().print(
        f"{output}: {len(files)} files, {size:,} bytes, target {bundle.contents.target}; "
        f"expected outputs from {bundle.source}",
        highlight=False,
        soft_wrap=True,
    )


def _file_bundle(path: Path, steps: int, given: list[str], device: str) -> Bundle:
    """A compiled module, its outputs those it gives on a device."""
    from rtmobile_iree.devices import get_device
    from rtmobile_iree.devices.contents import load_contents
    from rtmobile_iree.errors import DeviceError
    from rtmobile_iree.model_source import input_array
    from rtmobile_iree.package import Bundle

    contents = load_contents(path)
    arrays: list[np.ndarray] = [input_array(text) for text in given]
    arrays = contents.check(arrays) if arrays else contents.example_inputs(steps)
    try:
        expected = get_device(device).run(contents.vmfb, arrays)
    except DeviceError as error:
        raise DeviceError(
            f"{error}; {path} is for target {contents.target}: name a --device that runs it, or "
            "give MODEL, whose outputs are PyTorch's"
        ) from error
    source = f"the module itself, on {device}"
    return Bundle(path.stem, contents, tuple(arrays), expected, source, 1e-4)


def _model_bundle(
    model: str,
    target: str,
    prune: str | None,
    steps: int,
    example_input: list[str],
    progress: Any,
    options: dict[str, Any],
) -> Bundle:
    """A model compiled here, its outputs PyTorch's."""
    from rtmobile_iree.bench.devices.cases import model_cases
    from rtmobile_iree.bench.files import is_file
    from rtmobile_iree.bench.machine import version
    from rtmobile_iree.package import Bundle

    if is_file(model) and prune is not None:
        raise InputError(f"--prune needs package.module:callable; {model} is a file")
    rates = None if is_file(model) else (prune or "dense",)
    with tempfile.TemporaryDirectory(prefix="rtmobile-package-") as folder:
        (case,) = model_cases(
            model, rates, (steps,), example_input, target, Path(folder), progress=progress,
            **options,
        )  # fmt: skip
    assert case.expected is not None
    source = "the NumPy reference" if model.endswith(".mlir") else f"PyTorch {version('torch')}"
    return Bundle(
        model, case.contents, case.inputs, case.expected, source, case.tolerance,
        options | {"prune": prune},
    )  # fmt: skip
