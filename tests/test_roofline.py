"""The roofline: kernels compute what they say, the formula is the documented one, parts add up."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from rtmobile_iree.passes import run_passes
from torch import nn

from rtmobile_iree.bench import Settings
from rtmobile_iree.bench.models import make_variant
from rtmobile_iree.bench.roofline import (
    OTHER,
    WHOLE,
    RooflineResults,
    RooflineRow,
    make_programs,
    run_roofline,
    shares_us,
)
from rtmobile_iree.bench.roofline_table import roofline_table
from rtmobile_iree.errors import InputError, TargetError
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.kinds import KINDS as KINDS_DATA
from rtmobile_iree.pipeline import cpu_pipeline, layout_pipeline
from rtmobile_iree.roofline import (
    Limits,
    LinearWork,
    RecurrentWork,
    Work,
    limits,
    lower_bound,
    measure_limits,
    read_work,
)
from rtmobile_iree.roofline.kernels import FUNCTIONS, Kernel
from rtmobile_iree.roofline.work import MatrixWork, activations, gru_activations
from rtmobile_iree.runtime import Module
from rtmobile_iree.schedule import PARTS, Schedule
from rtmobile_iree.targets import host_target

TINY = "rtmobile_iree.models:tiny_speech_gru"


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


EXACT = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "gru_blend": lambda x: sigmoid(x) * x + (1 - sigmoid(x)) * np.tanh(x),
    "lstm_cell": lambda x: sigmoid(x) * x + sigmoid(x) * np.tanh(x),
    "lstm_output": lambda x: sigmoid(x) * np.tanh(x),
}


@pytest.mark.parametrize(("blocks", "repeats"), [(1, 1), (3, 1), (2, 5), (1, 0)])
def test_read_adds_all_of_the_buffer(blocks, repeats):
    kernel = Kernel("read", host_target())
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, blocks * kernel.step).astype(np.float32)  # sums are exact
    sums = kernel.prepare(x, x.size, repeats)()
    np.testing.assert_array_equal(sums, repeats * x.reshape(blocks, -1).sum(axis=0))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_multiply_runs_the_recurrence(count):
    kernel = Kernel("multiply", host_target())
    factor, addend = np.float32(0.5), np.float32(3.0)
    start = np.arange(kernel.sums, dtype=np.float32)
    expected = start.copy()
    for _ in range(count):
        expected = expected * factor + addend
    x = np.concatenate([[factor, addend], start]).astype(np.float32)
    np.testing.assert_array_equal(kernel.prepare(x, count, 1)(), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_add_what_they_compute(name):
    kernel = Kernel(name, host_target())
    x = np.random.default_rng(0).normal(size=4 * kernel.step).astype(np.float32)
    exact = EXACT[name](x.astype(np.float64)).reshape(4, -1).sum(axis=0)
    np.testing.assert_allclose(kernel.prepare(x, x.size, 3)(), 3 * exact, atol=1e-4)


def test_measuring_covers_the_curve_and_the_models_sizes(monkeypatch):
    monkeypatch.setattr(limits, "READ_BYTES", 1 << 16)
    monkeypatch.setattr(limits, "MULTIPLY_STEPS", 1 << 8)
    monkeypatch.setattr(limits, "FUNCTION_REPEATS", 1)
    monkeypatch.setattr(limits, "CURVE", (1 << 15, 1 << 16))
    found = measure_limits(host_target(), (40_001, 1), samples=1, sample_s=1e-4)
    sizes = [size for size, _ in found.bandwidth_curve]
    assert sizes == sorted(sizes)
    assert {1 << 15, 1 << 16} < set(sizes)
    assert any(40_001 <= size < 42_500 for size in sizes)
    assert min(rate for _, rate in found.bandwidth_curve) > 0
    assert found.multiply_adds_s > 0
    assert list(found.activation_ns) == list(FUNCTIONS)
    assert min(found.activation_ns.values()) > 0


# 100 bytes at 1 GB/s, 10,000 at 0.25; 2 multiply-adds a ns
LIMITS = Limits(
    ((100, 1e9), (10_000, 0.25e9)), 2e9, {"sigmoid": 1.0, "tanh": 2.0, "gru_blend": 2.5}
)


def test_bandwidth_between_sizes_and_beyond():
    for size, rate in ((0, 1e9), (1, 1e9), (100, 1e9), (10_000, 0.25e9), (10**9, 0.25e9)):
        assert LIMITS.bandwidth(size) == pytest.approx(rate)
    assert LIMITS.bandwidth(1000) == pytest.approx(0.4e9)  # 1 and 4 ns a byte: 2.5 in the middle


def work(batch=1):
    layer = RecurrentWork(MatrixWork(2400, 9600), MatrixWork(25, 100), {"sigmoid": 3, "tanh": 2})
    return Work((layer,), (LinearWork(MatrixWork(75, 300), 1, 0),), batch)


def test_the_formula_by_hand():
    """10,000 bytes in all, at 4 ns a byte; W_hh alone, 100 bytes, at 1."""
    one = lower_bound(work(), LIMITS, steps=1, time_chunk=4)
    assert one.w_ih == pytest.approx(9600 * 4 / 1e3)
    assert one.w_hh == pytest.approx(100 * 4 / 1e3)
    assert one.activations == pytest.approx((3 * 1.0 + 2 * 2.0) / 1e3)
    assert one.linear == pytest.approx(300 * 4 / 1e3)
    six = lower_bound(work(), LIMITS, steps=6, time_chunk=4)
    assert six.w_ih == pytest.approx(2 * 9600 * 4 / 1e3)  # two chunks
    assert six.w_hh == pytest.approx((2 * 100 * 4 + 4 * 100) / 1e3)
    assert six.activations == pytest.approx(6 * one.activations)
    assert six.linear == pytest.approx(300 * 4 / 1e3)


def test_arithmetic_bounds_where_weights_are_reused():
    many = lower_bound(work(batch=100), LIMITS, steps=4, time_chunk=4)
    assert many.w_ih == pytest.approx(2400 * 400 / 2 / 1e3)
    assert many.w_hh == pytest.approx(25 * 400 / 2 / 1e3)
    assert many.activations == pytest.approx(400 * 7 / 1e3)


def test_parts_add_up():
    bound = lower_bound(work(), LIMITS, 30, 16)
    parts = (bound.w_ih, bound.w_hh, bound.activations, bound.linear)
    assert bound.total_us == pytest.approx(sum(parts))
    assert min(parts) > 0
    taken, shares = shares_us(
        {WHOLE: [10, 12, 11], "project": [7, 9, 8], "recur": [6, 7, 7], "gates": [9, 11, 10]}
    )
    assert taken == 11
    assert shares == {"project": 3, "recur": 4, "gates": 1, OTHER: 3}


def test_gates_alive_together_take_one_update():
    live = gru_activations(np.array([0, 3]), np.array([1, 2]), np.array([2, 5, 6]))
    assert live == {"sigmoid": 3, "tanh": 2, "gru_blend": 1}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 16, 2)
        self.fc = nn.Linear(16, 3, bias=False)

    def forward(self, x, h):
        y, h = self.gru(x, h)
        return self.fc(y), h


def packed(model, batch=1):
    example = (torch.zeros(4, batch, 5), torch.zeros(2, batch, 16))
    module = import_module(model.eval(), example).module
    run_passes(module, layout_pipeline())
    return module


@pytest.mark.parametrize("batch", [1, 3])
def test_work_counts_kept_weights_and_live_gates(batch):
    torch.manual_seed(0)
    model = Model()
    with torch.no_grad():
        model.gru.weight_hh_l0[:, 4:] = 0
        for weight in (model.gru.weight_ih_l1, model.gru.weight_hh_l1):
            weight[:16] = 0  # r is a constant
    found = read_work(packed(model, batch))
    first, second = found.recurrent
    assert found.batch == batch
    assert (first.w_ih.kept, first.w_hh.kept) == (48 * 5, 48 * 4)
    assert first.w_hh.bytes == 4 * first.w_hh.kept
    assert first.activations == {"sigmoid": 16, "tanh": 0, "gru_blend": 16}
    assert second.activations == {"sigmoid": 0, "tanh": 0, "gru_blend": 16}
    (linear,) = found.linear
    assert (linear.weight.kept, linear.vectors(7)) == (48, 7 * batch)
    assert found.kept == 240 + 192 + 2 * 32 * 16 + 48
    assert found.bytes == 4 * found.kept
    assert found.working_sets() == (found.bytes, 4 * 192, 4 * 32 * 16)


KINDS = {
    "lstm": (nn.LSTM, {}, {"lstm_cell": 16, "lstm_output": 16}, 64 * 16),
    "lstmp": (
        nn.LSTM, {"proj_size": 5}, {"lstm_cell": 16, "lstm_output": 16}, 64 * 5 + 5 * 16,
    ),
    "rnn_tanh": (nn.RNN, {}, {"tanh": 16}, 16 * 16),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}, {}, 16 * 16),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_work_of_every_kind(kind):
    make, options, expected, each_step = KINDS[kind]
    torch.manual_seed(0)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = make(7, 16, **options)

        def forward(self, x):
            return self.rnn(x)[0]

    module = import_module(Plain().eval(), (torch.zeros(3, 1, 7),)).module
    run_passes(module, layout_pipeline())
    (layer,) = read_work(module).recurrent
    assert layer.activations == expected
    assert layer.w_ih.kept == 7 * 16 * (4 if "lstm" in kind else 1)
    assert layer.w_hh.kept == each_step


def test_constant_gates_are_not_counted():
    stored = np.zeros((4, 6), bool)
    stored[0, 1] = stored[2, 1] = stored[3, 5] = True
    assert activations(KINDS_DATA["lstm"], stored.ravel()) == {"lstm_cell": 1, "lstm_output": 6}
    assert activations(KINDS_DATA["rnn_tanh"], np.arange(6) < 2) == {"tanh": 2}


def run_with(model, parts, *inputs):
    module = packed(model)
    (lower,) = cpu_pipeline(host_target())
    run_passes(module, [replace(lower, parts="+".join(parts))])
    text = module.operation.get_asm(assume_verified=True)
    return Module(compile_text(text, host_target()))(inputs)


def test_a_part_left_out_is_not_computed():
    """Without its gates a layer never touches its state; with everything it is PyTorch's."""
    torch.manual_seed(0)
    model = Model().eval()
    x, h = torch.randn(4, 1, 5), torch.randn(2, 1, 16)
    with torch.no_grad():
        expected = model(x, h)
    whole = run_with(model, PARTS, x.numpy(), h.numpy())
    np.testing.assert_allclose(whole[1], expected[1].numpy(), atol=1e-5)
    for parts in (("project", "recur"), ()):
        still = run_with(model, parts, x.numpy(), h.numpy())
        np.testing.assert_array_equal(still[1], h.numpy())


