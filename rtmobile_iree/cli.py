"""The `rtmobile` command: one subcommand a room of the house, each a few lines over the Python API.

Results go to stdout, progress and errors to stderr. A user's mistake is one line and exit code 1.
"""

from __future__ import annotations

import io
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from rtmobile_iree.errors import InputError, RTMobileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.schedule import ACTIVATION_ERROR

if TYPE_CHECKING:
    from rtmobile_iree.bench import Settings
    from rtmobile_iree.program import Program
    from rtmobile_iree.report.encoding import Report

# what the table of a benchmark needs where it does not go to a terminal
BENCH_COLUMNS = 210

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Block-structured pruning of recurrent networks, compiled by IREE.",
)
err = Console(stderr=True)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="package.module:callable, FILE.pt2 or FILE.mlir")
]
ExampleInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--example-input",
        help="One forward() argument, as f32[1,30,40]; repeat it for each. "
        "Not needed where the model has example_inputs(steps).",
    ),
]
RATES_HELP = (
    "Our programs: column rate x row rate, or dense; with commas. 10x1,14.5x2,16x15.6 by default; "
    "a file is timed as it is."
)
PEERS_HELP = (
    "Peers, with commas; torch,onnxruntime,iree-dense by default. all: every one that is "
    "installed; the others are named."
)
Values = Annotated[
    str,
    typer.Option(
        help="How weights are stored: f32, f16, bf16, i8, or rules by name with commas: "
        "'*.weight_hh_*=i8,*=0.002'; a number is the greatest relative error."
    ),
]
Activations = Annotated[
    str, typer.Option(help="f32, or i8: inputs of i8 weights are quantized as they come.")
]
TargetName = Annotated[str, typer.Option("--target", help="Machine to compile for.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with 0, 1 after an error, 2 after wrong usage, 130 on Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in given
    if not verbose:
        warnings.filterwarnings("ignore")  # exporters warn of their own internals
    try:
        app([argument for argument in given if argument != "--verbose"], prog_name="rtmobile")
    except KeyboardInterrupt:
        sys.exit(130)
    except (RTMobileError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"rtmobile: {error_line(error)}", file=sys.stderr)
        sys.exit(1)


def error_line(error: Exception) -> str:
    """What went wrong, and for the system's own errors, with which file."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the traceback of an error, and warnings.")
    ] = False,
) -> None:
    """Options of every command; `main` reads --verbose wherever it stands."""


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


@app.command()
def compile(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the .vmfb.")],
    target: TargetName = "host",
    prune: Annotated[
        str | None, typer.Option(help="Prune first: column rate x row rate, as 16x2.")
    ] = None,
    example_input: ExampleInputs = None,
    dynamic_steps: Annotated[
        bool, typer.Option(help="Whether the program takes any number of time steps.")
    ] = True,
    activation_error: Annotated[
        float, typer.Option(help="Greatest absolute error of sigmoid and tanh.")
    ] = ACTIVATION_ERROR,
    values: Values = "f32",
    activations: Activations = "f32",
) -> None:
    """Compiles a model to a .vmfb that IREE's own tools run."""
    program = _compiled(
        model,
        target,
        prune,
        example_input or (),
        dynamic_steps,
        activation_error=activation_error,
        values=values,
        activations=activations,
    )
    program.save(output)
    print_report(program.report)
    out = console()
    out.print(f"{output}: {len(program.vmfb):,} bytes, target {program.target}", highlight=False)


def _compiled(
    model: str,
    target: str,
    prune: str | None,
    example_input: Sequence[str],
    dynamic_steps: bool,
    **options: Any,
) -> Program:
    """MODEL compiled, with a spinner; `options` are those of `rtmobile_iree.compile`."""
    from rtmobile_iree.model_source import example_inputs, load_model
    from rtmobile_iree.program import compile as compile_program

    source = load_model(model)
    inputs: tuple[Any, ...] | None = None
    if isinstance(source, Path):
        if prune is not None:
            raise InputError(f"--prune needs package.module:callable; {source} is a file")
        if example_input:
            inputs = example_inputs(None, example_input)
    else:
        inputs = example_inputs(source, example_input)
        source = _pruned(source, prune)
    with err.status("compiling") as status:
        return compile_program(
            source,
            inputs,
            target,
            dynamic_steps,
            progress=status.update,
            **options,
        )


def _pruned(module: Any, rate: str | None) -> Any:
    """The module, pruned in place when a rate is given."""
    from rtmobile_iree import prune as prune_module
    from rtmobile_iree.bench.models import parse_rate

    if rate is not None:
        columns, rows = parse_rate(rate)
        prune_module(module, column_rate=columns, row_rate=rows)
    return module


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


@app.command()
def bench(
    model: Model,
    peers: Annotated[
        str | None,
        typer.Option("--peers", "--against", help=PEERS_HELP),
    ] = None,
    steps: Annotated[str, typer.Option(help="Time steps of a call, with commas.")] = "1,30",
    rates: Annotated[str | None, typer.Option(help=RATES_HELP)] = None,
    threads: Annotated[int, typer.Option(help="Threads of each contender.")] = 1,
    rounds: Annotated[int, typer.Option(help="Bursts of each contender.")] = 7,
    target: TargetName = "host",
    json: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the times here.")
    ] = None,
    example_input: ExampleInputs = None,
    values: Values = "f32",
    activations: Activations = "f32",
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Against this machine's limits, not other engines.")
    ] = False,
) -> None:
    """Times compiled programs against other engines, in alternating bursts."""
    from rtmobile_iree.bench import Settings, check_plot, results_table, run_bench, write_plot

    settings = Settings(
        against=None if peers is None else tuple(names(peers)),
        steps=tuple(whole_number("--steps", text) for text in names(steps)),
        rates=None if rates is None else tuple(names(rates)),
        threads=threads,
        rounds=rounds,
        values=values,
        activations=activations,
    )
    if json is not None and not json.absolute().parent.is_dir():
        raise InputError(f"--json {json}: no folder {json.absolute().parent}")
    if roofline:
        _roofline(model, settings, target, json, example_input or ())
        return
    if plot is not None:
        check_plot(plot)
    with err.status("starting") as status:
        results = run_bench(
            model, settings, inputs=example_input or (), target=target, progress=status.update
        )
    console(BENCH_COLUMNS).print(results_table(results))
    if json is not None:
        results.save(json)
    if plot is not None:
        write_plot(results, plot)
    bad = [f"{m.name} at {m.steps} steps" for m in results.measurements if m.status != "ok"]
    if bad:
        raise InputError(f"not timed: {', '.join(bad)}; see the table")


