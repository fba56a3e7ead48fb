"""Small kernels that do one thing as fast as the machine can, made like the model's own.

Each is one dispatch that loops inside, so that its start costs nothing beside it:

    read        for r in repeats: for i in n:   sum[lane of i] += x[i]
    multiply    for i in n:                     sum[k] = sum[k] * x[0] + x[1],  k in registers
    FUNCTION    for r in repeats: for i in n:   sum[lane of i] += FUNCTION(x[i])

LLVM may not reorder sums of floats, so no loop folds away. Many independent sums hide the latency
of an addition. Every kernel returns its sums, and tests hold them against NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import arith, func, tensor

from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.passes.kernels.activation import (
    gru_blend,
    lstm_cell,
    lstm_output,
    sigmoid,
    tanh,
)
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.runtime import Module
from rtmobile_iree.targets import CpuTarget

READ_SUMS = 8  # vectors: 4 cycles of latency times up to 2 additions a cycle
FUNCTION_SUMS = 4  # an activation takes far longer than an addition

Piece = Callable[[Emitter, ir.Value, int], ir.Value]


def _blend(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """A GRU's update with one number as both gates and the state."""
    return gru_blend(e, x, x, x, length)


def _cell(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """An LSTM's next c with one number as three gates and c."""
    return lstm_cell(e, (x, x, x), x, length)


def _output(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    return lstm_output(e, x, x, length)


FUNCTIONS: dict[str, Piece] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "gru_blend": _blend,
    "lstm_cell": _cell,
    "lstm_output": _output,
}
KERNELS = ("read", "multiply", *FUNCTIONS)


class Kernel:
    """One measuring kernel, compiled for a target.

    Attributes:
        name: one of `KERNELS`.
        sums: f32 numbers it returns.
        step: x must hold a multiple of this many numbers (`read` and functions).
    """

    def __init__(self, name: str, target: CpuTarget) -> None:
        count = {"read": READ_SUMS, "multiply": target.vector_registers // 2}
        self.name = name
        self.sums = count.get(name, FUNCTION_SUMS) * target.vector_width
        self.step = self.sums
        emit = Emitter(target.vector_width)
        text = _module(emit, self.sums, lambda *args: _BODIES.get(name, _function(name))(*args))
        self._module = Module(compile_text(text, target), target.driver)

    def prepare(self, x: np.ndarray, count: int, repeats: int) -> Callable[[], np.ndarray]:
        """A call of the kernel, its inputs already where the kernel reads them.

        Args:
            x: [size] f32.
            count: n above.
            repeats: as above; `multiply` has none.
        """
        shape = np.array([count, repeats], np.int32)
        inputs = [self._module.place(array) for array in (x, shape)]
        return lambda: self._module(inputs)[0]


def _read(e: Emitter, count: ir.Value, repeats: ir.Value, x: ir.Value, out: ir.Value) -> None:
    _sum_pieces(e, count, repeats, x, out, READ_SUMS, lambda e, value, length: value)


def _function(name: str) -> Callable[..., None]:
    def body(e: Emitter, count: ir.Value, repeats: ir.Value, x: ir.Value, out: ir.Value) -> None:
        _sum_pieces(e, count, repeats, x, out, FUNCTION_SUMS, FUNCTIONS[name])

    return body


def _sum_pieces(
    e: Emitter,
    count: ir.Value,
    repeats: ir.Value,
    x: ir.Value,
    out: ir.Value,
    vectors: int,
    piece: Piece,
) -> None:
    def once(_: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        return e.loop(0, count, vectors * e.width, sums, add)

    def add(i: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        loads = [e.vload(x, e.add(i, k * e.width), e.width) for k in range(vectors)]
        values = [piece(e, load, e.width) for load in loads]
        return [arith.addf(s, value) for s, value in zip(sums, values, strict=True)]

    _store(e, e.loop(0, repeats, 1, [e.splat(0.0, e.width)] * vectors, once), out)


def _multiply(e: Emitter, count: ir.Value, repeats: ir.Value, x: ir.Value, out: ir.Value) -> None:
    """x holds the factor, the addend, and what each sum starts from."""
    vectors = ir.MemRefType(out.type).shape[0] // e.width
    factor = e.splat(e.load(x, e.index(0)), e.width)
    addend = e.splat(e.load(x, e.index(1)), e.width)
    start = [e.vload(x, e.index(2 + k * e.width), e.width) for k in range(vectors)]
    _store(e, e.loop(0, count, 1, start, lambda _, *s: [e.fma(v, factor, addend) for v in s]), out)


_BODIES: dict[str, Callable[..., None]] = {"read": _read, "multiply": _multiply}


def _store(e: Emitter, sums: Sequence[ir.Value], out: ir.Value) -> None:
    for k, value in enumerate(sums):
        e.vstore(value, out, e.index(k * e.width))


def _module(emit: Emitter, sums: int, body: Callable[..., None]) -> str:
    """main(x [any] f32, shape [2] i32 = count and repeats) -> sums [sums] f32, as MLIR text."""
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.create()
        i32, index = ir.IntegerType.get_signless(32), ir.IndexType.get()
        bindings = [
            Binding(emit.f32, 1, 0, True),
            Binding(i32, 0, 2, True),
            Binding(emit.f32, 0, sums, False),
        ]

        def kernel(_: ir.Value, buffers: Sequence[ir.Value]) -> None:
            x, shape, out = buffers
            count, repeats = (emit.load_index(shape, emit.index(k)) for k in range(2))
            body(emit, count, repeats, x, out)

        define_kernel(module.body, "measure", bindings, kernel)
        vector = ir.RankedTensorType.get([ir.ShapedType.get_dynamic_size()], emit.f32)
        shape = ir.RankedTensorType.get([2], i32)
        result = ir.RankedTensorType.get([sums], emit.f32)
        with ir.InsertionPoint(module.body):
            main = func.FuncOp("main", ir.FunctionType.get([vector, shape], [result]))
        with ir.InsertionPoint(main.add_entry_block()):
            size = tensor.dim(main.arguments[0], arith.constant(index, 0))
            call = dispatch("measure", size, list(main.arguments), [(result, [])])
            func.ReturnOp([call.results[0]])
        return str(module.operation.get_asm(assume_verified=True))
