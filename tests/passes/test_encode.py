"""`bspc-encode` on every form of product torch-mlir writes: same numbers, nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rtmobile_iree.dialects import make_context
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from torch_mlir import ir

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