def _roofline(
    model: str, settings: Settings, target: str, json: Path | None, inputs: Sequence[str]
) -> None:
    """`bench --roofline`: what the machine allows, what a call takes, and on what."""
    from rtmobile_iree.bench.roofline import run_roofline
    from rtmobile_iree.bench.roofline_table import roofline_table

    if (settings.values, settings.activations) != ("f32", "f32"):
        raise InputError("--roofline: the bound is stated for f32; leave --values out")
    if settings.threads > 1:
        raise InputError(f"--roofline --threads {settings.threads}: it is one core's; use 1")
    with err.status("starting") as status:
        results = run_roofline(
            model, settings, inputs=inputs, target=target, progress=status.update
        )
    console().print(roofline_table(results))
    if json is not None:
        results.save(json)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL|FILE.vmfb")],
    target: TargetName = "host",
    prune: Annotated[
        str | None, typer.Option(help="Prune first: column rate x row rate, as 16x2.")
    ] = None,
    example_input: ExampleInputs = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prints what is encoded in a program, how well it fits, and what stayed dense and why."""
    if Path(model).suffix == ".vmfb":
        from rtmobile_iree.program import load

        program = load(model)
    else:
        program = _compiled(model, target, prune, example_input or (), True)
    if json:
        print(program.report.to_json())
        return
    print_report(program.report)
    for spec in program.inputs:
        console().print(f"input {spec.name}: {spec}", highlight=False)


@app.command()
def doctor() -> None:
    """Says what is installed, what this machine can do, and what is missing."""
    from rtmobile_iree.doctor import examine

    findings = examine()
    console().print(findings.table())
    if findings.missing:
        raise InputError(f"missing: {'; '.join(findings.missing)}")


def print_report(report: Report) -> None:
    """The report: its table, and a line for each matrix that stayed dense and why."""
    console().print(str(report), highlight=False, markup=False, soft_wrap=True)


def console(width: int = 140) -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width)


def names(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole_number(option: str, text: str) -> int:
    """A whole number from 1.

    Raises:
        InputError: it is none.
    """
    if not text.isdecimal() or not int(text):
        raise InputError(f"{option} {text!r}: use whole numbers from 1")
    return int(text)


if __name__ == "__main__":
    main()
