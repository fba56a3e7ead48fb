"""`bspc-encode` on every form of product torch-mlir writes: same numbers, nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rtmobile_iree.dialects import make_context
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from torch_mlir import ir

from rtmobile_iree.frontend import import_module
from rtmobile_iree.reference import evaluate

FORMS = Path(__file__).with_name("encode_forms.mlir").read_text()
FLOW = (EncodePass(threshold=1), ReorderPass(), EliminateLoadsPass(), PackPass())
ANY_SIZE = 3  # what an open dimension gets


def functions(text: str) -> dict[str, list[list[int]]]:
    """Name and argument shapes of every function."""
    with make_context():
        return {
            op.name.value: [shape_of(kind) for kind in op.type.inputs]
            for op in ir.Module.parse(text).body.operations
        }


def shape_of(kind: ir.Type) -> list[int]:
    kind = ir.RankedTensorType(kind)
    return [ANY_SIZE if kind.is_dynamic_dim(i) else kind.get_dim_size(i) for i in range(kind.rank)]


SHAPES = functions(FORMS)


@pytest.mark.parametrize("function", SHAPES)
def test_same_numbers_after_every_pass(function):
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES[function]]
    with make_context():
        module = ir.Module.parse(FORMS)
        expected = evaluate(module, *inputs, function=function)
        seen = []

        def compare(each, _):
            seen.append(each.name)
            found = evaluate(module, *inputs, function=function)
            for want, have in zip(expected, found, strict=True):
                np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)

        run_passes(module, FLOW, after=compare)
        assert len(seen) == len(FLOW)
        assert "bspc.packed_matmul" in str(module)
        assert "= linalg.matmul" not in str(module)


class Product(torch.nn.Module):
    """A function of x and of a matrix [6, 40] that keeps two columns."""

    def __init__(self, function) -> None:
        super().__init__()
        weight = torch.zeros(6, 40)
        weight[:, [3, 17]] = torch.arange(1.0, 13.0).reshape(6, 2)
        self.weight = torch.nn.Parameter(weight)
        self.function = function

    def forward(self, x):
        return self.function(x, self.weight)


TORCH_FORMS = {
    "linear_1d": (torch.nn.functional.linear, (40,)),
    "linear_2d": (torch.nn.functional.linear, (3, 40)),
    "linear_4d": (torch.nn.functional.linear, (2, 3, 1, 40)),
    "matmul_left": (lambda x, w: torch.matmul(w, x), (40, 3)),
    "matmul_left_batch": (lambda x, w: torch.matmul(w, x), (2, 40, 3)),
    "vecmat": (lambda x, w: torch.matmul(x, w), (6,)),
    "mv": (lambda x, w: torch.mv(w, x), (40,)),
    "bmm": (lambda x, w: torch.bmm(x, w.t().expand(2, 40, 6)), (2, 3, 40)),
    "bmm_of_1": (lambda x, w: torch.bmm(x, w.t()[None]), (1, 3, 40)),
    "einsum": (lambda x, w: torch.einsum("btk,mk->btm", x, w), (2, 3, 40)),
    "addmm": (lambda x, w: torch.addmm(w[:, 0], x, w.t()), (3, 40)),
}


@pytest.mark.parametrize("form", TORCH_FORMS)
def test_what_torch_emits(form):
    """Hazard: a new torch-mlir writes products another way, and all layers stay dense."""
    function, shape = TORCH_FORMS[form]
    module = Product(function).eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    imported = import_module(module, (x,), dynamic_steps=False).module
    run_passes(imported, FLOW)
    assert str(imported).count('"bspc.packed_matmul"') == 1
    (found,) = evaluate(imported, x.numpy())
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-5)
