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
from rtmobile_iree.dialects.constants import constant, element_type
from rtmobile_iree.passes.kernels.cells import Layer, PlanCell
from rtmobile_iree.passes.kernels.control import LINE
from rtmobile_iree.passes.kernels.dispatch import (
    Binding,
    at_least,
    define_kernel,
    dispatch,
    zeros,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.gru import plan_gru
from rtmobile_iree.passes.kernels.lstm import plan_lstm
from rtmobile_iree.passes.kernels.matmul import emit_matmul, plan_matmul
from rtmobile_iree.passes.kernels.plan import ConstantPool
from rtmobile_iree.passes.kernels.rnn import plan_rnn_relu, plan_rnn_tanh
from rtmobile_iree.passes.kernels.stack_plan import StackPlan, plan_stack
from rtmobile_iree.passes.kernels.sums import Constants
from rtmobile_iree.passes.kernels.values import element
from rtmobile_iree.passes.kernels.workers import Arguments, StackRun, words
from rtmobile_iree.passes.packed_ops import (
    chains,
    packed_ops,
    read_layer,
    read_packed,
    replace_chain,
    replace_matmul,
    stack_inputs,
    stack_results,
    state_shapes,
)
from torch_mlir import ir

from rtmobile_iree.errors import CompileError
from rtmobile_iree.schedule import ACTIVATION_ERROR, PARTS, Schedule, integer_dot

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
        accumulators, vector_tile, time_chunk, cache_bytes, workers, activation_error, element,
            half_cells: see `Schedule`.
        integer_dot: a name in `INTEGER_DOTS`, for quantized inputs of i8 weights; else empty.
        chunk_dot: another one, for several input vectors at once; empty: the same.
        parts: of the recurrent kernels, joined by "+"; fewer than all only to measure them.
    """

    name: ClassVar[str] = "bspc-lower"

    vector_width: int = 16
    accumulators: int = 16
    vector_tile: int = 4
    time_chunk: int = 16
    cache_bytes: int = 0
    workers: int = 1
    expand: bool = False
    integer_dot: str = ""
    chunk_dot: str = ""
    activation_error: float = ACTIVATION_ERROR
    element: str = "f32"
    half_cells: bool = False
    parts: str = "+".join(PARTS)

    @property
    def schedule(self) -> Schedule:
        """The choices of every kernel."""
        dot, chunk_dot = (
            integer_dot(name, self.vector_width) if name else None
            for name in (self.integer_dot, self.chunk_dot)
        )
        return Schedule(
            self.vector_width,
            self.accumulators,
            self.vector_tile,
            self.time_chunk,
            self.cache_bytes,
            self.workers,
            self.expand,
            dot,
            chunk_dot,
            self.activation_error,
            "f32",
            self.half_cells,
            tuple(part for part in self.parts.split("+") if part),
        )

    def run(self, module: ir.Operation) -> None:
        """Replaces every packed op of the module (see the module docstring)."""
        recurrent = schedule = self.schedule
        if self.element == "f16":
            recurrent = replace(schedule, vector_width=2 * self.vector_width, element="f16")
        block = module.regions[0].blocks[0]
        with module.context, ir.Location.unknown():
            for kind, cell in CELLS.items():
                for number, chain in enumerate(chains(packed_ops(module, kind))):
                    _lower_stack(block, chain, cell, f"rtmobile_{kind}_{number}", recurrent)
            for number, op in enumerate(packed_ops(module, "matmul")):
                _lower_matmul(block, op, f"rtmobile_matmul_{number}", schedule)


def _lower_stack(
    block: ir.Block, chain: list[ir.Operation], cell: PlanCell, name: str, schedule: Schedule
) -> None:
    inputs, shapes = stack_inputs(chain), state_shapes(chain)
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
        per_slot, fixed = plan.most_bytes()
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
    replace_chain(chain, call.results)


def _split(values: Sequence[ir.Value], *counts: int) -> list[tuple[ir.Value, ...]]:
    """Consecutive parts of these lengths, and the rest."""
    edges = [0, *accumulate(counts), len(values)]
    return [tuple(values[first:last]) for first, last in pairwise(edges)]


def _dispatch_stack(
    name: str, chain: list[ir.Operation], arguments: list[ir.Value], plan: StackPlan, e: Emitter
) -> ir.Operation:
    steps, results = stack_results(chain)
    dynamic = ir.ShapedType.get_dynamic_size()
    slots = plan.slots(e, steps)
    scratch = ir.RankedTensorType.get([dynamic], e.number)
    results.append((scratch, [plan.scratch_elements(e, slots)]))
    if e.is_half:
        sizes = [plan.state_elements(number) for number in range(len(chain[-1].results) - 1)]
        results += [(ir.RankedTensorType.get([size], e.number), []) for size in sizes]
    if plan.byte_pitch:
        size = e.mul(plan.byte_elements(e, slots), plan.sharing.workers)
        results.append((ir.RankedTensorType.get([dynamic], element("i8")), [size]))
    shared = words(plan) * LINE
    if not shared:
        return dispatch(name, steps, arguments, results)
    return dispatch(name, steps, arguments, results, [(zeros(shared), [])])


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
    replace_matmul(op, name, _pool_arrays(pool))


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
