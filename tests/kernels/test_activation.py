"""The vector activations against f64, over the whole range a gate can see."""

import numpy as np
import pytest
from rtmobile_iree.passes.kernels.activation import gru_blend, sigmoid, tanh
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch, dynamic_dims
from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import func

from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.runtime import Module
from rtmobile_iree.targets import host_target

COUNT = 4096
TOLERANCE = 5e-7  # what activation.py promises


def run(body, *inputs):
    """Applies body(emitter, pieces of the inputs, length) to COUNT elements on the host."""
    emit = Emitter(host_target().vector_width)
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.create()
        binding = Binding(emit.f32, 1, 0, True)
        out = Binding(emit.f32, 1, 0, False)

        def kernel(count, buffers):
            def piece(i):
                values = [emit.vload(buffer, i, emit.width) for buffer in buffers[:-1]]
                emit.vstore(body(emit, *values, emit.width), buffers[-1], i)

            emit.loop(0, count, emit.width, [], piece)

        define_kernel(module.body, "kernel", [binding] * len(inputs) + [out], kernel)
        vector = ir.RankedTensorType.get([ir.ShapedType.get_dynamic_size()], emit.f32)
        with ir.InsertionPoint(module.body):
            main = func.FuncOp("main", ir.FunctionType.get([vector] * len(inputs), [vector]))
        with ir.InsertionPoint(main.add_entry_block()):
            dims = dynamic_dims(main.arguments[0])
            call = dispatch("kernel", dims[0], list(main.arguments), [(vector, dims)])
            func.ReturnOp([call.results[0]])
        text = module.operation.get_asm(assume_verified=True)
    return Module(compile_text(text, host_target()))(list(inputs))[0]


def exact_sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x.astype(np.float64)))


POINTS = {
    "near zero": np.linspace(-1e-3, 1e-3, COUNT),
    "usual": np.linspace(-12, 12, COUNT),
    "saturated": np.linspace(-90, 90, COUNT),
    "huge": np.geomspace(1e2, 3e38, COUNT) * np.tile([1, -1], COUNT // 2),
}


@pytest.mark.parametrize("name", POINTS)
def test_sigmoid_and_tanh_are_within_their_tolerance(name):
    x = POINTS[name].astype(np.float32)
    np.testing.assert_allclose(run(sigmoid, x), exact_sigmoid(x), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(run(tanh, x), np.tanh(x.astype(np.float64)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", POINTS)
def test_gru_blend_is_within_its_tolerance(name):
    z = POINTS[name].astype(np.float32)
    rng = np.random.default_rng(0)
    n = rng.permutation(z)
    h = rng.uniform(-1, 1, COUNT).astype(np.float32)
    gate = exact_sigmoid(z)
    expected = (1 - gate) * np.tanh(n.astype(np.float64)) + gate * h
    np.testing.assert_allclose(run(gru_blend, z, n, h), expected, rtol=0, atol=TOLERANCE)


def test_a_nan_stays_a_nan():
    x = np.full(COUNT, np.nan, np.float32)
    assert np.isnan(run(sigmoid, x)).all()
    assert np.isnan(run(tanh, x)).all()
