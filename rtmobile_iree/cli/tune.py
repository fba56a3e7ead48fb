"""`rtmobile tune`: the block sizes that keep the accuracy and run fast."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, SupportsFloat

import typer

from rtmobile_iree.cli.common import (
    Activations,
    Cores,
    CpuName,
    TargetName,
    Values,
    app,
    console,
    err,
    names,
    whole_number,
)
from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from rtmobile_iree.tune import Blocks, Objective


@app.command()
def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="package.module:callable, before pruning")
    ],
    objective: Annotated[
        str,
        typer.Argument(
            metavar="OBJECTIVE",
            help="package.module:callable; takes the model, row_stripes and col_blocks, prunes it "
            "in place, trains it if need be, and returns its error.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the search; workers may share it.")
    ],
    row_stripes: Annotated[
        str | None, typer.Option(help="To choose from, as 8,16,48; or for stripes of 4, 8 .. rows.")
    ] = None,
    col_blocks: Annotated[
        str | None, typer.Option(help="To choose from; or 1, 2, 4 .. 64.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Finished trials wanted of all workers; or every size.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Database to share, as sqlite:///FILE; or the folder's own.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Time steps of a call.")] = 30,
    target: TargetName = "host",
    cpu: CpuName = None,
    values: Values = "f32",
    activations: Activations = "f32",
    device: Annotated[
        str, typer.Option("--device", help="Where to time: local, ssh:HOST[:PORT], adb[:SERIAL].")
    ] = "local",
    cores: Cores = None,
    rounds: Annotated[int, typer.Option(help="To time the best in, by turns, at the end.")] = 5,
    seed: Annotated[int | None, typer.Option(help="Of the choices.")] = None,
) -> None:
    """Searches block sizes over error and measured time; several may run on one folder."""
    from rtmobile_iree.model_source import load_module
    from rtmobile_iree.options import Options

    _check_installed()
    from rtmobile_iree.tune import BlockSpace, Timing, block_space, search_blocks, write_picture

    judge = _objective(objective)
    stripes, blocks = _numbers("--row-stripes", row_stripes), _numbers("--col-blocks", col_blocks)
    offered = block_space(load_module(model))
    space = BlockSpace(stripes or offered.row_stripes, blocks or offered.col_blocks)
    options = Options(values, activations)
    timing = Timing(target, cpu, device, {"cores": cores}, steps, options, rounds=rounds)
    with err.status("starting") as status:

        def progress(line: str) -> None:
            err.print(line, highlight=False) if "failed" in line else status.update(line)

        result = search_blocks(
            lambda: load_module(model),
            judge,
            space,
            output,
            name=f"{model} {objective}",
            timing=timing,
            trials=trials,
            storage=storage,
            seed=seed,
            progress=progress,
        )
    write_picture(result, output / "pareto.png")
    console().print(result.table())
    console().print(f"{len(result.trials)} block sizes tried; written: {output}/pareto.json, .png")


def _check_installed() -> None:
    missing = [name for name in ("optuna", "filelock") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"tune: {' and '.join(missing)} not installed; pip install 'rtmobile-iree[tune]'"
        )


def _objective(text: str) -> Objective:
    """The callable that OBJECTIVE names."""
    from rtmobile_iree.model_source import find_object

    found: Any = find_object(text, "OBJECTIVE")
    if not callable(found):
        raise InputError(f"OBJECTIVE {text!r} is a {type(found).__name__}; name a callable")

    def objective(module: nn.Module, blocks: Blocks) -> float:
        error = found(module, blocks.row_stripes, blocks.col_blocks)
        if not isinstance(error, SupportsFloat):
            kind = type(error).__name__
            raise InputError(f"OBJECTIVE {text!r} returns a {kind}; return the error, a number")
        return float(error)

    return objective


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    return tuple(whole_number(option, part) for part in names(text or ""))
