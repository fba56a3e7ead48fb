"""bspc-opt: flags, passes in order, diagnostics compared, errors of one line, whole files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from rtmobile_iree.passes import registry
from torch_mlir import ir

from rtmobile_iree import opt
from rtmobile_iree.errors import InputError
from rtmobile_iree.opt_diagnostics import expectations

MATMUL = """
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x3xf32> {
  %w = arith.constant dense<1.0> : tensor<3x4xf32>
  %unused = arith.constant 1 : index
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<?x4xf32>, tensor<3x4xf32>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
"""
BROKEN = MATMUL.replace("3x4xf32", "2x4xf32")
MESSAGE = "bspc.matmul fc: w [2, 4] without a reorder; the results need 3 rows"
CSE = "--pass-pipeline=builtin.module(canonicalize,cse)"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs bspc-opt on a text: its status, stdout and stderr with FILE for the file's name."""

    def run(text: str, *flags: str) -> tuple[int, str, str]:
        file = tmp_path / "in.mlir"
        file.write_text(text)
        status = opt.main([str(file), *flags])
        out, err = capsys.readouterr()
        return status, out, err.replace(str(file), "FILE")

    return run


def test_prints_what_it_reads(run: Run) -> None:
    status, out, err = run(MATMUL)
    assert (status, err) == (0, "")
    assert out.endswith("}\n")
    assert not out.endswith("\n\n")
    assert run(out) == (0, out, "")


def test_reads_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(BROKEN))
    assert opt.main([]) == 1
    assert capsys.readouterr().err == f"<stdin>:5:8: error: {MESSAGE}\n"


def test_error_is_one_line(run: Run) -> None:
    assert run(BROKEN) == (1, "", f"FILE:5:8: error: {MESSAGE}\n")
    assert run("func.func @main(")[2].startswith("FILE:1:16: error: ")


def test_upstream_pipeline(run: Run) -> None:
    assert "index" in run(MATMUL)[1]
    assert "index" not in run(MATMUL, CSE)[1]


def test_dumps_follow_the_order_of_the_flags(run: Run) -> None:
    flags = [CSE, "--bspc-reorder", "--bspc-encode=threshold=0.5"]
    _, out, err = run(MATMUL, *flags, "--print-before-all", "--print-after-all")
    titles = [line for line in err.splitlines() if line.startswith("// -----//")]
    assert titles == [
        f"// -----// IR Dump {when} {name} //----- //"
        for name in ("pass-pipeline", "bspc-reorder", "bspc-encode")
        for when in ("Before", "After")
    ]
    assert err.count("func.func @main") == 6
    assert err.endswith(f"{out}\n")


def test_a_pass_never_takes_the_file_for_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.mlir"
    file.write_text(MATMUL)
    assert opt.main(["--bspc-reorder", str(file)]) == 0
    assert "bspc.matmul" in capsys.readouterr().out


def test_split_input_file(run: Run) -> None:
    status, out, _ = run(f"{MATMUL}// -----\n{MATMUL}", "--split-input-file", CSE)
    assert status == 0
    assert out.count("module {") == 2
    assert out.count("\n// -----\n") == 1
    assert run(out, "--split-input-file") == (0, out, "")


def test_split_parts_keep_their_line_numbers(run: Run) -> None:
    """An error in one part does not hide that of a later one."""
    status, out, err = run(f"{BROKEN}// -----\n{MATMUL}// -----\n{BROKEN}", "--split-input-file")
    assert (status, out) == (1, "")
    assert [line.split(" ")[0] for line in err.splitlines()] == ["FILE:5:8:", "FILE:21:8:"]


@pytest.mark.parametrize(
    "comment",
    [
        "  // expected-error@+1 {{without a reorder}}\n",
        "  // expected-error@below {{without a reorder}}\n",
        "  // expected-error-re@+1 {{w {{\\[[0-9], 4\\]}} without a reorder}}\n",
    ],
)
def test_expected_error(run: Run, comment: str) -> None:
    text = BROKEN.replace("  %y =", f"{comment}  %y =")
    assert run(text, "--verify-diagnostics") == (0, "", "")


