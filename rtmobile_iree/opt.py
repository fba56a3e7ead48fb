"""bspc-opt: runs passes on a file, like mlir-opt.

    bspc-opt model.mlir --bspc-encode --bspc-reorder=workers=2 -o out.mlir

Passes run in the order given. Results go to stdout, dumps and errors to stderr; an error is one
line, and the exit status is 1. `rtmobile_iree/opt_diagnostics.py` defines `--verify-diagnostics`.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from rtmobile_iree.dialects.context import make_context
from rtmobile_iree.errors import InputError, RTMobileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.opt_diagnostics import Message, collect, differences, expectations
from rtmobile_iree.passes import Pass, registry, run_passes

SPLIT_MARKER = "// -----"
PIPELINE = "pass-pipeline"


@dataclass(frozen=True)
class PipelinePass:
    """Runs a pipeline of upstream passes, such as `builtin.module(canonicalize,cse)`."""

    name: ClassVar[str] = PIPELINE

    pipeline: str

    def run(self, module: ir.Operation) -> None:
        """Parses and runs the pipeline.

        Raises:
            InputError: the text names no pipeline; one that fails reports through the context.
        """
        try:
            manager = PassManager.parse(self.pipeline)
        except ValueError as error:
            reason = str(error).split("\n", 1)[0].rsplit("error: ", 1)[-1]
            raise InputError(
                f"bspc-opt: --{PIPELINE}={self.pipeline}: {reason}; "
                "write builtin.module(canonicalize,cse), say"
            ) from None
        manager.run(module)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    known = registry()
    try:
        args = parser(known).parse_args(_explicit(sys.argv[1:] if argv is None else argv, known))
        passes = [make_pass(name, text, known) for name, text in args.passes]
        text = _read(args.file)
        output, messages = process(text, passes, args)
        for message in messages:
            print(message, file=sys.stderr)
        if any(message.kind == "error" for message in messages):
            return 1
        _write(args.output, output)
    except RTMobileError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader has seen enough; keep Python from flushing into the closed pipe at exit
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser(known: dict[str, type[Any]]) -> argparse.ArgumentParser:
    """The command line: one flag a pass, and the options of mlir-opt that tests need."""
    result = _Parser(
        prog="bspc-opt",
        description="Runs passes on an MLIR file, in the order given.",
        allow_abbrev=False,
    )
    result.add_argument("file", nargs="?", default="-", help="FILE, or - for stdin (the default)")
    result.add_argument("-o", dest="output", default="-", metavar="FILE", help="default: stdout")
    result.add_argument("--split-input-file", action="store_true", help="at lines of // -----")
    result.add_argument(
        "--verify-diagnostics", action="store_true", help="compare with expected-error comments"
    )
    result.add_argument(
        "--allow-unregistered-dialect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="IREE's ops are not known here",
    )
    result.add_argument("--print-before-all", action="store_true", help="IR before each pass")
    result.add_argument("--print-after-all", action="store_true", help="IR after each pass")
    result.add_argument("--mlir-print-op-generic", action="store_true")
    result.add_argument("--mlir-print-debuginfo", action="store_true")
    result.add_argument(
        "--mlir-elide-elementsattrs-if-larger", dest="elide", type=int, metavar="ELEMENTS"
    )
    group = result.add_argument_group("passes", "--PASS or --PASS=option=value,option=value")
    for name, each in known.items():
        group.add_argument(f"--{name}", action=_AddPass, help=_summary(each))
    group.add_argument(f"--{PIPELINE}", action=_AddPass, help=_summary(PipelinePass))
    result.set_defaults(passes=[])
    return result


def make_pass(name: str, text: str, known: dict[str, type[Any]]) -> Pass:
    """The pass of one flag.

    Args:
        text: what follows `=`: `workers=2,other-option=3`, or "".

    Raises:
        InputError: the pass has no such option, or the value is of another type.
    """
    if name == PIPELINE:
        return PipelinePass(text)
    kind = known[name]
    hints = typing.get_type_hints(kind)
    types_by_option = {_kebab(f.name): hints[f.name] for f in dataclasses.fields(kind) if f.init}
    values: dict[str, Any] = {}
    for item in text.split(",") if text else []:
        option, equals, value = item.partition("=")
        if not equals or option not in types_by_option:
            raise InputError(
                f"bspc-opt: --{name}: no option {item!r}; "
                f"use {', '.join(f'{each}=...' for each in types_by_option) or 'none'}"
            )
        where = f"bspc-opt: --{name}={item}"
        values[option.replace("-", "_")] = _convert(value, types_by_option[option], where)
    try:
        return kind(**values)
    except TypeError:
        given = {_kebab(key) for key in values}
        fields = [f for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
        missing = [_kebab(f.name) for f in fields if _kebab(f.name) not in given]
        raise InputError(f"bspc-opt: --{name}: give {', '.join(missing)}") from None


def process(text: str, passes: list[Pass], args: argparse.Namespace) -> tuple[str, list[Message]]:
    """Runs the passes on every part of a file; returns the printed modules and the messages."""
    outputs, messages = [], []
    for part in split(text) if args.split_input_file else [text]:
        output, reported = process_part(part, passes, args)
        outputs.append(output)
        if args.verify_diagnostics:
            reported = differences(expectations(part), reported, _label(args.file))
        messages += reported
    return f"\n{SPLIT_MARKER}\n".join(outputs), messages


def process_part(
    text: str, passes: list[Pass], args: argparse.Namespace
) -> tuple[str, list[Message]]:
    """Runs the passes on one module in a context of its own."""

    def dump(when: str, each: Pass, module: ir.Operation) -> None:
        print(f"// -----// IR Dump {when} {each.name} //----- //", file=sys.stderr)
        print(_print(module, args), file=sys.stderr, flush=True)

    context = make_context()
    context.emit_error_diagnostics = True
    context.allow_unregistered_dialects = args.allow_unregistered_dialect
    with context, collect(context, _label(args.file)) as messages:
        try:
            module = ir.Module.parse(text)
            run_passes(
                module,
                passes,
                before=lambda each, op: dump("Before", each, op) if args.print_before_all else None,
                after=lambda each, op: dump("After", each, op) if args.print_after_all else None,
            )
            return _print(module.operation, args), messages
        except RTMobileError as error:
            messages.append(Message("error", str(error)))
        except ir.MLIRError as error:
            if not any(message.kind == "error" for message in messages):
                messages.append(Message("error", str(error).split("\n", 1)[0]))
    return "", messages


def split(text: str) -> list[str]:
    """The parts between lines of // -----, each keeping its line numbers in the whole file."""
    parts, lines, start = [], text.split("\n"), 0
    for number, line in enumerate([*lines, SPLIT_MARKER]):
        if line.startswith(SPLIT_MARKER):
            parts.append("\n" * start + "\n".join(lines[start:number]))
            start = number + 1
    return parts


