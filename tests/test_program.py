"""From nn.Module to a running .vmfb: PyTorch's numbers, whatever the shape and the zeros."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.models import speech_gru
from rtmobile_iree.speech import clip_frames

TOLERANCE = 1e-4  # what is promised; what is seen is below 1e-6


class Tagger(nn.Module):
    """GRU and a linear layer, the state in and out."""

    def __init__(self, inputs, hidden, layers=1, classes=3, bias=True, batch_first=False):
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, bias=bias, batch_first=batch_first)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x, h):
        y, h = self.gru(x, h)
        return self.fc(y), h


def tagger(*args, seed=0, **options):
    torch.manual_seed(seed)
    return Tagger(*args, **options).eval()


def inputs(model, steps, batch=1, seed=0):
    """Frames [T, B, I] (or batch first) and a state that is not zero."""
    rng = np.random.default_rng(seed)
    gru = model.gru
    shape = (batch, steps, gru.input_size) if gru.batch_first else (steps, batch, gru.input_size)
    x = torch.from_numpy(rng.standard_normal(shape, np.float32))
    h = torch.from_numpy(rng.uniform(-1, 1, (gru.num_layers, batch, gru.hidden_size)))
    return x, h.float()


def check(program, model, *values):
    with torch.no_grad():
        expected = model(*values)
    expected = expected if isinstance(expected, tuple) else (expected,)
    got = program(*values)
    got = got if isinstance(got, tuple) else (got,)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == tuple(theirs.shape)
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


def prune_rows_and_columns(module, keep_columns, keep_rows, stripes, seed=0):
    """Zeros in row stripes and whole rows, random: what no recipe would produce may come too."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "weight" not in name:
                continue
            for rows in np.array_split(np.arange(weight.shape[0]), stripes):
                dead = np.flatnonzero(rng.random(weight.shape[1]) >= keep_columns)
                weight[np.ix_(rows, dead)] = 0
            weight[np.flatnonzero(rng.random(weight.shape[0]) >= keep_rows)] = 0


ZEROS = {
    "dense": (1.0, 1.0, 1),
    "columns": (0.2, 1.0, 3),
    "columns and rows": (0.3, 0.5, 3),
    "few rows": (0.3, 0.05, 2),
    "all pruned": (0.0, 1.0, 1),
}


@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize("hidden", [1, 17, 64, 65])
def test_outputs_are_pytorchs_for_any_zeros_and_size(hidden, zeros):
    model = tagger(5, hidden, layers=2)
    prune_rows_and_columns(model.gru, *ZEROS[zeros])
    program = rt.compile(model, inputs(model, 4))
    for steps in (1, 3, 16, 17):
        check(program, model, *inputs(model, steps, seed=steps))


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 1, "bias": False},
        {"layers": 3},
        {"batch_first": True},
        {"batch_first": True, "batch": 3},
        {"batch": 2, "layers": 2},
        {"batch": 7},
    ],
    ids=str,
)
def test_outputs_are_pytorchs_for_any_form_of_gru(options):
    options = dict(options)
    batch = options.pop("batch", 1)
    model = tagger(6, 33, **options)
    prune_rows_and_columns(model, 0.3, 0.7, 3)
    program = rt.compile(model, inputs(model, 5, batch))
    for steps in (1, 2, 19):
        check(program, model, *inputs(model, steps, batch, seed=steps))


def test_a_state_that_is_not_given_is_zero():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 8, 2)

        def forward(self, x):
            return self.gru(x)[0]

    torch.manual_seed(0)
    model = Encoder().eval()
    program = rt.compile(model, (torch.zeros(3, 1, 4),))
    result = program(np.ones((7, 1, 4), np.float32))
    with torch.no_grad():
        expected = model(torch.ones(7, 1, 4)).numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE)


def test_linear_layers_with_blocks_run_packed_and_others_stay_dense():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32)).eval()
    prune_rows_and_columns(model[0], 0.1, 0.5, 3)
    program = rt.compile(model, (torch.zeros(5, 64),))
    check(program, model, torch.randn(5, 64))
    encoded = {m.name: m.encoded for m in program.report.matrices}
    assert sorted(encoded.values()) == [False, True]
    dense = next(m for m in program.report.matrices if not m.encoded)
    assert dense.reason
    assert dense.name in str(program.report)


@pytest.fixture(scope="module")
def speech():
    """The evaluation model at 10x and its program."""
    model = speech_gru()
    rt.prune(model, column_rate=10, row_rate=1)
    return model, rt.compile(model, model.example_inputs(30))


def speech_frames():
    frames = clip_frames()
    assert len(frames) >= 1000
    return np.ascontiguousarray(frames[:1000], np.float32)[None]


def run_in_chunks(program, frames, size):
    state = np.zeros((2, 1, 1024), np.float32)
    outputs = []
    for first in range(0, frames.shape[1], size):
        y, state = program(np.ascontiguousarray(frames[:, first : first + size]), state)
        outputs.append(y)
    return np.concatenate(outputs, axis=1), state


