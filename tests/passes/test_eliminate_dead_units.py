"""Units that nobody reads are gone, and the outputs are the same to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.eliminate_dead_units import EliminateDeadUnitsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.weights import bspc_ops, read_weights
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.frontend import import_module
from rtmobile_iree.reference import evaluate


class Model(nn.Module):
    """A stack and a linear layer; `after`: what happens in between; `state`: what leaves."""

    def __init__(self, inputs, hidden, layers=1, after=lambda y: y, state=None, batch_first=False):
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=batch_first)
        self.fc = nn.Linear(hidden, 3)
        self.after, self.state = after, state

    def forward(self, x):
        y, h = self.gru(x)
        out = self.fc(self.after(y))
        return out if self.state is None else (out, self.state(h))


def ignore(matrix, columns):
    """A consumer's weight without these columns."""
    with torch.no_grad():
        matrix[:, columns] = 0


def isolate(gru, layer, units):
    """W_hh without a path from these units to any other."""
    weight = getattr(gru, f"weight_hh_l{layer}")
    hidden = gru.hidden_size
    others = np.setdiff1d(np.arange(hidden), units)
    rows = np.concatenate([others + gate * hidden for gate in range(3)])
    with torch.no_grad():
        weight[np.ix_(rows, units)] = 0


def eliminated(model, steps=6, batch=2, compiled=False):
    """Units without rows in each layer after the pass, whose outputs must be the same bits."""
    shape = (batch, steps) if model.gru.batch_first else (steps, batch)
    x = torch.randn(*shape, model.gru.input_size, generator=torch.Generator().manual_seed(0))
    module = import_module(model.eval(), (x,)).module
    before = evaluate(module, x.numpy())
    with torch.no_grad():
        expected = model(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    run_passes(module, [EliminateDeadUnitsPass()])
    after = evaluate(module, x.numpy())
    for old, new, theirs in zip(before, after, expected, strict=True):
        np.testing.assert_array_equal(old, new)
        np.testing.assert_allclose(new, theirs.numpy(), atol=1e-5)
    once = str(module)
    run_passes(module, [EliminateDeadUnitsPass()])
    assert str(module) == once
    if compiled:
        np.testing.assert_allclose(rt.compile(model, (x,))(x), expected[0].numpy(), atol=1e-5)
    return [empty_units(op) for op in bspc_ops(module.operation) if op.name == "bspc.gru"]


def empty_units(op, gates=3):
    """Units without a row in either weight."""
    stored = sum((weight.array != 0).sum(axis=1) for weight in read_weights(op))
    return np.flatnonzero(stored.reshape(gates, -1).sum(axis=0) == 0).tolist()


def make(*args, seed=0, **options):
    torch.manual_seed(seed)
    return Model(*args, **options)


def test_a_unit_that_only_feeds_itself():
    model = make(4, 7)
    ignore(model.fc.weight, [2])
    isolate(model.gru, 0, [2])
    assert (model.gru.weight_hh_l0[2, 2] != 0).item()
    assert eliminated(model) == [[2]]


def test_units_that_only_feed_each_other_in_a_cycle():
    model = make(4, 9)
    ignore(model.fc.weight, [1, 4, 8])
    isolate(model.gru, 0, [1, 4, 8])
    assert eliminated(model, compiled=True) == [[1, 4, 8]]


def test_a_unit_read_through_another_is_kept():
    """Nobody outside reads 3, but 5 does, which the linear layer reads."""
    model = make(4, 7)
    ignore(model.fc.weight, [3])
    isolate(model.gru, 0, [3])
    with torch.no_grad():
        model.gru.weight_hh_l0[7 + 5, 3] = 0.25
    assert eliminated(model) == [[]]


def test_death_spreads_down_the_stack():
    """Units of the first layer that only dead units of the second one read."""
    model = make(4, 8, 2)
    ignore(model.fc.weight, [0, 6])
    isolate(model.gru, 1, [0, 6])
    rows = np.array(
        [unit + 8 * gate for unit in range(8) if unit not in (0, 6) for gate in range(3)]
    )
    with torch.no_grad():
        model.gru.weight_ih_l1[np.ix_(rows, [3, 5])] = 0
    isolate(model.gru, 0, [3, 5])
    assert eliminated(model) == [[3, 5], [0, 6]]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "after",
    [torch.tanh, torch.relu, lambda y: y * 2 + 1, lambda y: y[-1:], lambda y: torch.exp(y)],
    ids=["tanh", "relu", "affine", "slice", "exp"],
)
def test_what_may_come_between(after, batch_first, request):
    """Elementwise steps are looked through; what is not understood keeps its units."""
    model = make(4, 7, after=after, batch_first=batch_first)
    ignore(model.fc.weight, [2])
    isolate(model.gru, 0, [2])
    known = request.node.callspec.id.split("-")[0] in ("tanh", "affine", "relu")
    assert eliminated(model) == [[2] if known else []]


@pytest.mark.parametrize(
    "state", [lambda h: h, lambda h: h[0], lambda h: h * 2], ids=["all", "first", "twice"]
)
@pytest.mark.parametrize("layers", [1, 2])
def test_units_read_through_the_state_are_kept(state, layers):
    model = make(4, 7, layers, state=state)
    ignore(model.fc.weight, [2])
    isolate(model.gru, layers - 1, [2])
    assert eliminated(model) == [[]] * layers