def test_parts_nobody_knows():
    with pytest.raises(TargetError, match=r"parts gate; use some of .*'gates'"):
        Schedule(16, parts=("gate",))


@pytest.fixture
def quick(monkeypatch):
    from rtmobile_iree.bench import roofline

    monkeypatch.setattr(roofline, "measure_limits", lambda *_, **__: LIMITS)
    return Settings(steps=(1, 3), rates=("4x1", "dense"), rounds=1, samples=1, sample_s=1e-3)


def test_running_it_all(quick, tmp_path):
    results = run_roofline(TINY, quick)
    assert [(row.rate, row.steps) for row in results.rows] == [
        ("4x1", 1), ("4x1", 3), ("dense", 1), ("dense", 3),
    ]  # fmt: skip
    for row in results.rows:
        assert list(row.shares_us) == [*PARTS, OTHER]
        assert sum(row.shares_us.values()) == pytest.approx(row.taken_us)
        assert row.ratio == row.taken_us / row.bound.total_us
    results.save(tmp_path / "roofline.json")
    read = json.loads((tmp_path / "roofline.json").read_text())
    assert read["limits"]["multiply_adds_s"] == 2e9
    assert len(read["rows"]) == 4
    assert sum(read["rows"][0]["shares"].values()) == pytest.approx(1)
    assert read["rows"][2]["kept"] == read["rows"][2]["work"]["linear"][0]["weight"]["kept"] + (
        3 * 32 * (8 + 3 * 32)
    )
    text = io.StringIO()
    Console(file=text, width=200).print(roofline_table(results))
    assert "W_hh" in text.getvalue()
    assert "dense" in text.getvalue()