class _Parser(argparse.ArgumentParser):
    """Reports a wrong flag like every other error: one line, exit status 1."""

    def error(self, message: str) -> typing.NoReturn:
        raise InputError(f"bspc-opt: {message}; bspc-opt --help lists the options")


class _AddPass(argparse.Action):
    """Appends (pass, text of its options) to `passes`."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, "passes", metavar="OPTIONS", **kwargs)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        assert option_string is not None
        namespace.passes = [*namespace.passes, (option_string.removeprefix("--"), values)]


def _explicit(argv: Sequence[str], known: dict[str, type[Any]]) -> list[str]:
    """A pass without options gets an empty text, so that it never takes the file name for one."""
    flags = {f"--{name}" for name in known}
    return [f"{each}=" if each in flags else each for each in argv]


def _convert(value: str, kind: Any, where: str) -> Any:
    """A pass option from its text."""
    if isinstance(kind, types.UnionType):
        if value == "none" and type(None) in typing.get_args(kind):
            return None
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    if kind is bool:
        if value not in ("true", "false"):
            raise InputError(f"{where}: use true or false")
        return value == "true"
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{where}: use a value of type {kind.__name__}") from None


def _summary(kind: type[Any]) -> str:
    """The first sentence of a pass's docstring, and its options, for --help."""
    line = (kind.__doc__ or "").strip().split("\n", 1)[0]
    options = [
        _kebab(f.name) if f.default is dataclasses.MISSING else f"{_kebab(f.name)}={f.default}"
        for f in dataclasses.fields(kind)
        if kind is not PipelinePass
    ]
    text = f"{line} [{', '.join(options)}]" if options else line
    return text.replace("%", "%%")


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _label(file: str) -> str:
    return "<stdin>" if file == "-" else file


def _print(module: ir.Operation, args: argparse.Namespace) -> str:
    text = module.get_asm(
        large_elements_limit=args.elide,
        enable_debug_info=args.mlir_print_debuginfo,
        print_generic_op_form=args.mlir_print_op_generic,
    )
    return re.sub(r"\n+\Z", "", text) + "\n"


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"bspc-opt: {_label(file)}: {reason}; give an .mlir text file") from None


def _write(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        raise InputError(f"bspc-opt: {file}: {error.strerror}; nothing was written") from None


if __name__ == "__main__":
    sys.exit(main())
