"""The command line: what each command does, and one line and exit code 1 for each mistake."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rtmobile_iree import cli, model_source
from rtmobile_iree.errors import InputError

TINY = "rtmobile_iree.models:tiny_speech_gru"
USER_MODEL = '''
"""A user's own file, found through the working folder."""
import torch
from torch import nn

class Gru(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.gru = nn.GRU(4, hidden)

    def forward(self, x):
        return self.gru(x)[0]

module = Gru().eval()
training = Gru().train()
number = 3

def needs(size):
    return Gru(size)

def broken():
    raise RuntimeError("no weights here")

def infinite():
    made = Gru().eval()
    made.gru.weight_hh_l0.data[0, 0] = float("inf")
    return made
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a user's file of models."""
    (tmp_path / "own_model.py").write_text(USER_MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_model", None)


def run(*arguments: str) -> int:
    """Runs the command line; its exit code."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code or 0


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs what must fail; the one line that says why."""
    assert run(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("rtmobile: ")
    return lines[0]


@pytest.fixture(scope="module")
def vmfb(tmp_path_factory) -> Path:
    """A compiled tiny model."""
    path = tmp_path_factory.mktemp("compiled") / "model.vmfb"
    assert run("compile", TINY, "--output", str(path), "--prune", "4x1") == 0
    return path


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "train",
        "prune",
        "compile",
        "run",
        "stream",
        "bench",
        "transcribe",
        "eval",
        "inspect",
        "package",
        "doctor",
        "corpus",
    ],
)
def test_help(command, capsys):
    assert run(command, "--help") == 0
    assert "Usage: rtmobile" in capsys.readouterr().out


def test_wrong_usage(capsys):
    assert run("compile") == 2
    assert run("compiles") == 2
    assert run("compile", TINY, "--no-such-option") == 2


def test_compiling_says_what_is_encoded_and_what_stayed_dense(tmp_path, capsys):
    path = tmp_path / "dense.vmfb"
    assert run("compile", TINY, "--output", str(path)) == 0
    out = capsys.readouterr().out
    assert out.count("dense: ") == 5
    assert f"{path}: {path.stat().st_size:,} bytes" in out


def test_the_error_of_activations_is_asked_for(tmp_path, capsys):
    path = tmp_path / "rough.vmfb"
    arguments = ["compile", TINY, "--output", str(path), "--activation-error"]
    assert run(*arguments, "1e-3") == 0
    assert path.stat().st_size
    capsys.readouterr()
    assert "activation error 1e-09" in mistake(capsys, *arguments, "1e-9")


def test_the_roofline_is_one_cores(capsys):
    arguments = ["bench", TINY, "--roofline", "--threads", "2"]
    assert "--threads 2: it is one core's; use 1" in mistake(capsys, *arguments)


def test_running_a_compiled_file(vmfb, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "state.npy", np.zeros((2, 1, 32), np.float32))
    arguments = ["run", str(vmfb)]
    for name in ("x.npy", "state.npy"):
        arguments += ["--input", str(tmp_path / name)]
    arguments += ["--output", str(tmp_path / "y.npy")]
    assert run(*arguments) == 0
    assert "output 0: [1, 5, 8] float32" in capsys.readouterr().out
    module = model_source.load_module(TINY)
    from rtmobile_iree import prune

    prune(module, column_rate=4, row_rate=1)
    with torch.inference_mode():
        expected = module(torch.from_numpy(x), module.initial_state())[0]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected.numpy(), atol=1e-5)


def test_running_on_made_up_numbers(vmfb, capsys):
    assert run("run", str(vmfb), "--input", "f32[1,3,8]", "--input", "f32[2,1,32]") == 0
    assert "output 1: [2, 1, 32]" in capsys.readouterr().out


def test_inspecting(vmfb, capsys):
    assert run("inspect", str(vmfb)) == 0
    out = capsys.readouterr().out
    assert "gru" in out
    assert "input x: [1, any, 8] float32" in out
    assert run("inspect", str(vmfb), "--json") == 0
    assert json.loads(capsys.readouterr().out)["matrices"]


def test_pruning_to_a_program_and_to_weights(folder, capsys):
    arguments = ["--column-rate", "2", "--row-stripes", "4", "--col-blocks", "2"]
    assert run("prune", TINY, *arguments, "--output", "p.pt2") == 0
    assert "kept rows" in capsys.readouterr().out
    assert run("inspect", "p.pt2") == 0
    assert run("prune", TINY, *arguments, "--output", "p.pt") == 0
    weights = torch.load("p.pt", weights_only=True)
    assert (weights["gru.weight_hh_l0"] == 0).any()


def test_a_users_own_model(folder, capsys):
    arguments = ["--output", "own.vmfb", "--example-input", "f32[7,1,4]"]
    assert run("compile", "own_model:module", *arguments) == 0
    assert run("run", "own.vmfb", "--input", "f32[9,1,4]") == 0
    assert "output 0: [9, 1, 16]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nonsense", "use package.module:callable"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        (":f", "cannot import ''"),
        ("own_model:absent", "own_model has no 'absent'"),
        ("own_model:number", "no nn.Module but a value of type int"),
        ("own_model:needs", "takes arguments (size)"),
        ("own_model:broken", "failed: RuntimeError: no weights here"),
        ("own_model:module", "say each input: --example-input"),
        ("gone.pt2", "gone.pt2: no such file"),
        ("gone.mlir", "gone.mlir: no such file"),
    ],
)
def test_models_that_are_none(folder, capsys, model, message):
    assert message in mistake(capsys, "compile", model, "--output", "x.vmfb")
    assert not list(folder.glob("*x.vmfb*"))


