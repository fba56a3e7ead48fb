"""ARM64 in the emulator: models of several layers, the device, its set-up, and what it counts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.bench import Settings
from rtmobile_iree.bench.devices.instructions import run_instructions
from rtmobile_iree.cli import main
from rtmobile_iree.devices import emulator, get_device

pytestmark = pytest.mark.arm64
PAPER = "rtmobile_iree.models:paper_gru"
RESULTS = Path(__file__).parents[1] / "docs/results/arm64_instructions.json"


class Model(nn.Module):
    """A GRU with most gates constant, an LSTM with a projection, an RNN, and an output layer."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(9, 37, 2, bidirectional=True)
        self.lstm = nn.LSTM(74, 19, proj_size=11)
        self.rnn = nn.RNN(11, 1)
        self.fc = nn.Linear(1, 13)

    def forward(self, x):
        y, _ = self.gru(x)
        y, (_, c) = self.lstm(y)
        return self.fc(self.rnn(y)[0]), c


def test_a_core_without_extensions_computes_pytorchs(arm64):
    torch.manual_seed(0)
    model = Model().eval()
    for layer in (model.gru, model.lstm):
        rt.prune(layer, column_rate=2, row_rate=4, row_stripes=3, col_blocks=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    x = torch.randn(30, 3, 9)
    program = rt.compile(model, x, "arm64-linux", values={"*_l1*": "bf16", "*": "f32"})
    assert program.cpu == "generic"
    assert {m.value_type for m in program.report.matrices} == {"bf16", "f32"}
    for steps in (1, 30):
        with torch.no_grad():
            expected = model(x[:steps])
        for mine, theirs in zip(
            arm64.run(program.vmfb, [x[:steps].numpy()]), expected, strict=True
        ):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch"), [(40, 64, 2, 1), (9, 37, 1, 3)])
def test_smmla_sums_what_sdot_does(arm64, inputs, hidden, layers, batch):
    """Integer sums are exact, so cores with and without i8mm give the same bits."""
    torch.manual_seed(0)
    gru = nn.GRU(inputs, hidden, layers).eval()
    rt.prune(gru, column_rate=2, row_rate=1, row_stripes=3, col_blocks=1)
    x = torch.randn(30, batch, inputs)
    programs = [
        rt.compile(gru, x, "arm64-linux", cpu=cpu, values="i8", activations="i8")
        for cpu in ("cortex-a76", "cortex-x3")
    ]
    for steps in (1, 30):
        sdot, smmla = (arm64.run(p.vmfb, [x[:steps].numpy()]) for p in programs)
        with torch.no_grad():
            expected, _ = gru(x[:steps])
        np.testing.assert_allclose(smmla[0], expected.numpy(), rtol=0, atol=0.05)
        for mine, theirs in zip(smmla, sdot, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def small(arm64, tmp_path_factory):
    """A program's file, its input's and its outputs."""
    torch.manual_seed(0)
    folder, x = tmp_path_factory.mktemp("small"), torch.randn(3, 1, 5)
    module = nn.GRU(5, 8).eval()
    program = rt.compile(module, x, "arm64-android", cpu="cortex-a55")
    program.save(folder / "model.vmfb")
    np.save(folder / "x.npy", x.numpy())
    with torch.no_grad():
        return program, folder, [each.numpy() for each in module(x)]


def test_the_command_line_runs_it(small, tmp_path, capsys):
    _, folder, (y, _) = small
    out = tmp_path / "y.npy"
    main_ok("run", folder / "model.vmfb", "--device", "qemu",
            "--input", folder / "x.npy", "--output", out)  # fmt: skip
    np.testing.assert_allclose(np.load(out), y, atol=1e-6)
    assert "output 1: [1, 1, 8] float32" in capsys.readouterr().out


def main_ok(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in arguments])
    assert stop.value.code == 0


def test_a_call_that_fails_there_is_told(arm64, small):
    program, _, _ = small
    with pytest.raises(rt.DeviceError, match="qemu: iree-run-module failed"):
        arm64.run(program.vmfb, [np.zeros((3, 1, 6), np.float32)])


def test_emulated_time_is_refused(arm64, small):
    program, _, _ = small
    with pytest.raises(rt.DeviceError, match="an emulator's time is no ARM64 machine's"):
        arm64.benchmark(program.vmfb, [], repetitions=1)


def test_instructions_grow_with_the_steps(arm64, small):
    program, _, _ = small
    counts = [
        arm64.instructions(program.vmfb, [np.zeros((steps, 1, 5), np.float32)], calls=20)
        for steps in (16, 32, 48)
    ]
    assert counts[0] > 16 * 3 * 8 * 13 / 4  # one instruction for four multiply-adds at least
    assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], rel=0.2)


def test_without_an_emulator_it_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(rt.DeviceError, match="make arm64.*apt-get install qemu-user libc6-arm64"):
        get_device("qemu")


def test_without_a_compiler_nothing_is_counted(arm64, small, monkeypatch, tmp_path):
    program, folder, _ = small
    monkeypatch.setattr(emulator, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(rt.DeviceError, match="needs a C compiler; apt-get install gcc"):
        arm64.instructions(program.vmfb, [np.load(folder / "x.npy")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "torch"], "the one peer there is iree-dense"),
        (["--plot", "x.png"], "--roofline and --plot are this machine's"),
        (["--cpu", "i486"], "cpu 'i486' is not known"),
    ],
)
def test_what_cannot_be_counted_is_refused(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(["bench", PAPER, "--device", "qemu", *arguments])
    assert message in capsys.readouterr().err


def test_another_machines_programs_are_not_timed_here(capsys):
    with pytest.raises(SystemExit):
        main(["bench", PAPER, "--target", "arm64-linux"])
    assert "arm64-linux: this machine is timed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_takes_fewer_instructions_than_stock_iree_dense(arm64):
    """1/10 of the weights: at most 1/8; 1/245: at most 1/60. The file has 30 steps as well."""
    results = run_instructions(
        PAPER, Settings(steps=(1,), rates=("10x1", "16x15.6")), cpu="cortex-a76"
    )
    tenth, least = results.rows
    assert tenth.times_fewer >= 8
    assert least.times_fewer >= 60
    fields = json.loads(results.to_json())
    assert fields["cpu"] == "cortex-a76"
    assert fields["rows"][0]["per_frame"] == tenth.instructions


def test_the_results_kept_hold_what_is_asked():
    rows = json.loads(RESULTS.read_text())["rows"]
    asked = {"10x1": 8, "16x15.6": 60}
    found = [(row["rate"], row["steps"]) for row in rows if row["rate"] in asked]
    assert found == [("10x1", 1), ("10x1", 30), ("16x15.6", 1), ("16x15.6", 30)]
    for row in rows:
        assert row["times_fewer"] >= asked.get(row["rate"], 8)
