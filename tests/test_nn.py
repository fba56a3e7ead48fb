"""The custom GRU op and the swap of stock layers: the same numbers as `nn.GRU`, nothing copied."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.nn import ExportableGRU, gru, swap_recurrent

INPUTS, HIDDEN = 5, 7


def random_state(layers, batch):
    return torch.rand(layers, batch, HIDDEN) * 2 - 1


def same(got, expected):
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_swapped_gru_is_torchs(layers, bias, batch_first, batch):
    stock = nn.GRU(INPUTS, HIDDEN, layers, bias=bias, batch_first=batch_first).eval()
    swapped = swap_recurrent(stock)
    for steps in (1, 2, 6):
        shape = (batch, steps, INPUTS) if batch_first else (steps, batch, INPUTS)
        x, h = torch.randn(shape), random_state(layers, batch)
        same(swapped(x), stock(x))
        same(swapped(x, h), stock(x, h))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_unbatched_and_bidirectional(batch_first, bidirectional):
    stock = nn.GRU(INPUTS, HIDDEN, 2, batch_first=batch_first, bidirectional=bidirectional).eval()
    swapped = swap_recurrent(stock)
    x, h = torch.randn(4, INPUTS), random_state(4 if bidirectional else 2, 1)[:, 0]
    same(swapped(x), stock(x))
    same(swapped(x, h), stock(x, h))
    same(swapped(x.unsqueeze(0)), stock(x.unsqueeze(0)))


def test_op_replaces_its_row_of_the_state_and_leaves_its_arguments():
    stock = nn.GRU(INPUTS, HIDDEN).eval()
    x, state = torch.randn(3, 2, INPUTS), random_state(4, 2)
    before = state.clone()
    weights = [p.detach() for p in stock.parameters()]
    y, new_state = gru(x, state, *weights, 2, "gru.l0")
    expected_y, expected_h = stock(x, state[2:3].contiguous())
    same((y, new_state[2:3]), (expected_y, expected_h))
    assert torch.equal(state, before)
    assert torch.equal(new_state[[0, 1, 3]], state[[0, 1, 3]])


def test_op_is_registered_as_torch_wants_it():
    weights = [p.detach() for p in nn.GRU(INPUTS, HIDDEN).parameters()]
    arguments = (torch.randn(3, 2, INPUTS), random_state(2, 2), *weights, 1, "gru.l1")
    torch.library.opcheck(gru, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("position", "shape", "said"),
    [
        (1, (1, 3, HIDDEN), "the state"),
        (2, (3 * HIDDEN, INPUTS + 1), "w_ih"),
        (3, (3 * HIDDEN + 1, HIDDEN), "w_hh"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(position, shape, said):
    weights = [p.detach() for p in nn.GRU(INPUTS, HIDDEN).parameters()]
    arguments = [torch.randn(3, 2, INPUTS), random_state(1, 2), *weights, 0, "gru.l0"]
    arguments[position] = torch.zeros(shape)
    meta = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in arguments]
    with pytest.raises(RuntimeError, match=f"gru.l0: {said}"):
        gru(*meta)


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
    assert isinstance(swapped.first, ExportableGRU)
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
            (torch.randn(3, 1, INPUTS), torch.zeros(2, 1, HIDDEN)),
            r"0: nn.GRU initial state of shape \[2, 1, 7\]; use \[1, 1, 7\]",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments, said):
    swapped = swap_recurrent(nn.Sequential(nn.GRU(INPUTS, HIDDEN)).eval())
    with pytest.raises(FrontendError, match=said):
        swapped[0](*arguments)
