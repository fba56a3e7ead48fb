"""The vector activations against f64, over every exponent f32 has."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes.kernels.activation import (
    AMPLIFICATION,
    ROUNDING,
    gru_blend,
    lstm_cell,
    lstm_output,
    polynomial,
    relative_error,
    sigmoid,
    tanh,
)
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch, dynamic_dims
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.lower import LowerPass
from torch import nn
from torch_mlir import ir
from torch_mlir.dialects import func

import rtmobile_iree as rt
from rtmobile_iree.errors import InputError
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.runtime import Module
from rtmobile_iree.schedule import ACTIVATION_ERROR, ACTIVATION_ERRORS, Schedule
from rtmobile_iree.targets import host_target

ERRORS = (ACTIVATION_ERRORS[0], 1e-6, 1e-5, 1e-4, 1e-3, 0.1)
MANTISSAS = 2048


def every_exponent():
    """All powers of two of both signs, denormals too, each with many mantissas."""
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(255, dtype=np.uint32) << 23, MANTISSAS)
    bits = exponents | rng.integers(0, 2**23, exponents.size, dtype=np.uint32)
    return np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)


POINTS = {
    "every exponent": every_exponent(),
    "where it bends": np.linspace(-20, 20, 1 << 20).astype(np.float32),
    "near zero": np.linspace(-1e-3, 1e-3, 1 << 14).astype(np.float32),
}


def kernel(body, count, error=ACTIVATION_ERROR):
    """body(emitter, pieces of `count` inputs, length) as a function of arrays, on the host."""
    emit = Emitter(host_target().vector_width, error)
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.create()
        binding, out = Binding(emit.f32, 1, 0, True), Binding(emit.f32, 1, 0, False)

        def apply(items, buffers):
            def piece(i):
                values = [emit.vload(buffer, i, emit.width) for buffer in buffers[:-1]]
                emit.vstore(body(emit, *values, emit.width), buffers[-1], i)

            emit.loop(0, items, emit.width, [], piece)

        define_kernel(module.body, "kernel", [binding] * count + [out], apply)
        vector = ir.RankedTensorType.get([ir.ShapedType.get_dynamic_size()], emit.f32)
        with ir.InsertionPoint(module.body):
            main = func.FuncOp("main", ir.FunctionType.get([vector] * count, [vector]))
        with ir.InsertionPoint(main.add_entry_block()):
            dims = dynamic_dims(main.arguments[0])
            call = dispatch("kernel", dims[0], list(main.arguments), [(vector, dims)])
            func.ReturnOp([call.results[0]])
        text = module.operation.get_asm(assume_verified=True)
    loaded = Module(compile_text(text, host_target()))
    return lambda *inputs: loaded(list(inputs))[0]


def exact_sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x.astype(np.float64)))


def exact_tanh(x):
    return np.tanh(x.astype(np.float64))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("body", "exact"), [(sigmoid, exact_sigmoid), (tanh, exact_tanh)], ids=["sigmoid", "tanh"]
)
def test_the_asked_error_is_kept(body, exact, error):
    run = kernel(body, 1, error)
    for name, x in POINTS.items():
        worst = np.abs(run(x) - exact(x)).max()
        assert worst <= error, f"{name}: {worst:.2e}"
    ends = np.repeat(np.array([np.inf, -np.inf, 0.0, -0.0, np.nan], np.float32), 16)
    got = run(ends)
    np.testing.assert_allclose(got[:64], exact(ends[:64]), rtol=0, atol=1e-12)
    assert np.isnan(got[64:]).all()


@pytest.mark.parametrize("error", ERRORS)
def test_gru_blend_keeps_the_asked_error(error):
    run, rng = kernel(gru_blend, 3, error), np.random.default_rng(0)
    for name, z in POINTS.items():
        n = rng.permutation(z)
        h = rng.uniform(-1, 1, z.size).astype(np.float32)
        gate = exact_sigmoid(z)
        worst = np.abs(run(z, n, h) - ((1 - gate) * exact_tanh(n) + gate * h)).max()
        assert worst <= error, f"{name}: {worst:.2e}"


@pytest.mark.parametrize("error", ERRORS)
def test_lstm_updates_keep_the_asked_error(error):
    cell = kernel(lambda e, i, f, g, c, n: lstm_cell(e, (i, f, g), c, n), 4, error)
    output, rng = kernel(lstm_output, 2, error), np.random.default_rng(0)
    for name, i in POINTS.items():
        f, g = rng.permutation(i), rng.permutation(i)
        c = rng.uniform(-1, 1, i.size).astype(np.float32)
        expected = exact_sigmoid(f) * c + exact_sigmoid(i) * exact_tanh(g)
        worst = np.abs(cell(i, f, g, c) - expected).max()
        assert worst <= error, f"{name}: c {worst:.2e}"
        worst = np.abs(output(i, f) - exact_sigmoid(i) * exact_tanh(f)).max()
        assert worst <= error, f"{name}: h {worst:.2e}"


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_a_large_cell_keeps_its_relative_error(size):
    """An LSTM's c grows with the steps; saturated gates must not overflow beside it."""
    cell = kernel(lambda e, i, f, g, c, n: lstm_cell(e, (i, f, g), c, n), 4)
    ends = [-np.inf, -3e38, -30, -1, 0, 1, 30, 3e38]
    i, f, g = (axis.ravel().astype(np.float32) for axis in np.meshgrid(ends, ends, ends))
    c = np.resize([size, -size], i.size).astype(np.float32)
    expected = exact_sigmoid(f) * c + exact_sigmoid(i) * exact_tanh(g)
    np.testing.assert_allclose(cell(i, f, g, c), expected, rtol=1e-6, atol=1e-6)


