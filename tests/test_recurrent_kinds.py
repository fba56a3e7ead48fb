"""Every kind of recurrent layer and cell, from torch module to running .vmfb: PyTorch's numbers."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from torch import nn
from torch_layers import CELLS, recurrent_layers

import rtmobile_iree as rt
from rtmobile_iree.frontend import import_module
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.reference import evaluate

TOLERANCE = 1e-5
CHUNKS = (1, 7, 30)  # steps of one call after another, the states carried on
INPUTS, HIDDEN = 5, 17  # a prime, and one above a panel

LAYERS = recurrent_layers(proj_size=6)
# column rate, row rate
RATES = {"dense": None, "bsp": (3, 1.5), "few rows": (2, 12), "all pruned": (0, 0)}


class Streaming(nn.Module):
    """A layer or cell with its states in and out as tensors."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.is_cell = isinstance(layer, nn.RNNCellBase)

    def forward(self, x, *states):
        results = self.layer(x, states if len(states) > 1 else states[0])
        if self.is_cell:
            return results
        y, last = results
        return (y, *last) if len(states) > 1 else (y, last)


def prune(layer, rates):
    torch.manual_seed(0)
    if RATES[rates] == (0, 0):
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                if "weight" in name:
                    parameter.zero_()
    elif RATES[rates] is not None:
        column_rate, row_rate = RATES[rates]
        rt.prune(layer, column_rate=column_rate, row_rate=row_rate, row_stripes=3, col_blocks=2)


def states_of(layer, *leading):
    generator = torch.Generator().manual_seed(1)
    is_lstm = isinstance(layer, nn.LSTM | nn.LSTMCell)
    sizes = [getattr(layer, "proj_size", 0) or HIDDEN, HIDDEN][: 1 + is_lstm]
    return [torch.rand(*leading, size, generator=generator) - 0.5 for size in sizes]


def close(got, expected):
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == tuple(theirs.shape)
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


CASES = [
    ("lstm", 1, False, 1, True, False, "bsp"),
    ("lstm", 2, False, 3, False, True, "dense"),
    ("lstm", 2, True, 1, True, True, "few rows"),
    ("lstm", 1, False, 16, True, False, "all pruned"),
    ("lstmp", 2, False, 1, True, False, "bsp"),
    ("lstmp", 1, True, 16, False, True, "few rows"),
    ("lstmp", 2, True, 3, True, False, "dense"),
    ("lstmp", 1, False, 3, True, False, "all pruned"),
    ("rnn_tanh", 2, False, 1, True, True, "bsp"),
    ("rnn_tanh", 1, True, 16, False, False, "dense"),
    ("rnn_tanh", 1, False, 3, True, False, "all pruned"),
    ("rnn_relu", 2, True, 3, True, False, "bsp"),
    ("rnn_relu", 1, False, 16, False, True, "few rows"),
    ("gru", 1, True, 16, True, True, "bsp"),
    ("gru", 2, True, 3, False, False, "few rows"),
    ("gru", 1, False, 1, True, True, "dense"),
    ("gru", 1, False, 3, True, True, "all pruned"),
]


@pytest.mark.parametrize(
    ("kind", "layers", "bidirectional", "batch", "bias", "batch_first", "rates"), CASES
)
def test_layers_are_pytorchs(machine, kind, layers, bidirectional, batch, bias, batch_first, rates):
    layer = LAYERS[kind](
        INPUTS, HIDDEN, layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first,
        dropout=0.5 if layers > 1 else 0.0,
    ).eval()  # fmt: skip
    prune(layer, rates)
    model = Streaming(layer).eval()
    states = states_of(layer, layers * (1 + bidirectional), batch)
    example = torch.randn(batch, 4, INPUTS) if batch_first else torch.randn(4, batch, INPUTS)
    program = machine.compile(model, (example, *states))
    ours, theirs = states, states
    for steps in CHUNKS:
        x = torch.randn((batch, steps, INPUTS) if batch_first else (steps, batch, INPUTS))
        got = program(x, *ours)
        with torch.no_grad():
            expected = model(x, *theirs)
        close(got, expected)
        ours, theirs = [torch.from_numpy(state) for state in got[1:]], expected[1:]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("batch", "bias", "rates"), [(1, True, "bsp"), (16, False, "few rows")])
def test_cells_are_pytorchs(kind, batch, bias, rates):
    cell = CELLS[kind](INPUTS, HIDDEN, bias=bias).eval()
    prune(cell, rates)
    model, states = Streaming(cell).eval(), states_of(cell, batch)
    program = rt.compile(model, (torch.randn(batch, INPUTS), *states))
    assert program.inputs[0].shape == (batch, INPUTS)
    ours, theirs = states, states
    for _ in range(5):
        x = torch.randn(batch, INPUTS)
        got = program(x, *ours)
        with torch.no_grad():
            expected = model(x, *theirs)
        got, expected = (a if isinstance(a, tuple) else (a,) for a in (got, expected))
        close(got, expected)
        ours, theirs = [torch.from_numpy(state) for state in got], expected


def test_a_projection_is_stored_as_narrow_as_the_other_weights():
    layer = LAYERS["lstmp"](INPUTS, HIDDEN, 2).eval()
    prune(layer, "bsp")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter.half().float())
    x = torch.randn(7, 3, INPUTS)
    program = rt.compile(layer, x, values="f16")
    y, states = layer(x)
    close(program(x), [each.detach() for each in (y, *states)])
    parts = [m.name for m in program.report.matrices]
    assert parts == [f"weight_{part}_l{k}" for k in range(2) for part in ("ih", "hh", "hr")]


class Decoder(nn.Module):
    """An encoder over any number of steps, then three steps of a cell written out in Python."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(INPUTS, HIDDEN, batch_first=True)
        self.cell = nn.GRUCell(HIDDEN, HIDDEN)
        self.fc = nn.Linear(HIDDEN, 3)

    def forward(self, x):
        y, (h, _) = self.encoder(x)
        h, out = h[0], []
        for _ in range(3):
            h = self.cell(y[:, -1], h)
            out.append(self.fc(h))
        return torch.stack(out, 1)


def test_a_cell_beside_a_layer_leaves_the_steps_open():
    model = Decoder().eval()
    program = rt.compile(model, torch.randn(2, 4, INPUTS))
    assert program.inputs[0].shape == (2, None, INPUTS)
    for steps in (1, 6):
        x = torch.randn(2, steps, INPUTS)
        with torch.no_grad():
            close([program(x)], [model(x)])


def exports(model, example):
    """What the evaluator makes of a plain torch.export of the model, and the model itself."""
    imported = import_module(torch.export.export(model, example, strict=False))
    run_passes(imported.module, layout_pipeline())
    with torch.no_grad():
        expected = model(*example)
    return evaluate(imported.module, *(a.numpy() for a in example)), expected


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("bias", "bidirectional"), [(True, False), (False, True)])
def test_exported_layers_are_pytorchs(kind, bias, bidirectional):
    layer = LAYERS[kind](INPUTS, HIDDEN, 2, bias=bias, bidirectional=bidirectional)
    states = states_of(layer, 4 if bidirectional else 2, 3)
    close(*exports(Streaming(layer).eval(), (torch.randn(4, 3, INPUTS), *states)))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_exported_cells_are_pytorchs(kind, bias):
    cell = CELLS[kind](INPUTS, HIDDEN, bias=bias)
    got, expected = exports(Streaming(cell).eval(), (torch.randn(3, INPUTS), *states_of(cell, 3)))
    close(got, expected if isinstance(expected, tuple) else [expected])