def test_a_program_with_wrong_outputs_is_refused(quick, monkeypatch):
    from rtmobile_iree.bench import roofline

    def other(variant, steps):
        files = write(variant, steps)
        np.save(files[1][0], np.load(files[1][0]) + 1e-3)
        return files

    write = roofline.write_reference
    monkeypatch.setattr(roofline, "write_reference", other)
    with pytest.raises(InputError, match=r"4x1: outputs differ from PyTorch's by 1.0e-03"):
        run_roofline(TINY, quick)


def test_models_and_settings_that_cannot_be(quick, tmp_path):
    with pytest.raises(InputError, match="a file is measured with the weights it has"):
        run_roofline("model.mlir", quick)
    variant = make_variant(TINY, "dense", ("f32[3,4]",), tmp_path)
    linear = replace(variant, module=nn.Linear(4, 2).eval())
    with pytest.raises(InputError, match="no recurrent layer to measure"):
        make_programs(linear, 3, host_target())


def test_results_are_data():
    row = RooflineRow("dense", 1, work(), lower_bound(work(), LIMITS, 1, 4), 50.0, {OTHER: 50.0})
    results = RooflineResults("m:f", "host", LIMITS, (row,), {"cpu": "c"}, {}, "now")
    fields = json.loads(results.to_json())
    assert fields["rows"][0]["shares"] == {OTHER: 1.0}
    assert fields["rows"][0]["bound"]["total_us"] == row.bound.total_us
