"""bspc-lower: packed ops become IREE dispatches of generated CPU kernels.

Rewrites:
    %y0, %s0 = bspc.packed_gru %x, %state, ... {layer = 0}
    %y1, %s1 = bspc.packed_gru %y0, %s0, ... {layer = 1}
  ->
    hal.executable.source @rtmobile_gru_0 { ... one kernel: both layers, any number of steps ... }
    %y1, %s1, %scratch = flow.dispatch @rtmobile_gru_0::@rtmobile_gru_0[%T](%T, %x, %state, ...)

    %y = bspc.packed_matmul %x, ...   ->   a kernel and a dispatch of its own

Layers are fused when one feeds the next and nothing else reads what lies between them.

Assumes: `bspc-pack` ran; the arrays of the packed ops are constants; batch and sizes are static.
Does not handle: Vulkan targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rtmobile_iree.dialects.constants import constant, constant_array
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch, dynamic_dims
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.gru import GRUBuffers, GRUKernel, scratch_elements
from rtmobile_iree.passes.kernels.gru_plan import GRULayer, GRUStackPlan, plan_gru_stack
from rtmobile_iree.passes.kernels.matmul import emit_matmul, plan_matmul
from rtmobile_iree.passes.kernels.panels import Constants
from rtmobile_iree.passes.kernels.plan import ConstantPool
from torch_mlir import ir
from torch_mlir.dialects import arith, tensor

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.errors import CompileError
from rtmobile_iree.schedule import ACTIVATION_ERROR, Schedule

ARRAYS = 5  # reorder, group_offset, column_offset, column_index, values


@dataclass(frozen=True)
class LowerPass:
    """Lowers packed ops to dispatches of CPU kernels.

    Attributes:
        vector_width: f32 elements in one vector register of the target.
        accumulators, vector_tile, time_chunk, activation_error: see `Schedule`.
    """

    name: ClassVar[str] = "bspc-lower"

    vector_width: int = 16
    accumulators: int = 16
    vector_tile: int = 4
    time_chunk: int = 16
    activation_error: float = ACTIVATION_ERROR

    def run(self, module: ir.Operation) -> None:
        """Replaces every packed op of the module (see the module docstring)."""
        schedule = Schedule(
            self.vector_width,
            self.accumulators,
            self.vector_tile,
            self.time_chunk,
            self.activation_error,
        )
        block = module.regions[0].blocks[0]
        ops = packed_ops(module)
        with module.context, ir.Location.unknown():
            for number, chain in enumerate(gru_chains(ops["bspc.packed_gru"])):
                _lower_gru(block, chain, f"rtmobile_gru_{number}", schedule)
            for number, op in enumerate(ops["bspc.packed_matmul"]):
                _lower_matmul(block, op, f"rtmobile_matmul_{number}", schedule)


def packed_ops(module: ir.Operation) -> dict[str, list[ir.Operation]]:
    """The packed ops of a module by name, in program order."""
    found: dict[str, list[ir.Operation]] = {"bspc.packed_gru": [], "bspc.packed_matmul": []}

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name in found:
            found[op.name].append(op)
        return ir.WalkResult.ADVANCE

    module.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def gru_chains(ops: list[ir.Operation]) -> list[list[ir.Operation]]:
    """Groups layers into stacks that one kernel can run, each in order."""
    chains: list[list[ir.Operation]] = []
    for op in ops:
        if chains and _feeds(chains[-1][-1], op):
            chains[-1].append(op)
        else:
            chains.append([op])
    return chains


def _feeds(first: ir.Operation, second: ir.Operation) -> bool:
    """Whether both results of `first` go to x and state of `second`, and nowhere else."""
    uses = [list(result.uses) for result in first.results]
    return (
        all(len(use) == 1 and use[0].owner == second for use in uses)
        and second.operands[0] == first.results[0]
        and second.operands[1] == first.results[1]
    )


def read_packed(op: ir.Operation, first: int, shape: str) -> PackedMatrix:
    """The matrix whose arrays are operands [first, first + 5) of a packed op."""
    arrays = [_array(op, i) for i in range(first, first + ARRAYS)]
    reorder, group_offset, column_offset, column_index, values = arrays
    rows, columns = ir.DenseI64ArrayAttr(op.attributes[shape])
    if column_index.dtype == np.int16:
        column_index = column_index.view(np.uint16)
    row_align = ir.IntegerAttr(op.attributes["row_align"]).value
    return PackedMatrix(
        shape=(rows, columns),
        reorder=reorder,
        group_offset=group_offset,
        column_offset=column_offset,
        column_index=column_index,
        values=values,
        row_align=row_align,
    )


def _array(op: ir.Operation, number: int) -> np.ndarray:
    array = constant_array(op.operands[number])
    if array is None:
        name = ir.StringAttr(op.attributes["name"]).value
        raise CompileError(
            f"bspc-lower: {name}: operand {number} of {op.name} is computed at run time; "
            "packed weights must be constants"
        )
    return array


def _lower_gru(block: ir.Block, chain: list[ir.Operation], name: str, schedule: Schedule) -> None:
    x, state = chain[0].operands[0], chain[0].operands[1]
    states, batch, _ = ir.RankedTensorType(state.type).shape
    pool = ConstantPool()
    layers = [_gru_layer(op) for op in chain]
    plan = plan_gru_stack(pool, layers, batch, states, schedule)
    emit = Emitter(schedule.vector_width, schedule.activation_error)
    pool_bindings = _pool_bindings(pool)
    f32 = emit.f32
    elements = states * batch * plan.hidden
    bindings = [
        Binding(f32, batch * plan.inputs, 0, True),
        Binding(f32, 0, elements, True),
        *pool_bindings,
        Binding(f32, batch * plan.hidden, 0, False),
        Binding(f32, 0, elements, False),
        Binding(f32, plan.per_slot, plan.fixed, False),
    ]

    def body(steps: ir.Value, buffers: Sequence[ir.Value]) -> None:
        x, state, values, index, table, y, next_state, scratch = buffers
        constants = Constants(values, index, table)
        io = GRUBuffers(x, state, y, next_state, scratch)
        GRUKernel(emit, schedule, plan, constants, io, steps).body()

    define_kernel(block, name, bindings, body)
    last = chain[-1]
    with ir.InsertionPoint(last):
        call = _dispatch_gru(name, chain, pool, plan, x, state)
    last.results[0].replace_all_uses_with(call.results[0])
    last.results[1].replace_all_uses_with(call.results[1])
    for op in reversed(chain):
        op.erase()


def _dispatch_gru(
    name: str,
    chain: list[ir.Operation],
    pool: ConstantPool,
    plan: GRUStackPlan,
    x: ir.Value,
    state: ir.Value,
) -> ir.Operation:
    y_type, state_type = (ir.RankedTensorType(r.type) for r in chain[-1].results)
    index = ir.IndexType.get()
    dims = dynamic_dims(x)[: 1 if y_type.is_dynamic_dim(0) else 0]
    steps = dims[0] if dims else arith.constant(index, y_type.shape[0])
    dynamic = ir.ShapedType.get_dynamic_size()
    scratch = ir.RankedTensorType.get([dynamic], ir.F32Type.get())
    return dispatch(
        name,
        steps,
        [x, state, *_pool_constants(pool)],
        [(y_type, dims), (state_type, []), (scratch, [scratch_elements(plan, steps)])],
    )


def _gru_layer(op: ir.Operation) -> GRULayer:
    layer = ir.IntegerAttr(op.attributes["layer"]).value
    biases = 2 + 2 * ARRAYS
    return GRULayer(
        layer,
        read_packed(op, 2, "shape_ih"),
        read_packed(op, 2 + ARRAYS, "shape_hh"),
        _array(op, biases),
        _array(op, biases + 1),
    )


def _lower_matmul(block: ir.Block, op: ir.Operation, name: str, schedule: Schedule) -> None:
    pool = ConstantPool()
    plan = plan_matmul(pool, read_packed(op, 1, "shape"))
    emit = Emitter(schedule.vector_width, schedule.activation_error)
    pool_bindings = _pool_bindings(pool)
    f32 = emit.f32
    bindings = [
        Binding(f32, plan.matrix.inputs, 0, True),
        *pool_bindings,
        Binding(f32, plan.matrix.outputs, 0, False),
    ]

    def body(count: ir.Value, buffers: Sequence[ir.Value]) -> None:
        x, values, index, table, y = buffers
        emit_matmul(emit, schedule, plan, Constants(values, index, table), (x, y), count)

    define_kernel(block, name, bindings, body)
    with ir.InsertionPoint(op):
        x, kind = op.operands[0], ir.RankedTensorType(op.results[0].type)
        dims = dynamic_dims(x)
        arguments = [x, *_pool_constants(pool)]
        call = dispatch(name, _vectors(x), arguments, [(kind, dims)])
    op.results[0].replace_all_uses_with(call.results[0])
    op.erase()


def _vectors(x: ir.Value) -> ir.Value:
    """The product of all dimensions but the last."""
    kind, index = ir.RankedTensorType(x.type), ir.IndexType.get()
    total = arith.constant(index, 1)
    for axis in range(kind.rank - 1):
        size = tensor.dim(x, arith.constant(index, axis))
        total = arith.muli(total, size)
    return total


def _pool_bindings(pool: ConstantPool) -> list[Binding]:
    index = ir.IntegerType.get_signless(16 if pool.index().dtype == np.uint16 else 32)
    return [
        Binding(ir.F32Type.get(), 0, pool.values().size, True),
        Binding(index, 0, pool.index().size, True),
        Binding(ir.IntegerType.get_signless(32), 0, pool.table().size, True),
    ]


def _pool_constants(pool: ConstantPool) -> list[ir.Value]:
    index = pool.index()
    signless = index.view(np.int16) if index.dtype == np.uint16 else index
    return [constant(array) for array in (pool.values(), signless, pool.table())]