def test_a_thousand_speech_frames_in_chunks_of_any_size(speech):
    model, program = speech
    frames = speech_frames()
    with torch.no_grad():
        expected, state = model(torch.from_numpy(frames), torch.zeros(2, 1, 1024))
    whole, whole_state = run_in_chunks(program, frames, 1000)
    np.testing.assert_allclose(whole, expected.numpy(), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(whole_state, state.numpy(), rtol=0, atol=TOLERANCE)
    for size in (1, 7, 30, 333):
        chunked, _ = run_in_chunks(program, frames, size)
        np.testing.assert_allclose(chunked, whole, rtol=0, atol=1e-6)


def test_sizes_at_10x(speech):
    _, program = speech
    encoded = [m for m in program.report.matrices if m.encoded]
    values = sum(m.values_bytes for m in encoded)
    index = sum(m.index_bytes for m in encoded)
    packed = sum(m.values_bytes + m.padding_bytes + m.index_bytes for m in encoded)
    dense = sum(m.dense_bytes for m in program.report.matrices if not m.encoded)
    assert index <= 0.03 * values
    assert len(program.vmfb) <= 1.1 * (packed + dense) + 100e3


def test_a_saved_program_is_the_same_program(speech, tmp_path):
    model, program = speech
    program.save(tmp_path / "model.vmfb")
    loaded = rt.load(tmp_path / "model.vmfb")
    x, h = (value.numpy() for value in model.example_inputs(3))
    for mine, theirs in zip(loaded(x, h), program(x, h), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert loaded.report == program.report
    assert loaded.inputs == program.inputs
    assert loaded.target == "host"


def iree_tool(name):
    return Path(sys.executable).with_name(name)


def test_irees_own_tools_run_a_saved_program(speech, tmp_path):
    model, program = speech
    program.save(tmp_path / "model.vmfb")
    x, h = (value.numpy() for value in model.example_inputs(30))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "h.npy", h)
    common = [
        "--module=model.vmfb",
        "--device=local-sync",
        "--function=main",
        "--input=@x.npy",
        "--input=@h.npy",
    ]
    run = [iree_tool("iree-run-module"), *common, "--output=@y.npy", "--output=@hn.npy"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    y, hn = program(x, h)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), y)
    np.testing.assert_array_equal(np.load(tmp_path / "hn.npy"), hn)
    bench = [iree_tool("iree-benchmark-module"), *common, "--benchmark_format=json"]
    bench.append("--benchmark_min_time=0.01s")
    done = subprocess.run(bench, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["benchmarks"][0]["iterations"] > 0


def test_a_program_for_two_threads_on_one_or_two(tmp_path):
    """Two layers of 256 units: large enough to be shared at 1,000 steps, not at one."""
    model = tagger(40, 256, 2)
    program = rt.compile(model, inputs(model, 4), threads=2)
    program.save(tmp_path / "model.vmfb")
    for each in (program, rt.load(tmp_path / "model.vmfb")):
        for steps in (1, 1000):
            check(each, model, *inputs(model, steps))


@pytest.mark.parametrize("threads", [0, 33])
def test_threads_that_cannot_be(threads):
    model = tagger(3, 4)
    with pytest.raises(rt.InputError, match=f"threads {threads}; use 1 to 32"):
        rt.compile(model, inputs(model, 1), threads=threads)


def test_wrong_inputs_are_named(speech):
    model, program = speech
    x, h = (value.numpy() for value in model.example_inputs(3))
    with pytest.raises(rt.RTMobileError, match=r"1 inputs given.*\[1, any, 40\] float32"):
        program(x)
    with pytest.raises(rt.RTMobileError, match="dtype float64; this program takes float32"):
        program(x.astype(np.float64), h)
    with pytest.raises(rt.RTMobileError, match=r"shape \[1, 3, 39\]"):
        program(x[..., :39], h)
    with pytest.raises(rt.RTMobileError, match=r"shape \[3, 40\]"):
        program(x[0], h)
    with pytest.raises(rt.RTMobileError, match=r"shape \[1, 0, 40\]"):
        program(x[:, :0], h)


def test_an_unknown_target_is_refused_before_any_work():
    with pytest.raises(rt.RTMobileError, match=r"target 'gameboy' is not known; use one of: host"):
        rt.compile(object(), target="gameboy")


@pytest.mark.parametrize("content", [b"", b"no module at all" * 8])
def test_a_file_that_is_no_module_is_refused(tmp_path, content):
    path = tmp_path / "model.vmfb"
    path.write_bytes(content)
    with pytest.raises(rt.RTMobileError, match=r"model.vmfb: not an IREE module"):
        rt.load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(rt.RTMobileError, match=r"nothing.vmfb: cannot be read: No such file"):
        rt.load(tmp_path / "nothing.vmfb")


def test_a_module_of_somebody_else_is_refused(tmp_path):
    from rtmobile_iree.iree_backend import compile_text
    from rtmobile_iree.targets import host_target

    path = tmp_path / "other.vmfb"
    for name, message in (("main", "not one of rtmobile's"), ("run", "no function 'main'")):
        text = (
            f"func.func @{name}(%x: tensor<4xf32>) -> tensor<4xf32> {{ return %x : tensor<4xf32> }}"
        )
        path.write_bytes(compile_text(text, host_target()))
        with pytest.raises(rt.RTMobileError, match=message):
            rt.load(path)


def test_a_device_that_is_not_there_is_refused(speech, tmp_path):
    _, program = speech
    program.save(tmp_path / "model.vmfb")
    with pytest.raises(rt.RTMobileError, match="no device 'toaster' here"):
        rt.load(tmp_path / "model.vmfb", driver="toaster")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(speech, tmp_path, monkeypatch):
    _, program = speech
    path = tmp_path / "model.vmfb"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*model.vmfb'"):
        program.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.vmfb"]


def test_what_iree_refuses_comes_with_a_reproducer():
    from rtmobile_iree.iree_backend import compile_text
    from rtmobile_iree.targets import host_target

    with pytest.raises(rt.CompileError) as error:
        compile_text("func.func @main() { nonsense }", host_target())
    message = str(error.value)
    assert "error:" in message
    assert "--iree-llvmcpu-target-cpu=host" in message
    script = Path(message.rsplit("bash ", 1)[1])
    assert "nonsense" in script.with_name("module.mlir").read_text()
