"""The dialect from Python: loading, building, reading, constants both ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rtmobile_iree.dialects import BSPC, constant, constant_array, make_context
from rtmobile_iree.dialects.bspc import EncodingAttr, MatmulOp
from rtmobile_iree.dialects.constants import element_type
from rtmobile_iree.dialects.context import load_bspc
from rtmobile_iree.dialects.recurrent import GruOp
from torch_mlir import ir

ROOT = Path(__file__).parents[2]
OPS = Path(__file__).with_name("ops.mlir")


def test_loading_twice_is_once() -> None:
    """Hazard: ext.Dialect.load raises on a context that has the dialect."""
    context = make_context()
    load_bspc(context)
    assert context.is_dialect_loaded(BSPC.DIALECT_NAMESPACE)


def test_two_contexts_side_by_side() -> None:
    """Hazard: attribute and op classes are registered process-wide, type ids per context."""
    first, second = make_context(), make_context()
    for context in (first, second, first):
        with context:
            module = ir.Module.parse(OPS.read_text())
            assert module.operation.verify()
            ops = [op for f in module.body for op in f.regions[0].blocks[0]]
            matmuls = [op for op in ops if isinstance(op, MatmulOp)]
            assert len(matmuls) == 5
            encoding = ir.RankedTensorType(matmuls[3].operands[1].type).encoding
            assert isinstance(encoding, EncodingAttr)
            assert ir.DictAttr(encoding.fields)["stage"].value == "encoded"


@pytest.mark.parametrize("generic", [False, True])
def test_parse_print_parse(generic: bool) -> None:
    with make_context():
        module = ir.Module.parse(OPS.read_text())
        text = module.operation.get_asm(print_generic_op_form=generic)
        again = ir.Module.parse(text)
        assert again.operation.verify()
        assert again.operation.get_asm(print_generic_op_form=generic) == text


@pytest.mark.parametrize("folder", ["dialects", "passes"])
def test_top_level_folders_are_no_packages(folder: str) -> None:
    """Hazard: `import dialects` from the root makes a second set of classes."""
    code = f"import {folder}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"import rtmobile_iree.{folder}, not the top-level folder" in result.stderr


def test_building_ops() -> None:
    """Without reorder operands, and with them; the verifier sees both."""
    with make_context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            x, w = constant(np.ones((2, 4), np.float32)), constant(np.ones((3, 4), np.float32))
            order = constant(np.arange(3, dtype=np.int32))
            y = ir.RankedTensorType.get([2, 3], ir.F32Type.get())
            for operands in ([x, w], [x, w, order]):
                op = ir.Operation.create("bspc.matmul", results=[y], operands=operands)
                assert isinstance(op.opview, MatmulOp)
                assert op.verify()
            bad = ir.Operation.create("bspc.matmul", results=[y], operands=[w, x])
            with pytest.raises(ir.MLIRError, match=r"bspc.matmul: w \[2, 4\] without a reorder"):
                bad.verify()
            bad.erase()
        assert module.operation.verify()


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -0.0], [np.inf, 3e-45]], np.float32),
        np.full((3, 5), 2.5, np.float32),
        np.array([2**31 - 1, -1], np.int32),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int32),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
    ],
    ids=["f32", "splat", "i32", "no rows", "empty", "transposed"],
)
def test_constants_keep_their_bits(array: np.ndarray) -> None:
    with make_context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            value = constant(array)
        # named, because a value does not keep its module alive
        reparsed = ir.Module.parse(str(module))
        for each in (value, reparsed.body.operations[0].results[0]):
            read = constant_array(each)
            assert read is not None
            assert read.dtype == array.dtype
            assert read.shape == array.shape
            np.testing.assert_array_equal(read, array)
            np.testing.assert_array_equal(np.signbit(read), np.signbit(array))


def test_unsigned_constants_are_signless() -> None:
    array = np.array([0, 65535, 40000], np.uint16)
    with make_context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            value = constant(array)
            assert str(value.type) == "tensor<3xi16>"
            read = constant_array(value)
            assert read is not None
            np.testing.assert_array_equal(read.view(np.uint16), array)


def test_constant_with_an_encoding() -> None:
    array = np.eye(3, 4, dtype=np.float32)
    with make_context(), ir.Location.unknown():
        fields = {"stage": ir.StringAttr.get("encoded")}
        encoding = EncodingAttr.get(ir.DictAttr.get(fields))
        kind = ir.RankedTensorType.get([3, 4], ir.F32Type.get(), encoding)
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            value = constant(array, type=kind)
            assert value.type == kind
            np.testing.assert_array_equal(constant_array(value), array)


def test_what_is_no_constant() -> None:
    with make_context():
        module = ir.Module.parse(OPS.read_text())
        block = module.body.operations[0].regions[0].blocks[0]
        assert constant_array(block.arguments[0]) is None
        assert constant_array(block.operations[0].results[0]) is None


def test_no_constants_of_other_types() -> None:
    with make_context(), pytest.raises(TypeError, match="no constant of float64 is made here"):
        element_type(np.dtype(np.float64))


def test_every_op_and_attribute_is_documented() -> None:
    """Each gives its loop nest."""
    for each in (*BSPC.operations, *BSPC.attributes):
        assert each.__doc__
        assert "for " in each.__doc__
    assert GruOp in BSPC.operations