@pytest.mark.parametrize("place", ["@-1", "@above"])
def test_expected_error_above(run: Run, place: str) -> None:
    comment = f"  // expected-error{place} {{{{without a reorder}}}}\n"
    text = BROKEN.replace("  return", f"{comment}  return")
    assert run(text, "--verify-diagnostics")[0] == 0


def test_expected_error_on_its_line(run: Run) -> None:
    text = BROKEN.replace(
        "tensor<?x3xf32>\n  return", "tensor<?x3xf32> // expected-error {{reorder}}\n  return"
    )
    assert run(text, "--verify-diagnostics")[0] == 0


def test_expected_error_of_a_pass(run: Run) -> None:
    """A pass that raises names no place in the file."""
    comment = "// expected-error@unknown {{bspc-reorder: workers = 0; use 1 or more}}"
    assert run(comment + MATMUL, "--bspc-reorder=workers=0", "--verify-diagnostics")[0] == 0


@pytest.mark.parametrize(
    "comment",
    [
        "// expected-error@+1 {{something else}}",
        "// expected-error@+2 {{without a reorder}}",
        "// expected-error@unknown {{without a reorder}}",
        "// expected-warning@+1 {{without a reorder}}",
        "// expected-error-re@+1 {{w {{[a-z]+}} without}}",
    ],
)
def test_wrong_expectation_fails_twice(run: Run, comment: str) -> None:
    """Once for the error that came, once for the one that did not."""
    text = BROKEN.replace("  %y =", f"  {comment}\n  %y =")
    status, _, err = run(text, "--verify-diagnostics")
    came, missing = err.splitlines()
    assert status == 1
    assert came == f"FILE:6:8: error: unexpected error: {MESSAGE}"
    assert missing.startswith("FILE:5:1: error: expected ")
    assert missing.endswith(" was not produced")


def test_missing_error_fails(run: Run) -> None:
    status, _, err = run("// expected-error {{anything}}" + MATMUL, "--verify-diagnostics")
    assert (status, err) == (1, 'FILE:1:1: error: expected error "anything" was not produced\n')


def test_unexpected_error_fails(run: Run) -> None:
    assert run(BROKEN, "--verify-diagnostics")[0] == 1


def test_one_comment_meets_one_error(run: Run) -> None:
    """Hazard: one expectation that swallows every error on its line."""
    comment = "  // expected-error@+1 {{reorder}}\n"
    text = BROKEN.replace("  %y =", f"{comment}{comment.replace('+1', '+0')}  %y =")
    assert run(text, "--verify-diagnostics")[0] == 1


def test_below_and_above_skip_other_comments() -> None:
    text = "a\n// expected-note@above {{1}}\n// expected-error@below {{2}}\n\nb"
    assert [(each.kind, each.line) for each in expectations(text)] == [("note", 1), ("error", 4)]


