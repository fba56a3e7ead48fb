"""Passes over a GRU stack in training, dense and under masks: PyTorch's outputs and gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from rtmobile_iree.gru_training import stack
from rtmobile_iree.gru_training.sparse import Sparsity
from rtmobile_iree.gru_training.stack import GRUPass
from rtmobile_iree.prune.masks import MaskedWeight
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.prune.weights import plain_parameter, select_weights

SIZES = [(1, 1, 1, 1), (13, 2, 3, 7), (32, 3, 5, 1), (7, 1, 1, 9), (8, 2, 17, 12)]


def made(units, layers, batch, steps, **options):
    """A GRU and its input, the same for the same arguments."""
    torch.manual_seed(units)
    gru = nn.GRU(5, units, layers, batch_first=True, **options)
    return gru, torch.randn(batch, steps, 5)


def masked(gru, share, together=1):
    """Puts masks on all matrices that keep so much of them, by chance; so many rows alike."""
    generator = torch.Generator().manual_seed(0)
    for weight in select_weights(gru, None):
        mask = MaskedWeight(weight, parameter := plain_parameter(weight), Structure(1, 1, 1, 1))
        rows, columns = parameter.shape
        kept = torch.rand((rows // together, columns), generator=generator) < share
        mask.keep(kept.repeat_interleave(together, 0))


def outputs_and_gradients(gru, x, forward):
    gru.zero_grad()
    x = x.clone().requires_grad_()
    y = forward(x)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    (y * weights).sum().backward()
    return y.detach(), [x.grad, *(parameter.grad.clone() for parameter in gru.parameters())]


def assert_same(gru, x, gru_pass, close):
    plain = outputs_and_gradients(gru, x, lambda x: gru(x)[0])
    fast = outputs_and_gradients(gru, x, gru_pass)
    assert (plain[0] - fast[0]).norm() <= close * plain[0].norm()
    largest = max(gradient.norm() for gradient in plain[1])
    for one, other in zip(plain[1], fast[1], strict=True):
        assert (one - other).norm() <= close * largest


@pytest.mark.parametrize(("units", "layers", "batch", "steps"), SIZES)
@pytest.mark.parametrize(("precision", "close"), [("f32", 1e-5), ("bf16", 4e-2)])
def test_dense_is_pytorchs_gru(units, layers, batch, steps, precision, close):
    gru, x = made(units, layers, batch, steps)
    assert_same(gru, x, GRUPass(gru, precision), close)


@pytest.mark.parametrize("has", [True, False])
def test_auto_takes_bf16_where_the_cpu_multiplies_it(has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has})
    assert stack.operand_type("auto") == (torch.bfloat16 if has else torch.float32)
    assert stack.operand_type("f32") == torch.float32
    assert stack.operand_type("bf16") == torch.bfloat16


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("units", "layers", "batch", "steps"), SIZES)
def test_sparse_is_pytorchs_gru_under_masks(units, layers, batch, steps, share, monkeypatch):
    monkeypatch.setitem(stack.SPARSE_BELOW, torch.float32, {1: 1.0, 4: 1.0})
    monkeypatch.setattr(GRUPass, "_dense", None)  # it is not what runs
    gru, x = made(units, layers, batch, steps)
    masked(gru, share)
    assert_same(gru, x, GRUPass(gru, "f32"), 1e-5)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("units", "layers", "batch", "steps"), [(4, 1, 1, 1), (32, 2, 18, 11)])
def test_rows_that_share_columns(units, layers, batch, steps, share, monkeypatch):
    monkeypatch.setitem(stack.SPARSE_BELOW, torch.float32, {1: 1.0, 4: 1.0})
    gru, x = made(units, layers, batch, steps)
    masked(gru, share, together=4)
    mask = gru.parametrizations.weight_hh_l0[0].kept
    assert Sparsity.of(mask).group == 4
    assert_same(gru, x, GRUPass(gru, "f32"), 1e-5)
    mask[5, 3].logical_not_()
    assert Sparsity.of(mask).group == 1
    assert_same(gru, x, GRUPass(gru, "f32"), 1e-5)


def test_a_changed_mask_is_seen():
    gru, x = made(16, 2, 3, 4)
    masked(gru, 0.05)
    gru_pass = GRUPass(gru, "f32")
    assert_same(gru, x, gru_pass, 1e-5)
    gru.parametrizations.weight_hh_l0[0].kept.logical_not_()
    assert_same(gru, x, gru_pass, 1e-5)


@pytest.mark.parametrize(
    ("precision", "share", "together", "way"),
    [
        ("f32", 0.02, 1, "_sparse"),
        ("f32", 0.25, 1, "_sparse"),
        ("f32", 0.5, 1, "_dense"),
        ("f32", 0.5, 4, "_sparse"),
        ("bf16", 0.02, 1, "_sparse"),
        ("bf16", 0.25, 1, "_dense"),
        ("bf16", 0.2, 4, "_sparse"),
        ("bf16", 0.5, 4, "_dense"),
    ],
)
def test_few_weights_take_the_sparse_way(precision, share, together, way, monkeypatch):
    taken = []
    for name in ("_dense", "_sparse"):
        run = getattr(GRUPass, name)
        monkeypatch.setattr(
            GRUPass, name, lambda *args, name=name, run=run: taken.append(name) or run(*args)
        )
    gru, x = made(64, 1, 2, 3)
    GRUPass(gru, precision)(x)
    masked(gru, share, together=together)
    GRUPass(gru, precision)(x)
    assert taken == ["_dense", way]


@pytest.mark.parametrize("share", [1.0, 0.02])
def test_dropout_is_of_training_only(share):
    gru, x = made(16, 2, 2, 5, dropout=0.5)
    if share < 1:
        masked(gru, share)
    gru_pass = GRUPass(gru, "f32")
    assert not gru_pass(x).equal(gru_pass(x))
    gru.eval()
    assert gru_pass(x).equal(gru_pass(x))


def test_sparsity_of_single_rows():
    matrix = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 4.0, 5.0]])
    sparsity = Sparsity.of(matrix != 0)
    values = sparsity.values(matrix)
    bounds, columns = sparsity.csr
    assert values.tolist() == [2, 3, 4, 5]
    assert bounds.tolist() == [0, 1, 1, 4]
    assert columns.tolist() == [1, 0, 1, 2]
    assert sparsity.matrix(np.float32(values)).equal(matrix)


def test_sparsity_of_four_rows():
    first = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 0]]).bool()
    kept = first.repeat_interleave(4, 0)
    matrix = torch.arange(1.0, 37).view(12, 3) * kept
    sparsity = Sparsity.of(kept)
    assert (sparsity.group, sparsity.kept) == (4, 12)
    values = sparsity.values(matrix)
    assert values.tolist() == [[2, 5, 8, 11], [3, 6, 9, 12], [25, 28, 31, 34]]
    assert [part.tolist() for part in sparsity.csr] == [[0, 2, 2, 3], [1, 2, 0]]
    assert sparsity.matrix(values).equal(matrix)
