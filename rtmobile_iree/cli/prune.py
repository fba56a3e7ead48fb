"""`rtmobile prune`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rtmobile_iree.cli.common import ExampleInputs, Model, app, console, err
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically


@app.command()
def prune(
    model: Model,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="FILE.pt2 for a program, FILE.pt for its weights."),
    ],
    column_rate: Annotated[float, typer.Option(help="Columns of a stripe over kept ones.")] = 16,
    row_rate: Annotated[float, typer.Option(help="Rows of a matrix over kept ones.")] = 2,
    row_stripes: Annotated[int, typer.Option(help="Row stripes of a matrix.")] = 48,
    col_blocks: Annotated[int, typer.Option(help="Column blocks of a stripe.")] = 8,
    layer: Annotated[
        list[str] | None, typer.Option(help="A matrix or layer to prune; repeat it for more.")
    ] = None,
    example_input: ExampleInputs = None,
) -> None:
    """Prunes the recurrent weights of a model and writes it."""
    from rtmobile_iree import prune as prune_module
    from rtmobile_iree.model_source import load_module

    if output.suffix not in (".pt2", ".pt"):
        raise InputError(f"--output {output}: name it .pt2 (program) or .pt (weights)")
    module = load_module(model)
    report = prune_module(
        module,
        column_rate=column_rate,
        row_rate=row_rate,
        row_stripes=row_stripes,
        col_blocks=col_blocks,
        layers=layer,
    )
    with err.status(f"writing {output}"):
        write_atomically(output, _module_bytes(module, output, example_input or ()))
    console().print(str(report), highlight=False)


def _module_bytes(module: Any, output: Path, example_input: Sequence[str]) -> bytes:
    """The module as torch.export saves it, or its weights as torch.save does."""
    import torch

    from rtmobile_iree.model_source import example_inputs

    buffer = io.BytesIO()
    if output.suffix == ".pt":
        torch.save(module.state_dict(), buffer)
    else:
        inputs = example_inputs(module, example_input)
        torch.export.save(torch.export.export(module, inputs, strict=False), buffer)
    return buffer.getvalue()