def test_the_default_has_room():
    """What is seen at the default, so that a loss of accuracy is noticed before it is promised."""
    x = POINTS["where it bends"]
    assert np.abs(kernel(tanh, 1)(x) - exact_tanh(x)).max() < 4e-7


@pytest.mark.parametrize("error", ERRORS)
def test_each_polynomial_is_as_good_as_its_error_needs(error):
    """The error of p alone, in f64; and one degree less would not do."""
    coefficients = polynomial(error)
    assert coefficients[-1] == 1.0
    assert all(c == np.float32(c) for c in coefficients)
    assert AMPLIFICATION * relative_error(coefficients) + ROUNDING <= error


def test_a_larger_error_takes_fewer_terms():
    degrees = [len(polynomial(error)) - 1 for error in ERRORS]
    assert degrees == [5, 5, 4, 3, 3, 1]


def test_amplification_bounds_the_slopes():
    """Derivatives of the updates by the relative errors of their exponentials, states of 1."""
    t, s = np.meshgrid(np.linspace(0, 1, 501), np.linspace(0, 1, 501))
    blend = (1 + t) * s * (1 - s) + (1 - s) * (1 - t**2) / 2
    product = t * s * (1 - s) + s * (1 - t**2) / 2
    assert blend.max() <= AMPLIFICATION
    assert product.max() + 1 / 4 <= AMPLIFICATION


@pytest.mark.parametrize("error", [0.0, -1e-6, 1e-7, 0.2, float("nan"), float("inf")])
def test_errors_nobody_can_have(error):
    for make in (polynomial, lambda e: Schedule(16, activation_error=e)):
        with pytest.raises(InputError, match=r"activation error .*use 4e-07 to 0.1"):
            make(error)
    with pytest.raises(InputError, match="activation error"):
        rt.compile(nn.GRU(1, 1).eval(), (torch.zeros(1, 1, 1),), activation_error=error)


def test_compile_passes_the_error_on():
    torch.manual_seed(0)
    gru, x = nn.GRU(5, 40).eval(), torch.randn(30, 1, 5)
    with torch.no_grad():
        exact = gru.double()(x.double())[0].numpy()
    gru.float()
    worst = []
    for error in (1e-6, 1e-2):
        program = rt.compile(gru, (x,), activation_error=error)
        worst.append(np.abs(program(x)[0] - exact).max())
    assert worst[0] < 1e-6 < 1e-5 < worst[1] < 1e-1


def test_it_is_an_option_of_the_pass():
    assert LowerPass().activation_error == ACTIVATION_ERROR == 1e-6
