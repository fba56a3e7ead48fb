"""The one door to iree.compiler: MLIR text in, .vmfb bytes out."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from rtmobile_iree.errors import CompileError
from rtmobile_iree.targets import CpuTarget, Target

# What stays dense is IREE's: its best settings for batch-1 linear layers. O3 fuses around them; on
# a CPU data tiling alone makes a dense GRU 1.3 to 1.8 times faster.
FLAGS = ("--iree-opt-level=O3",)
CPU_FLAGS = ("--iree-opt-data-tiling=true",)


def compile_text(text: str, target: Target, *, extra_flags: tuple[str, ...] = ()) -> bytes:
    """Runs IREE's compiler on a module.

    Args:
        text: MLIR in the dialects IREE knows.
        target: machine to compile for.
        extra_flags: appended to the target's.

    Returns:
        The .vmfb.

    Raises:
        CompileError: IREE refused it; carries its diagnostics, the flags and a reproducer's path.
    """
    from iree.compiler.tools import CompilerToolError, compile_str

    own = CPU_FLAGS if isinstance(target, CpuTarget) else ()
    flags = [*target.iree_flags, *FLAGS, *own, *extra_flags]
    try:
        return compile_str(text, extra_args=flags)
    except CompilerToolError as error:
        path = _write_reproducer(text, flags)
        raise CompileError(
            f"iree-compile failed for target {target.name}: {_first_errors(str(error))}\n"
            f"flags: {shlex.join(flags)}\nreproduce with: bash {path}"
        ) from error


def _first_errors(stderr: str, count: int = 3) -> str:
    """The first diagnostics, without the dumps that follow them."""
    lines = [line for line in stderr.splitlines() if "error:" in line]
    return "\n".join(line[:500] for line in (lines or stderr.splitlines())[:count])


def _write_reproducer(text: str, flags: list[str]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rtmobile-reproducer-"))
    module = folder / "module.mlir"
    module.write_text(text)
    command = shlex.join(["iree-compile", str(module), *flags, "-o", str(folder / "module.vmfb")])
    script = folder / "reproduce.sh"
    script.write_text(f"#!/usr/bin/env bash\n{command}\n")
    return script