@pytest.mark.parametrize("name", ["bad.pt2", "bad.mlir"])
def test_files_that_are_no_module(folder, capsys, name):
    (folder / name).write_bytes(b"\x00\x01 neither this nor that")
    assert name in mistake(capsys, "compile", name, "--output", "x.vmfb")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own_model:training", "--example-input", "f32[7,1,4]"], "training mode"),
        (["own_model:infinite", "--example-input", "f32[7,1,4]"], "gru.weight_hh_l0"),
        ([TINY, "--target", "toaster"], "host"),
        ([TINY, "--prune", "16"], "as 10x1"),
        ([TINY, "--example-input", "f31[2]"], "f31[2]"),
        ([TINY, "--example-input", "f32[2"], "write f32[1,30,40]"),
        ([TINY, "--example-input", "f32[0]"], "whole numbers from 1, or T"),
        ([TINY, "--example-input", "f32[99999,99999]"], "smaller sizes"),
    ],
)
def test_compilations_that_are_refused(folder, capsys, arguments, message):
    assert message in mistake(capsys, "compile", *arguments, "--output", "x.vmfb")
    assert not list(folder.glob("*x.vmfb*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x.txt"], "name it .pt2"),
        (["--output", "x.pt", "--column-rate", "0"], "column_rate"),
        (["--output", "x.pt", "--row-stripes", "100"], "row_stripes"),
        (["--output", "x.pt", "--layer", "lstm"], "lstm"),
        (["--output", "none/x.pt"], "No such file or directory"),
    ],
)
def test_prunings_that_are_refused(folder, capsys, arguments, message):
    given = ["--row-stripes", "4", "--col-blocks", "2", *arguments]
    assert message in mistake(capsys, "prune", TINY, *given)
    assert not list(folder.glob("*x.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "this program takes"),
        (["--input", "f32[1,3,8]"], "1 inputs given"),
        (["--input", "f32[1,3,9]", "--input", "f32[2,1,32]"], "[1, any, 8] float32"),
        (["--input", "f64[1,3,8]", "--input", "f32[2,1,32]"], "dtype float64"),
        (["--input", "none.npy", "--input", "f32[2,1,32]"], "none.npy: no readable .npy"),
    ],
)
def test_runs_that_are_refused(vmfb, capsys, arguments, message):
    assert message in mistake(capsys, "run", str(vmfb), *arguments)


def test_arrays_that_are_none(vmfb, folder, capsys):
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.npy").write_text("1 2 3")
    np.savez(folder / "two.npz", a=np.zeros(1), b=np.zeros(1))
    for name in ("empty.npy", "text.npy", "two.npz"):
        assert name in mistake(capsys, "run", str(vmfb), "--input", name)


def test_modules_that_are_none(folder, capsys):
    (folder / "bad.vmfb").write_bytes(b"no module")
    assert "bad.vmfb" in mistake(capsys, "run", "bad.vmfb")
    assert "gone.vmfb" in mistake(capsys, "inspect", "gone.vmfb")


def test_too_many_outputs(vmfb, tmp_path, capsys):
    outputs = [text for i in range(3) for text in ("--output", str(tmp_path / f"{i}.npy"))]
    inputs = ["--input", "f32[1,3,8]", "--input", "f32[2,1,32]"]
    assert "3 --output given" in mistake(capsys, "run", str(vmfb), *inputs, *outputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "tensorrt"], "use some of: torch, onnxruntime, iree-dense"),
        (["--steps", "0"], "whole numbers from 1"),
        (["--steps", "many"], "whole numbers from 1"),
        (["--rates", "ten"], "as 10x1"),
        (["--threads", "0"], "threads 0; use 1 to 32"),
        (["--json", "none/x.json"], "no folder"),
    ],
)
def test_benchmarks_that_are_refused(folder, capsys, arguments, message):
    assert message in mistake(capsys, "bench", TINY, *arguments)


def test_a_benchmark_of_a_file_takes_its_weights_as_they_are(folder, capsys):
    (folder / "m.mlir").write_text("module {}")
    line = mistake(capsys, "bench", "m.mlir", "--rates", "10x1")
    assert "not at rates 10x1; prune it first, with rtmobile prune" in line


def test_verbose_shows_the_traceback(capsys):
    assert run("compile", "nonsense", "--output", "x", "--verbose") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.strip().splitlines()[-1].startswith("rtmobile: MODEL 'nonsense'")


def test_a_full_disk(folder, capsys, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(cli.prune, "write_atomically", full)
    line = mistake(capsys, "prune", TINY, "--output", "x.pt")
    assert line == "rtmobile: x.pt: No space left on device"


def test_doctor(capsys):
    assert run("doctor") == 0
    out = capsys.readouterr().out
    assert "iree-benchmark-module" in out
    assert torch.__version__ in out


def test_doctor_says_what_is_missing(capsys, monkeypatch):
    from rtmobile_iree import doctor

    monkeypatch.setattr(doctor, "IREE_TOOLS", ("iree-no-such-tool",))
    assert "missing: iree-no-such-tool" in mistake(capsys, "doctor")


def test_example_inputs_follow_the_steps():
    (x,) = model_source.example_inputs(None, ["f32[1,T,4]"], steps=9)
    assert x.shape == (1, 9, 4)
    (index,) = model_source.example_inputs(None, ["i64[2]"])
    assert index.tolist() == [0, 0]
    with pytest.raises(InputError, match="write f32"):
        model_source.example_inputs(None, ["f32[1.5]"])


def test_ctrl_c_ends_with_130(tmp_path):
    """A real signal to a real process, in the middle of a command."""
    (tmp_path / "slow.py").write_text("import time\ndef model():\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "rtmobile_iree.cli", "compile", "slow:model", "--output", "x"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
