"""f16 arithmetic: against PyTorch in f32 and against NumPy, on an emulated core that has it."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes.kernels import fractions, sharing, tall
from rtmobile_iree.passes.kernels.expand import TableExpansion, plan_expansion
from rtmobile_iree.passes.kernels.plan import ConstantPool, plan_matrix
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.bspc import Group, convert, pack, panels, unpack
from rtmobile_iree.errors import CompileError, TargetError
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import cpu_pipeline
from rtmobile_iree.targets import get_target
from rtmobile_iree.values import parse_rules

# Largest difference from f32's outputs. A step adds a few roundings of 2^-11 to states within 1,
# and forgets some of what the steps before added.
TOLERANCE = 4e-3
HALF = {"values": "f16", "activations": "f16", "target": "arm64-android", "cpu": "cortex-a76"}
LAYERS = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "lstmp": lambda *sizes: nn.LSTM(*sizes, proj_size=6),
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes: nn.RNN(*sizes, nonlinearity="relu"),
}


def rounded(module):
    """The module with f16 weights."""
    for parameter in module.parameters():
        parameter.data = parameter.data.half().float()
    return module.eval()


def flat(results):
    y, states = results
    return [y, *(states if isinstance(states, tuple) else (states,))]


@pytest.mark.arm64
@pytest.mark.parametrize(
    ("kind", "hidden", "layers", "batch", "rate"),
    [
        ("gru", 1, 1, 1, None),
        ("gru", 17, 2, 3, (3, 1.5)),
        ("gru", 64, 2, 1, None),
        ("gru", 128, 2, 2, (2, 4)),  # most gates constant, found by tables
        ("gru", 104, 1, 1, (3, 2.5)),  # the same, registers of gates left over
        ("gru", 37, 1, 1, (2, 12)),  # the same, sent one by one
        ("lstm", 17, 2, 1, (3, 1.5)),
        ("lstm", 64, 1, 3, (2, 2)),
        ("lstmp", 24, 2, 1, (3, 1.5)),
        ("rnn_tanh", 72, 1, 5, (4, 3)),
        ("rnn_relu", 33, 2, 1, (2, 1)),
    ],
)
def test_layers_are_pytorchs(arm64, kind, hidden, layers, batch, rate):
    torch.manual_seed(0)
    module = LAYERS[kind](5, hidden, layers)
    if rate is not None:
        rt.prune(module, column_rate=rate[0], row_rate=rate[1], row_stripes=3, col_blocks=1)
    module, x = rounded(module), torch.randn(30, batch, 5)
    program = rt.compile(module, (x,), **HALF)
    for steps in (1, 30):
        with torch.no_grad():
            expected = flat(module(x[:steps]))
        results = arm64.run(program.vmfb, [x[:steps].numpy()])
        for mine, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.arm64
@pytest.mark.parametrize(
    ("way", "kind", "hidden", "batch", "rate"),
    [
        ("wavefront", "gru", 37, 3, (3, 1.5)),
        ("wavefront", "lstmp", 24, 1, None),
        ("stripes", "gru", 128, 2, (2, 4)),
        ("stripes", "lstm", 17, 1, (3, 1.5)),
    ],
)
def test_several_threads(arm64, way, kind, hidden, batch, rate, monkeypatch):
    """Whether three workers share a core or have several, and at any number of chunks."""
    monkeypatch.setattr(sharing, "WAKE_NS", 0)
    monkeypatch.setattr(sharing, "MEET_NS", 1e9 if way == "wavefront" else -1e9)
    torch.manual_seed(0)
    module = LAYERS[kind](5, hidden, 2)
    if rate is not None:
        rt.prune(module, column_rate=rate[0], row_rate=rate[1], row_stripes=3, col_blocks=1)
    module, x = rounded(module), torch.randn(70, batch, 5)
    program = rt.compile(module, (x,), threads=3, dynamic_steps=True, **HALF)
    for steps in (1, 32, 70):
        with torch.no_grad():
            expected = flat(module(x[:steps]))
        for threads in (1, 3):
            results = arm64.run(program.vmfb, [x[:steps].numpy()], threads=threads)
            for mine, theirs in zip(results, expected, strict=True):
                np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.arm64
def test_a_stream_is_one_call(arm64):
    """States go out in f32 and come back; single steps add their products in another order."""
    torch.manual_seed(0)
    module, x = rounded(nn.LSTM(3, 40, 2)), torch.randn(9, 1, 3)

    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = module

        def forward(self, x, h, c):
            y, (h, c) = self.lstm(x, (h, c))
            return y, h, c

    states = [np.zeros((2, 1, 40), np.float32)] * 2
    example = (x, *map(torch.from_numpy, states))
    program = rt.compile(Stateful().eval(), example, **HALF)
    whole = arm64.run(program.vmfb, [x.numpy(), *states])[0]
    parts = []
    for part in np.split(x.numpy(), [1, 8]):
        y, *states = arm64.run(program.vmfb, [part, *states])
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=5e-4)


@pytest.mark.arm64
def test_infinite_and_absent_numbers(arm64):
    """An infinite frame saturates gates, also where a column was shared out; NaN stays NaN."""
    torch.manual_seed(0)
    module = rounded(nn.RNN(5, 16))
    program = rt.compile(module, (torch.zeros(1, 1, 5),), **HALF)
    for value in (np.inf, -np.inf):
        x = np.zeros((1, 1, 5), np.float32)
        x[..., 4] = value
        signs = np.sign(module.weight_ih_l0[:, 4].detach().numpy()) * np.sign(value)
        y = arm64.run(program.vmfb, [x])[0][0, 0]
        np.testing.assert_allclose(y, signs, atol=1e-3)
    assert np.isnan(arm64.run(program.vmfb, [np.full((1, 1, 5), np.nan, np.float32)])[0]).all()


def half_tanh(x, scale):
    """`tanh_fraction` in NumPy's f16: top and bottom."""
    h, grown = np.float16, 1 / scale**2
    x = np.clip(x, h(-fractions.LIMIT / scale), h(fractions.LIMIT / scale))
    u = x * (x * h(1 / fractions.K))
    middle = (u + h(fractions.B * grown)).astype(np.float64) * u
    bottom = (middle + h(fractions.C * grown**2)).astype(h)  # fused: rounded once
    return x * (u + h(fractions.A * grown)), bottom


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_fraction_is_tanh(scale):
    """Over every number f16 has: within 2.5e-3, and no intermediate leaves f16."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    with np.errstate(over="raise"):
        top, bottom = half_tanh(x, scale)
    got = top.astype(np.float64) / bottom.astype(np.float64)
    assert np.abs(got - scale * np.tanh(scale * x.astype(np.float64))).max() < 2.5e-3
    assert bottom.min() > 0


def test_the_fit_is_as_good_as_it_says():
    x = np.linspace(0, fractions.LIMIT, 100_001)
    p0, p1, q1, q2 = fractions.P0, fractions.P1, fractions.Q1, fractions.Q2
    error = x * (p0 + p1 * x**2) / (1 + q1 * x**2 + q2 * x**4) - np.tanh(x)
    assert np.abs(error).max() < 4e-4
    assert 1 - np.tanh(fractions.LIMIT) < 4.1e-4


@pytest.mark.arm64
def test_the_kernels_tanh_is_numpys(arm64):
    """A plain layer of one weight a unit, so that nothing else rounds."""
    module = nn.RNN(1, 64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.weight_ih_l0[:, 0] = torch.linspace(-6, 6, 64).half().float()
    program = rt.compile(module.eval(), (torch.ones(1, 1, 1),), **HALF)
    got = arm64.run(program.vmfb, [np.ones((1, 1, 1), np.float32)])[0][0, 0]
    top, bottom = half_tanh(module.weight_ih_l0[:, 0].detach().numpy().astype(np.float16), 1.0)
    np.testing.assert_allclose(got, top.astype(float) / bottom.astype(float), atol=1.5e-3)


@pytest.mark.parametrize(
    ("rows", "columns", "parts"),
    [
        (1, 1, [1]),
        (7, 4, [7]),
        (12, 5, [12]),
        (64, 6, [64]),
        (128, 7, [128]),
        (133, 0, [72, 61]),
        (300, 3, [104, 104, 92]),
    ],
)
def test_tall_panels_hold_the_matrix(rows, columns, parts):
    rng = np.random.default_rng(0)
    weight = np.zeros((rows, 20), np.float32)
    kept = np.sort(rng.permutation(20)[:columns])
    weight[:, kept] = rng.standard_normal((rows, columns)).astype(np.float16)
    group = Group(np.arange(rows), kept)
    packed = convert(pack(weight, [group]), "f16")
    found = tall.tall_panels(packed, 8)
    assert [p.rows for p, _ in found] == parts
    again = np.zeros((rows, 20))
    for panel, values in found:
        assert panel.height % 8 == 0
        assert len(values) % 4 == 0
        numbers = tall.quads(packed, panel).view(np.uint16)
        assert numbers.size == panel.columns == len(values)
        own = slice(panel.row_start, panel.row_start + panel.rows)
        for number, column in zip(numbers, values.astype(float), strict=True):
            again[packed.reorder[own], number] += column[: panel.rows]
            assert (column[panel.rows :] == 0).all()
            assert (column[: panel.rows] != 0).all()  # an infinite x meets no zero
    np.testing.assert_array_equal(again, unpack(packed))
    assert len(found) <= len(panels(packed))


def test_moved_columns_read_the_same_weights():
    weight = np.eye(4, 6, dtype=np.float32)
    moved = tall.moved_columns(convert(pack(weight), "f16"), 3)
    np.testing.assert_array_equal(unpack(moved), np.pad(weight, ((0, 0), (3, 0))))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_tables_say_where_bytes_stand(share):
    there = np.random.default_rng(0).random(64) < share
    places = np.where(there, np.cumsum(there) - 1, -1)
    defaults = np.arange(64, dtype=np.float32)
    pool = ConstantPool("f16")
    found = plan_expansion(pool, places, defaults, 8)
    assert isinstance(found, TableExpansion)
    stored = np.arange(100, 180, dtype=np.float16).view(np.uint8)
    for block in range(8):
        first = int(pool.index()[found.firsts + block])
        table = pool.narrow()["i8"][found.tables + 16 * block :][:16]
        gaps = pool.values()[found.defaults + 8 * block :][:8].view(np.uint8)
        looked_up = np.where(table >= 0, stored[2 * first + np.maximum(table, 0)], gaps)
        own = slice(8 * block, 8 * block + 8)
        expected = np.where(there[own], 100 + places[own], defaults[own])
        np.testing.assert_array_equal(looked_up.view(np.float16), expected)


def test_a_matrix_of_many_columns_keeps_the_formats_panels():
    weight = np.ones((4, 70_000), np.float32)
    (found,) = plan_matrix(ConstantPool("f16"), convert(pack(weight), "f16")).classes
    assert not found.tall


def compiled(**options):
    torch.manual_seed(0)
    module = nn.GRU(3, 4).eval()
    with torch.no_grad():
        module.bias_ih_l0[0] = options.pop("bias", 0.0)
    return rt.compile(module, (torch.zeros(1, 1, 3),), **{**HALF, **options})


@pytest.mark.parametrize("values", ["f32", "i8", "*weight_hh*=bf16,*=f16"])
def test_weights_of_another_type_are_refused(values):
    assert parse_rules(values)
    with pytest.raises(CompileError, match=r"is stored as .*; f16 activations multiply f16 weig"):
        compiled(values=values)


def test_a_bias_that_f16_cannot_hold_is_refused():
    with pytest.raises(CompileError, match="a bias is 70000, and f16 ends at 65504"):
        compiled(bias=7e4)


@pytest.mark.parametrize(("target", "cpu"), [("host", None), ("arm64-android", "generic")])
def test_a_core_without_it_is_refused(target, cpu):
    with pytest.raises(TargetError, match="does not compute in f16; use activations f32.*cortex-a"):
        cpu_pipeline(get_target(target, cpu), Options("f16", "f16"))
