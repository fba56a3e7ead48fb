"""The `rtmobile` command: one subcommand a room of the house, each a few lines over the Python API.

Results go to stdout, progress and errors to stderr. A user's mistake is one line and exit code 1.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

# each command adds itself to `app`; --help lists them in this order
# isort: off
from rtmobile_iree.cli import demo, corpus, train, tune, prune, compile, run  # noqa: F401
from rtmobile_iree.cli import stream, transcribe, eval, bench, inspect, package, doctor  # noqa: F401

# isort: on
from rtmobile_iree.cli.common import app
from rtmobile_iree.errors import RTMobileError


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
