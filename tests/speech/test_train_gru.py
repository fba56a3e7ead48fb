"""Training's own forward pass: the scores and gradients of `nn.GRU`, in f32 and nearly in bf16."""

import pytest
import torch

from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU
from rtmobile_iree.speech.train_gru import training_scores

PHONES = ("sil", "aa", "iy")


def scores_and_gradients(module, forward):
    module.zero_grad()
    scores = forward()
    weights = torch.linspace(-1, 1, scores.numel()).view_as(scores)
    (scores * weights).sum().backward()
    return scores.detach(), [parameter.grad.clone() for parameter in module.parameters()]


@pytest.mark.parametrize(
    ("units", "layers", "batch", "steps"),
    [(1, 1, 1, 1), (13, 2, 3, 7), (32, 3, 5, 1), (7, 1, 1, 9)],
)
@pytest.mark.parametrize(("precision", "close"), [("f32", 1e-5), ("bf16", 4e-2)])
def test_it_is_pytorchs_gru(units, layers, batch, steps, precision, close):
    torch.manual_seed(units)
    module = PhoneGRU(ModelConfig(PHONES, units, layers))
    module.scale.fill_(2.0)
    x = torch.randn(batch, steps, module.config.inputs)
    plain = scores_and_gradients(module, lambda: module(x, module.initial_state(batch))[0])
    fast = scores_and_gradients(module, lambda: training_scores(module, x, precision))
    assert (plain[0] - fast[0]).norm() <= close * plain[0].norm()
    largest = max(gradient.norm() for gradient in plain[1])
    for one, other in zip(plain[1], fast[1], strict=True):
        assert (one - other).norm() <= close * largest


def test_dropout_is_of_training_only():
    torch.manual_seed(0)
    module = PhoneGRU(ModelConfig(PHONES, 16, 2, dropout=0.5))
    x = torch.randn(2, 5, module.config.inputs)
    one, other = (training_scores(module, x, "f32") for _ in range(2))
    assert not one.equal(other)
    module.eval()
    assert training_scores(module, x, "f32").equal(training_scores(module, x, "f32"))