def test_an_output_that_leaves_is_read():
    class Open(Model):
        def forward(self, x):
            y, _ = self.gru(x)
            return self.fc(y), y

    torch.manual_seed(0)
    model = Open(4, 7)
    ignore(model.fc.weight, [2])
    isolate(model.gru, 0, [2])
    assert eliminated(model) == [[]]


def test_both_directions_are_kept():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 5, bidirectional=True)
            self.fc = nn.Linear(10, 3)

        def forward(self, x):
            return self.fc(self.gru(x)[0])

    torch.manual_seed(0)
    model = Both()
    ignore(model.fc.weight, [2, 7])
    isolate(model.gru, 0, [2])
    assert eliminated(model) == [[], []]


@pytest.mark.parametrize(("make_layer", "gates"), [(nn.LSTM, 4), (nn.RNN, 1)])
@pytest.mark.parametrize("keeps_state", [False, True])
def test_other_kinds_of_layers(make_layer, gates, keeps_state):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = make_layer(4, 6, 2), nn.Linear(6, 3)

        def forward(self, x):
            y, state = self.rnn(x)
            cell = state[-1] if isinstance(state, tuple) else state
            return (self.fc(y), cell) if keeps_state else self.fc(y)

    torch.manual_seed(0)
    model, x = Other().eval(), torch.randn(5, 1, 4)
    ignore(model.fc.weight, [1, 2])
    others = np.concatenate([np.setdiff1d(np.arange(6), [1, 2]) + 6 * g for g in range(gates)])
    with torch.no_grad():
        model.rnn.weight_hh_l1[np.ix_(others, [1, 2])] = 0
    module = import_module(model, (x,)).module
    before = evaluate(module, x.numpy())
    run_passes(module, [EliminateDeadUnitsPass()])
    for old, new in zip(before, evaluate(module, x.numpy()), strict=True):
        np.testing.assert_array_equal(old, new)
    layers = [op for op in bspc_ops(module.operation) if op.name != "bspc.matmul"]
    empty = [] if keeps_state else [1, 2]
    assert [empty_units(op, gates) for op in layers] == [[], empty]


def test_nothing_read_at_all():
    """A linear layer of zeros: every unit of every layer goes."""
    model = make(3, 5, 2)
    ignore(model.fc.weight, range(5))
    assert eliminated(model) == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("seed", range(6))
def test_random_pruned_models(seed):
    """Against liveness by walking the graph of units, one node a unit."""
    rng = np.random.default_rng(seed)
    hidden, layers = int(rng.integers(1, 20)), int(rng.integers(1, 4))
    model = make(int(rng.integers(1, 6)), hidden, layers, seed=seed)
    with torch.no_grad():
        for name, weight in model.gru.named_parameters():
            if "weight" in name:
                weight[torch.from_numpy(rng.random(weight.shape) < 0.93)] = 0
        model.fc.weight[torch.from_numpy(rng.random(model.fc.weight.shape) < 0.9)] = 0
    expected = unread(model)
    for layer, dead in enumerate(eliminated(model, batch=1 + seed % 2, compiled=True)):
        parts = [getattr(model.gru, f"weight_{part}_l{layer}") for part in ("ih", "hh")]
        rows = torch.cat(parts, dim=1).detach().numpy().reshape(3, hidden, -1)
        empty = {u for u in range(hidden) if not rows[:, u].any()}
        assert set(dead) == expected[layer] | empty


def unread(model):
    """Units of each layer that no path leads from to the linear layer."""
    layers, hidden = model.gru.num_layers, model.gru.hidden_size
    pending = [(layers - 1, u) for u in range(hidden) if model.fc.weight[:, u].any()]
    seen = set(pending)
    while pending:
        layer, unit = pending.pop()
        for below, part in ((layer, "hh"), (layer - 1, "ih")):
            if below < 0:
                continue
            weight = getattr(model.gru, f"weight_{part}_l{layer}")
            rows = weight[[unit + gate * hidden for gate in range(3)]]
            found = {(below, int(u)) for u in torch.nonzero(rows.any(dim=0)).flatten()} - seen
            seen |= found
            pending += found
    return [{u for u in range(hidden) if (layer, u) not in seen} for layer in range(layers)]


def test_it_comes_before_the_encoding():
    """Encoded weights are left alone, and the report counts what went."""
    model = make(40, 64)
    ignore(model.fc.weight, range(10))
    isolate(model.gru, 0, list(range(10)))
    with torch.no_grad():
        model.gru.weight_hh_l0[:, 32:] = 0
    x = torch.zeros(3, 1, 40)
    module = import_module(model.eval(), (x,)).module
    run_passes(module, [EncodePass(threshold=2.0)])
    before = str(module)
    run_passes(module, [EliminateDeadUnitsPass()])
    assert str(module) == before
    report = rt.compile(model, (x,)).report
    assert [m.dead_units for m in report.matrices] == [10, 10, 0]
    assert "dead units: gru.weight_hh_l0: nobody reads 10; their rows are gone" in str(report)