def test_output_file(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.mlir"
    assert run(MATMUL, "-o", str(target)) == (0, "", "")
    assert "bspc.matmul" in target.read_text()


def test_failure_keeps_the_old_file(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.mlir"
    target.write_text("old")
    assert run(BROKEN, "-o", str(target))[0] == 1
    assert run(MATMUL, "--bspc-reorder=workers=0", "-o", str(target))[0] == 1
    assert target.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mlir", "out.mlir"]


def test_output_folder_missing(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "no" / "out.mlir"
    message = f"bspc-opt: {target}: No such file or directory; nothing was written\n"
    assert run(MATMUL, "-o", str(target)) == (1, "", message)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--bspc-reorder=worker=2", "--bspc-reorder: no option 'worker=2'; use workers=..."),
        ("--bspc-reorder=workers", "--bspc-reorder: no option 'workers'; use workers=..."),
        ("--bspc-pack=a=1", "--bspc-pack: no option 'a=1'; use values=..."),
        ("--bspc-reorder=workers=two", "--bspc-reorder=workers=two: use a value of type int"),
        ("--no-such", "unrecognized arguments: --no-such; bspc-opt --help lists the options"),
        ("--pass-pipeline=builtin.module(x)", "'x' does not refer to a registered pass or"),
        ("--pass-pipeline=", "bspc-opt: --pass-pipeline=: "),
    ],
)
def test_wrong_flags(run: Run, flag: str, message: str) -> None:
    status, out, err = run(MATMUL, flag)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_failing_upstream_pass(run: Run) -> None:
    text = MATMUL.replace("%unused = arith.constant 1 : index", "func.call @no() : () -> ()")
    status, _, err = run(text, CSE)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("FILE:4:3: error: ")


@pytest.mark.parametrize(
    ("name", "reason"), [("none.mlir", "No such file"), (".", "Is a directory"), ("b", "not UTF-8")]
)
def test_unreadable_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    assert opt.main([str(tmp_path / name)]) == 1
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


def test_unregistered_dialects(run: Run) -> None:
    text = 'func.func @main() {\n  "flow.nothing"() : () -> ()\n  return\n}\n'
    assert run(text)[0] == 0
    status, _, err = run(text, "--no-allow-unregistered-dialect")
    assert status == 1
    assert err.startswith("FILE:2:17: error: ")


def test_printing_options(run: Run) -> None:
    named = MATMUL.replace(
        "%w = arith.constant dense<1.0> : tensor<3x4xf32>",
        "%w = arith.constant dense<[[1., 2., 3., 4.], [0., 0., 0., 0.], [0., 0., 0., 0.]]> : "
        'tensor<3x4xf32> loc("fc.weight")',
    )
    assert "fc.weight" not in run(named)[1]
    assert "fc.weight" in run(named, "--mlir-print-debuginfo")[1]
    assert '"func.func"' in run(named, "--mlir-print-op-generic")[1]
    assert "__elided__" in run(named, "--mlir-elide-elementsattrs-if-larger", "4")[1]


def test_help_lists_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        opt.main(["--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, kind in registry().items():
        assert f"--{name} " in words
        assert kind.__doc__
        assert " ".join(kind.__doc__.strip().split("\n", 1)[0].split()) in words


@dataclass(frozen=True)
class Example:
    """An example."""

    name: ClassVar[str] = "example"

    needed_size: int
    flag: bool = False
    rate: float | None = 0.5
    label: str = ""

    def run(self, module: object) -> None: ...


KNOWN = {"example": Example}


def test_options_of_every_type() -> None:
    made = opt.make_pass("example", "needed-size=3,flag=true,rate=none,label=a=b", KNOWN)
    assert made == Example(3, True, None, "a=b")
    assert opt.make_pass("example", "needed-size=3,rate=2", KNOWN) == Example(3, rate=2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bspc-opt: --example: give needed-size"),
        ("needed-size=1,flag=1", "bspc-opt: --example=flag=1: use true or false"),
        ("needed-size=1,rate=x", "bspc-opt: --example=rate=x: use a value of type float"),
        ("needed_size=1", "no option 'needed_size=1'; use needed-size=..., flag=..., rate=..."),
    ],
)
def test_wrong_options(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        opt.make_pass("example", text, KNOWN)
    assert message in str(error.value)


def test_installed_command_survives_a_closed_pipe(tmp_path: Path) -> None:
    """Hazard: `bspc-opt big.mlir | head` that ends in a traceback."""
    file = tmp_path / "a.mlir"
    # more than a pipe holds, so that writing meets the closed end
    file.write_text("\n".join(MATMUL.replace("@main", f"@f{i}") for i in range(500)))
    command = Path(sys.executable).with_name("bspc-opt")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        result = subprocess.run([command, file], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert result.stderr == b""


def test_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(opt, "process", interrupt)
    assert run(MATMUL) == (130, "", "")


def test_pass_that_fails_without_a_diagnostic(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hazard: an exit status of 0, or of 1 with no word why."""

    def fail(*_: object, **__: object) -> None:
        raise ir.MLIRError("no reason given")

    monkeypatch.setattr(opt, "run_passes", fail)
    assert run(MATMUL) == (1, "", "error: no reason given\n")
