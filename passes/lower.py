"""bspc-lower: packed ops become IREE dispatches of generated CPU kernels.

Rewrites:
    %y0, %s0 = bspc.packed_gru %x, %state, ... {layer = 0}       # or any other recurrent layer
    %y1, %s1 = bspc.packed_gru %y0, %s0, ... {layer = 1}
  ->
    hal.executable.source @rtmobile_gru_0 { ... one kernel: both layers, any number of steps ... }
    %y1, %s1, %scratch = flow.dispatch @rtmobile_gru_0::@rtmobile_gru_0[%T](%T, %x, %state, ...)

    %y = bspc.packed_matmul %x, ...   ->   a kernel and a dispatch of its own

Layers of one kind are fused when one feeds the next and nothing else reads what lies between them.

Assumes: `bspc-pack` ran; the arrays of the packed ops are constants; batch and sizes are static.
Does not handle: GPUs; see `lower_vulkan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import ClassVar

import numpy as np
from rtmobile_iree.dialects.constants import constant, constant_array, element_type
from rtmobile_iree.dialects.verify import PACKED_ARRAYS, packed_matrix
from rtmobile_iree.passes.kernels.cells import Layer, PlanCell
from rtmobile_iree.passes.kernels.control import LINE
from rtmobile_iree.passes.kernels.dispatch import (
    Binding,
    at_least,
    define_kernel,
    dispatch,
    dynamic_dims,
    zeros,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.gru import plan_gru
from rtmobile_iree.passes.kernels.lstm import plan_lstm
from rtmobile_iree.passes.kernels.matmul import emit_matmul, plan_matmul
from rtmobile_iree.passes.kernels.panels import Constants
from rtmobile_iree.passes.kernels.plan import ConstantPool
from rtmobile_iree.passes.kernels.rnn import plan_rnn_relu, plan_rnn_tanh
from rtmobile_iree.passes.kernels.stack_plan import StackPlan, plan_stack
from rtmobile_iree.passes.kernels.values import element
from rtmobile_iree.passes.kernels.workers import Arguments, StackRun, words
from rtmobile_iree.passes.weights import walk
from torch_mlir import ir
from torch_mlir.dialects import arith, tensor

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.errors import CompileError
from rtmobile_iree.kinds import KINDS
from rtmobile_iree.schedule import ACTIVATION_ERROR, PARTS, Schedule, integer_dot

PACKED = "bspc.packed_"
CELLS: dict[str, PlanCell] = {
    "gru": plan_gru,
    "lstm": plan_lstm,
    "lstmp": plan_lstm,
    "rnn_tanh": plan_rnn_tanh,
    "rnn_relu": plan_rnn_relu,
}


@dataclass(frozen=True)
class LowerPass:
    """Lowers packed ops to dispatches of CPU kernels.

    Attributes:
        vector_width: f32 elements in one vector register of the target.
        accumulators, vector_tile, time_chunk, workers, activation_error, element: see `Schedule`.
        integer_dot: a name in `INTEGER_DOTS`, for quantized inputs of i8 weights; else empty.
        parts: of the recurrent kernels, joined by "+"; fewer than all only to measure them.
    """

    name: ClassVar[str] = "bspc-lower"

    vector_width: int = 16
    accumulators: int = 16
    vector_tile: int = 4
    time_chunk: int = 8
    workers: int = 1
    expand: bool = False
    integer_dot: str = ""
    activation_error: float = ACTIVATION_ERROR
    element: str = "f32"
    parts: str = "+".join(PARTS)

    def run(self, module: ir.Operation) -> None:
        """Replaces every packed op of the module (see the module docstring)."""
        dot = integer_dot(self.integer_dot, self.vector_width) if self.integer_dot else None
        schedule = Schedule(
            self.vector_width,
            self.accumulators,
            self.vector_tile,
            self.time_chunk,
            self.workers,
            self.expand,
            dot,
            self.activation_error,
            "f32",
            tuple(part for part in self.parts.split("+") if part),
        )
        recurrent = schedule
        if self.element == "f16":
            recurrent = replace(schedule, vector_width=2 * self.vector_width, element="f16")
        block = module.regions[0].blocks[0]
        with module.context, ir.Location.unknown():
            for kind, cell in CELLS.items():
                for number, chain in enumerate(chains(packed_ops(module, kind))):
                    _lower_stack(block, chain, cell, f"rtmobile_{kind}_{number}", recurrent)
            for number, op in enumerate(packed_ops(module, "matmul")):
                _lower_matmul(block, op, f"rtmobile_matmul_{number}", schedule)


def packed_ops(module: ir.Operation, kind: str) -> list[ir.Operation]:
    """Every `bspc.packed_<kind>`, in program order."""
    return [op for op in walk(module) if op.name == PACKED + kind]


def chains(ops: list[ir.Operation]) -> list[list[ir.Operation]]:
    """Groups layers of one kind into stacks that one kernel can run, each in order."""
    found: list[list[ir.Operation]] = []
    for op in ops:
        if found and _feeds(found[-1][-1], op):
            found[-1].append(op)
        else:
            found.append([op])
    return found


def _feeds(first: ir.Operation, second: ir.Operation) -> bool:
    """Whether all results of `first`, y and states, go to x and states of `second`, and nowhere
    else."""
    uses = [list(result.uses) for result in first.results]
    inputs = list(second.operands)[: len(uses)]
    return (
        all(len(use) == 1 and use[0].owner == second for use in uses)
        and list(first.results) == inputs
    )


def read_packed(op: ir.Operation) -> list[PackedMatrix]:
    """The matrices of a packed op, in the order of its operands.

    Raises:
        CompileError: an array is no constant.
    """
    kind, arrays = KINDS.get(op.name.removeprefix(PACKED)), len(PACKED_ARRAYS)
    first = kind.first_weight if kind else 1
    shapes = [f"shape_{part}" for part in kind.weights] if kind else ["shape"]
    return [
        packed_matrix(op, shape, [_array(op, first + i * arrays + j) for j in range(arrays)])
        for i, shape in enumerate(shapes)
    ]


def _array(op: ir.Operation, number: int) -> np.ndarray:
    array = constant_array(op.operands[number])
    if array is None:
        name = ir.StringAttr(op.attributes["name"]).value
        raise CompileError(
            f"bspc-lower: {name}: operand {number} of {op.name} is computed at run time; "
            "packed weights must be constants"
        )
    return array


def _lower_stack(
    block: ir.Block, chain: list[ir.Operation], cell: PlanCell, name: str, schedule: Schedule
) -> None:
    inputs = list(chain[0].operands)[: len(chain[0].results)]
    shapes = [ir.RankedTensorType(state.type).shape for state in inputs[1:]]
    pool = ConstantPool(schedule.element)
    layers = [read_layer(op) for op in chain]
    if schedule.element == "f16":
        for op, layer in zip(chain, layers, strict=True):
            _check_half(op, layer)
    plan = plan_stack(pool, layers, cell, shapes, schedule)
    pool_bindings = _pool_bindings(pool)
    emit = Emitter(schedule.vector_width, schedule.activation_error, schedule.element)
    f32, states, shared = emit.f32, range(len(shapes)), words(plan) * LINE
    bindings = [
        Binding(f32, plan.batch * plan.inputs, 0, True),
        *(Binding(f32, 0, plan.state_elements(i), True) for i in states),
        *pool_bindings,
        *([Binding(ir.IntegerType.get_signless(32), 0, shared, False)] if shared else []),
        Binding(f32, plan.batch * plan.outputs, 0, False),
        *(Binding(f32, 0, plan.state_elements(i), False) for i in states),
        Binding(emit.number, *plan.most_scratch(), False),
        *(Binding(emit.number, 0, plan.state_elements(i), False) for i in states if emit.is_half),
    ]
    if plan.byte_pitch:
        per_slot, fixed = plan.batch * plan.byte_pitch, plan.staging
        most = (plan.sharing.workers * per_slot, plan.sharing.workers * fixed)
        bindings.append(Binding(element("i8"), *most, False))

    def body(steps: ir.Value, buffers: Sequence[ir.Value]) -> None:
        counts = (len(inputs), len(pool_bindings), int(shared > 0))
        given, arrays, control, made = _split(buffers, *counts)
        y, next_states, scratch, half_states, rest = _split(
            made, 1, len(shapes), 1, len(shapes) * emit.is_half
        )
        arguments = Arguments(
            given[0],
            given[1:],
            y[0],
            next_states,
            scratch[0],
            half_states,
            rest[0] if rest else None,
            control[0] if control else None,
        )
        StackRun(emit, schedule, plan, _constants(pool, arrays), arguments, steps).body()

    workgroups = at_least(plan.sharing.workers, plan.sharing.least_steps)
    define_kernel(block, name, bindings, body, workgroups)
    with ir.InsertionPoint(chain[-1]):
        call = _dispatch_stack(name, chain, [*inputs, *_pool_constants(pool)], plan, emit)
    for before, after in zip(chain[-1].results, call.results, strict=False):
        before.replace_all_uses_with(after)
    for op in reversed(chain):
        op.erase()


def _split(values: Sequence[ir.Value], *counts: int) -> list[tuple[ir.Value, ...]]:
    """Consecutive parts of these lengths, and the rest."""
    edges = [0, *accumulate(counts), len(values)]
    return [tuple(values[first:last]) for first, last in pairwise(edges)]


def _dispatch_stack(
    name: str, chain: list[ir.Operation], arguments: list[ir.Value], plan: StackPlan, e: Emitter
) -> ir.Operation:
    y_type, *state_types = (ir.RankedTensorType(r.type) for r in chain[-1].results)
    index = ir.IndexType.get()
    dims = dynamic_dims(arguments[0])[: 1 if y_type.is_dynamic_dim(0) else 0]
    steps = dims[0] if dims else arith.constant(index, y_type.shape[0])
    dynamic = ir.ShapedType.get_dynamic_size()
    slots = plan.slots(e, steps)
    scratch = ir.RankedTensorType.get([dynamic], e.number)
    results = [
        (y_type, dims),
        *((kind, []) for kind in state_types),
        (scratch, [plan.scratch_elements(e, slots)]),
    ]
    if e.is_half:
        sizes = [plan.state_elements(number) for number in range(len(state_types))]
        results += [(ir.RankedTensorType.get([size], e.number), []) for size in sizes]
    if plan.byte_pitch:
        size = e.mul(plan.byte_elements(e, slots), plan.sharing.workers)
        results.append((ir.RankedTensorType.get([dynamic], element("i8")), [size]))
    shared = words(plan) * LINE
    control = zeros(shared) if shared else None
    return dispatch(name, steps, arguments, results, control)


def read_layer(op: ir.Operation) -> Layer:
    """A packed layer's weights.

    Raises:
        CompileError: an array is no constant.
    """
    row, biases = ir.IntegerAttr(op.attributes["layer"]).value, len(op.operands) - 2
    return Layer(row, _array(op, biases), _array(op, biases + 1), *read_packed(op))


def _check_half(op: ir.Operation, layer: Layer) -> None:
    """Raises a `CompileError` unless a layer can be computed in f16."""
    name = ir.StringAttr(op.attributes["name"]).value
    matrices = {"W_ih": layer.w_ih, "W_hh": layer.w_hh, "W_hr": layer.w_hr}
    for which, matrix in matrices.items():
        if matrix is not None and matrix.value_type != "f16":
            raise CompileError(
                f"bspc-lower: {name}: {which} is stored as {matrix.value_type}; f16 activations "
                "multiply f16 weights: use values f16, or activations f32"
            )
    most, largest = np.finfo(np.float16).max, max(np.abs(b).max() for b in (layer.b_ih, layer.b_hh))
    if largest > most:
        raise CompileError(
            f"bspc-lower: {name}: a bias is {largest:g}, and f16 ends at {most:g}; "
            "use activations f32"
        )


def _lower_matmul(block: ir.Block, op: ir.Operation, name: str, schedule: Schedule) -> None:
    pool = ConstantPool()
    plan = plan_matmul(pool, *read_packed(op))
    pool_bindings = _pool_bindings(pool)
    emit = Emitter(schedule.vector_width, schedule.activation_error)
    f32 = emit.f32
    bindings = [
        Binding(f32, plan.matrix.inputs, 0, True),
        *pool_bindings,
        Binding(f32, plan.matrix.outputs, 0, False),
    ]

    def body(count: ir.Value, buffers: Sequence[ir.Value]) -> None:
        x, *arrays, y = buffers
        emit_matmul(emit, schedule, plan, _constants(pool, arrays), (x, y), count)

    define_kernel(block, name, bindings, body)
    with ir.InsertionPoint(op):
        x, kind = op.operands[0], ir.RankedTensorType(op.results[0].type)
        dims = dynamic_dims(x)
        arguments = [x, *_pool_constants(pool)]
        call = dispatch(name, count_vectors(x), arguments, [(kind, dims)])
    op.results[0].replace_all_uses_with(call.results[0])
    op.erase()


def count_vectors(x: ir.Value) -> ir.Value:
    """The product of all dimensions but the last."""
    kind, index = ir.RankedTensorType(x.type), ir.IndexType.get()
    total = arith.constant(index, 1)
    for axis in range(kind.rank - 1):
        size = tensor.dim(x, arith.constant(index, axis))
        total = arith.muli(total, size)
    return total


def _pool_arrays(pool: ConstantPool) -> list[np.ndarray]:
    """The kernel's constant buffers in the order of its bindings."""
    return [pool.values(), pool.index(), pool.table(), *pool.narrow().values()]


def _pool_bindings(pool: ConstantPool) -> list[Binding]:
    return [Binding(element_type(a.dtype), 0, a.size, True) for a in _pool_arrays(pool)]


def _pool_constants(pool: ConstantPool) -> list[ir.Value]:
    return [constant(array) for array in _pool_arrays(pool)]


def _constants(pool: ConstantPool, buffers: Sequence[ir.Value]) -> Constants:
    """The same buffers inside the kernel."""
    values, index, table, *narrow = buffers
    return Constants(values, index, table, dict(zip(pool.narrow(), narrow, strict=True)))
