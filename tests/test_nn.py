"""The custom ops and the swap of stock layers: the same numbers as torch's, nothing copied."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_leaves
from torch_layers import CELLS, recurrent_layers

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.kinds import KINDS
from rtmobile_iree.nn import OPS, ExportableRNN, swap_recurrent

INPUTS, HIDDEN = 5, 7


def random_state(*shape):
    return torch.rand(shape) * 2 - 1


def same(got, expected):
    for mine, theirs in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


LAYERS = recurrent_layers(proj_size=3)


def states_of(layer, rows, *batch):
    """Random states as the layer takes them."""
    outputs = getattr(layer, "proj_size", 0) or HIDDEN
    h = random_state(*rows, *batch, outputs)
    lstm = isinstance(layer, nn.LSTM | nn.LSTMCell)
    return (h, random_state(*rows, *batch, HIDDEN)) if lstm else h


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "batch"), [(1, 1), (1, 5), (2, 2), (3, 1)])
def test_swapped_layer_is_torchs(kind, layers, batch, bias, batch_first):
    stock = LAYERS[kind](INPUTS, HIDDEN, layers, bias=bias, batch_first=batch_first).eval()
    swapped = swap_recurrent(stock)
    for steps in (1, 2, 6):
        shape = (batch, steps, INPUTS) if batch_first else (steps, batch, INPUTS)
        x, h = torch.randn(shape), states_of(stock, [layers], batch)
        same(swapped(x), stock(x))
        same(swapped(x, h), stock(x, h))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_unbatched_and_bidirectional(kind, batch_first, bidirectional):
    stock = LAYERS[kind](
        INPUTS, HIDDEN, 2, batch_first=batch_first, bidirectional=bidirectional
    ).eval()
    swapped = swap_recurrent(stock)
    x, h = torch.randn(4, INPUTS), states_of(stock, [4 if bidirectional else 2])
    same(swapped(x), stock(x))
    same(swapped(x, h), stock(x, h))
    same(swapped(x.unsqueeze(0)), stock(x.unsqueeze(0)))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [[], [1], [5]])
def test_swapped_cell_is_torchs(kind, bias, batch):
    stock = CELLS[kind](INPUTS, HIDDEN, bias=bias).eval()
    swapped = swap_recurrent(stock)
    x, h = torch.randn(*batch, INPUTS), states_of(stock, [], *batch)
    same(swapped(x), stock(x))
    same(swapped(x, h), stock(x, h))


def test_dropout_between_layers_is_for_training():
    stock = nn.LSTM(INPUTS, HIDDEN, 3, dropout=0.5).eval()
    x = torch.randn(4, 1, INPUTS)
    same(swap_recurrent(stock)(x), stock(x))


def op_arguments(kind, row, rows, batch=2):
    """A layer, and arguments of its op with row `row` of so many."""
    stock = LAYERS[kind](INPUTS, HIDDEN).eval()
    w_ih, w_hh, b_ih, b_hh, *w_hr = (p.detach() for p in stock.parameters())
    sizes = [stock.proj_size or HIDDEN, HIDDEN][: len(KINDS[kind].states)]
    states = [random_state(rows, batch, size) for size in sizes]
    x = torch.randn(3, batch, INPUTS)
    return stock, [x, *states, w_ih, w_hh, *w_hr, b_ih, b_hh, row, f"{kind}.l0"]


@pytest.mark.parametrize("kind", OPS)
def test_op_replaces_its_row_of_the_states_and_leaves_its_arguments(kind):
    stock, arguments = op_arguments(kind, 2, rows=4)
    x, *states = arguments[: KINDS[kind].first_weight]
    before = [state.clone() for state in states]
    y, *after = OPS[kind](*arguments)
    rows = [state[2:3].contiguous() for state in states]
    expected_y, last = stock(x, tuple(rows) if len(rows) > 1 else rows[0])
    same((y, [state[2:3] for state in after]), (expected_y, list(tree_leaves(last))))
    for state, new, untouched in zip(states, after, before, strict=True):
        assert torch.equal(state, untouched)
        assert torch.equal(new[[0, 1, 3]], state[[0, 1, 3]])


@pytest.mark.parametrize("kind", OPS)
def test_op_is_registered_as_torch_wants_it(kind):
    _, arguments = op_arguments(kind, 1, rows=2)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(OPS[kind], tuple(arguments), test_utils=checks)


@pytest.mark.parametrize(
    ("kind", "position", "shape", "said"),
    [
        ("gru", 1, (1, 3, HIDDEN), "the state"),
        ("gru", 2, (3 * HIDDEN, INPUTS + 1), "w_ih"),
        ("gru", 3, (3 * HIDDEN + 1, HIDDEN), "w_hh"),
        ("lstm", 1, (1, 2, HIDDEN + 1), "the state"),
        ("lstm", 2, (1, 2, HIDDEN + 1), "the cell"),
        ("lstm", 4, (3 * HIDDEN, HIDDEN), "w_hh"),
        ("lstmp", 1, (1, 2, HIDDEN), "the state"),
        ("lstmp", 5, (3, HIDDEN + 1), "w_hh"),
        ("rnn_tanh", 3, (2 * HIDDEN, HIDDEN), "w_hh"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(kind, position, shape, said):
    _, arguments = op_arguments(kind, 0, rows=1)
    arguments[position] = torch.zeros(shape)
    meta = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in arguments]
    with pytest.raises(RuntimeError, match=f"{kind}.l0: {said}"):
        OPS[kind](*meta)


class Shared(nn.Module):
    """One GRU under two names, and in a list that is no module list."""

    def __init__(self):
        super().__init__()
        self.first = nn.GRU(INPUTS, INPUTS)
        self.second = self.first
        self.both = [self.first, self.second]
        self.fc = nn.Linear(INPUTS, 2)

    def forward(self, x):
        for layer in self.both:
            x, _ = layer(x)
        return self.fc(x)


def test_swap_shares_weights_and_leaves_the_module():
    model = Shared().eval()
    swapped = swap_recurrent(model)
    assert type(model.first) is nn.GRU
    assert isinstance(swapped.first, ExportableRNN)
    assert swapped.first is swapped.second is swapped.both[1]
    mine = dict(swapped.named_parameters())
    for name, parameter in model.named_parameters():
        assert mine[name] is parameter
    x = torch.randn(3, 1, INPUTS)
    same([swapped(x)], [model(x)])


def test_parametrized_weights_are_swapped_by_value():
    stock = nn.GRU(INPUTS, HIDDEN).eval()
    nn.utils.parametrizations.weight_norm(stock, "weight_hh_l0")
    x = torch.randn(3, 1, INPUTS)
    same(swap_recurrent(stock)(x), stock(x))


def test_a_module_that_cannot_be_copied_is_refused():
    model = nn.Sequential(nn.GRU(INPUTS, HIDDEN)).eval()
    model.lines = (line for line in ())
    with pytest.raises(FrontendError, match="Sequential: the module cannot be copied.*generator"):
        swap_recurrent(model)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((pack_sequence([torch.randn(3, INPUTS)]),), "0: nn.GRU called with a PackedSequence"),
        ((torch.randn(3, 1, INPUTS + 1),), r"0: nn.GRU input of shape \[3, 1, 6\].*the last of 5"),
        ((torch.randn(INPUTS),), r"0: nn.GRU input of shape \[5\]"),
        (
            (torch.randn(3, 1, INPUTS), (torch.zeros(1, 1, HIDDEN),) * 2),
            r"0: nn.GRU initial state of shape \[1, 1, 7\] and \[1, 1, 7\]; use \[1, 1, 7\]",
        ),
        (
            (torch.randn(3, 1, INPUTS), torch.zeros(2, 1, HIDDEN)),
            r"0: nn.GRU initial state of shape \[2, 1, 7\]; use \[1, 1, 7\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments, said):
    swapped = swap_recurrent(nn.Sequential(nn.GRU(INPUTS, HIDDEN)).eval())
    with pytest.raises(FrontendError, match=said):
        swapped[0](*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.randn(2, 1, INPUTS),), r"0: nn.LSTMCell input of shape \[2, 1, 5\]; use 1 or 2"),
        (
            (torch.randn(2, INPUTS), torch.zeros(2, HIDDEN)),
            r"0: nn.LSTMCell initial state of shape \[2, 7\]; use \[2, 7\] and \[2, 7\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_a_cell_are_refused(arguments, said):
    swapped = swap_recurrent(nn.Sequential(nn.LSTMCell(INPUTS, HIDDEN)).eval())
    with pytest.raises(FrontendError, match=said):
        swapped[0](*arguments)


def test_a_subclass_is_called_by_its_stock_name():
    class Mine(nn.GRU):
        pass

    with pytest.raises(FrontendError, match=r"^nn.GRU input of shape \[2\]"):
        swap_recurrent(Mine(INPUTS, HIDDEN).eval())(torch.randn(2))
