"""Every tests/**/*.mlir: its RUN lines pass.

A RUN line is `// RUN: [not] bspc-opt %s ... [2>&1] [| filecheck %s ...]`, with a `\\` at the end to
go on in the next RUN line; %s is the file. No shell reads it, and bspc-opt runs in this process.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from rtmobile_iree import opt

ROOT = Path(__file__).parent
FILES = sorted(ROOT.rglob("*.mlir"))


def run_lines(text: str) -> list[str]:
    """The commands of a file, continuations joined."""
    joined = "\n".join(re.findall(r"^\s*// RUN:\s*(.*?)\s*$", text, re.MULTILINE))
    return joined.replace("\\\n", " ").splitlines()


def run(line: str, file: Path) -> None:
    """Runs one command; fails the test with what it printed."""
    tool, *checks = [[w.replace("%s", str(file)) for w in shlex.split(c)] for c in line.split("|")]
    must_fail = tool[0] == "not"
    tool = tool[1:] if must_fail else tool
    assert tool[0] == "bspc-opt", f"RUN: {line}: only bspc-opt is run"
    merged = tool[-1] == "2>&1"
    out = io.StringIO()
    err = out if merged else io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = opt.main(tool[1:-1] if merged else tool[1:])
    printed = out.getvalue() if merged else out.getvalue() + err.getvalue()
    assert (status != 0) == must_fail, f"RUN: {line}: exit status {status}\n{printed}"
    for check in checks:
        # FileCheck is LLVM's name for it, filecheck the Python package's
        assert check[0].lower() == "filecheck", f"RUN: {line}: only filecheck may follow the pipe"
        command = [sys.executable, "-m", "filecheck", *check[1:]]
        result = subprocess.run(command, input=out.getvalue(), capture_output=True, text=True)
        assert result.returncode == 0, f"RUN: {line}\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file(file: Path) -> None:
    lines = run_lines(file.read_text())
    assert lines, f"{file}: no RUN line, so it tests nothing"
    for line in lines:
        run(line, file)


def test_files_are_found() -> None:
    """Hazard: a moved folder leaves no file to test, and nothing fails."""
    assert FILES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bspc-opt %s | filecheck %s", "bspc.nothing"),
        ("bspc-opt %s --no-such-flag", "no-such-flag"),
        ("not bspc-opt %s", "exit status 0"),
        ("cat %s", "only bspc-opt"),
        ("bspc-opt %s | sort", "only filecheck"),
    ],
)
def test_a_failure_is_seen(line: str, reason: str, tmp_path: Path) -> None:
    """Hazard: a harness that passes everything."""
    file = tmp_path / "a.mlir"
    file.write_text("// CHECK: bspc.nothing\nfunc.func @main() {\n  return\n}\n")
    with pytest.raises(AssertionError, match=reason):
        run(line, file)


def test_continued_run_line() -> None:
    assert run_lines("// RUN: a \\\n// RUN: b | c\n// RUN: d\n") == ["a  b | c", "d"]
