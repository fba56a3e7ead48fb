"""bspc-lower-vulkan: packed ops become IREE dispatches of generated SPIR-V kernels.

Rewrites:
    %y0, %s0 = bspc.packed_gru %x, %state, ... {layer = 0}       # or any other recurrent layer
    %y1, %s1 = bspc.packed_gru %y0, %s0, ... {layer = 1}
  ->
    hal.executable.source @rtmobile_gru_0 { ... one persistent kernel: both layers, all steps ... }
    %y1, %s1 = flow.dispatch @rtmobile_gru_0::@rtmobile_gru_0[%T](%T, %x, %state, ...)

    %y = bspc.packed_matmul %x, ...   ->   a kernel and a dispatch of its own

Layers are fused as `lower` fuses them.

Assumes: `bspc-pack` ran with f32 or f16 values; the arrays of the packed ops are constants; batch
and sizes are static.
Does not handle: recurrent layers whose states and sums do not fit into shared memory; values of
other types, or of both in one stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.passes.kernels.dispatch import (
    Binding,
    define_kernel,
    dispatch,
    dynamic_dims,
)
from rtmobile_iree.passes.lower import (
    chains,
    count_vectors,
    packed_ops,
    read_layer,
    read_packed,
)
from rtmobile_iree.passes.vulkan.cells import CELLS
from rtmobile_iree.passes.vulkan.dispatch import constant_bindings, spirv
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, LanePool
from rtmobile_iree.passes.vulkan.matmul import emit_matmul, plan_matmul, workgroups
from rtmobile_iree.passes.vulkan.persistent import (
    ScanBuffers,
    ScanKernel,
    ScanPlan,
    plan_scan,
)
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.errors import CompileError
from rtmobile_iree.schedule import ACTIVATION_ERROR

CONSTANTS = 4  # weights, index, table, biases
MATMUL_THREADS = 64


@dataclass(frozen=True)
class LowerVulkanPass:
    """Lowers packed ops to dispatches of SPIR-V kernels.

    Attributes:
        threads: most threads of a workgroup.
        shared_bytes: shared memory a workgroup may have.
        storage_f16: whether buffers may hold f16.
        activation_error: greatest absolute error of sigmoid and tanh.
    """

    name: ClassVar[str] = "bspc-lower-vulkan"

    threads: int = 256
    shared_bytes: int = 32768
    storage_f16: bool = True
    activation_error: float = ACTIVATION_ERROR

    def run(self, module: ir.Operation) -> None:
        """Replaces every packed op of the module (see the module docstring)."""
        block = module.regions[0].blocks[0]
        with module.context, ir.Location.unknown():
            for kind in CELLS:
                for number, chain in enumerate(chains(packed_ops(module, kind))):
                    self._lower_scan(block, chain, kind, f"rtmobile_{kind}_{number}")
            for number, op in enumerate(packed_ops(module, "matmul")):
                self._lower_matmul(block, op, f"rtmobile_matmul_{number}")

    def _emitter(self, threads: int) -> ThreadEmitter:
        return ThreadEmitter(1, self.activation_error, workgroup_size=threads)

    def _lower_scan(self, block: ir.Block, chain: list[ir.Operation], kind: str, name: str) -> None:
        inputs = list(chain[0].operands)[: len(chain[0].results)]
        pool = LanePool()
        self._check_values(chain[0], [m for op in chain for m in read_packed(op)])
        shapes = [ir.RankedTensorType(state.type).shape for state in inputs[1:]]
        plan = plan_scan(pool, [read_layer(op) for op in chain], CELLS[kind], shapes)
        self._check_shared(chain, plan)
        e = self._emitter(workgroup_size(plan.threads, self.threads))
        f32, arrays = e.f32, pool.arrays()
        sizes = [plan.rows * plan.batch * size for size in plan.sizes]
        bindings = [
            Binding(f32, plan.batch * plan.inputs, 0, True),
            *(Binding(f32, 0, size, True) for size in sizes),
            *constant_bindings(arrays),
            Binding(f32, plan.batch * plan.outputs, 0, False),
            *(Binding(f32, 0, size, False) for size in sizes),
        ]

        def body(steps: ir.Value, buffers: Sequence[ir.Value]) -> None:
            first = len(inputs)
            constants = LaneConstants(*buffers[first : first + CONSTANTS])
            y, *states = buffers[first + CONSTANTS :]
            own = ScanBuffers(buffers[0], y, buffers[1:first], states)
            ScanKernel(e, plan, constants, own, steps).body()

        def count(_: ir.Value) -> tuple[ir.Value, ir.Value]:
            return e.index(plan.batch), e.index(1)

        define_kernel(block, name, bindings, body, count, spirv(e.workgroup_size))
        with ir.InsertionPoint(chain[-1]):
            call = _dispatch_scan(name, chain, [*inputs, *(constant(a) for a in arrays)])
        for before, after in zip(chain[-1].results, call.results, strict=True):
            before.replace_all_uses_with(after)
        for op in reversed(chain):
            op.erase()

    def _check_shared(self, chain: list[ir.Operation], plan: ScanPlan) -> None:
        if plan.shared_bytes <= self.shared_bytes:
            return
        layers, hidden = len(plan.layers), plan.hidden
        fits = self.shared_bytes * hidden // plan.shared_bytes
        raise CompileError(
            f"bspc-lower-vulkan: {_name(chain[0])}: {layers} layers of {hidden} units need "
            f"{plan.shared_bytes:,} bytes of shared memory, and the target has "
            f"{self.shared_bytes:,}; use {fits} units or fewer, or a CPU target"
        )

    def _check_values(self, op: ir.Operation, matrices: Sequence[PackedMatrix]) -> None:
        kinds = {matrix.value_type for matrix in matrices}
        allowed = ("f32", "f16") if self.storage_f16 else ("f32",)
        if len(kinds) == 1 and kinds <= set(allowed):
            return
        raise CompileError(
            f"bspc-lower-vulkan: {_name(op)}: values are {' and '.join(sorted(kinds))}; kernels of "
            f"this target take {' or '.join(allowed)}, one type for a stack of layers"
        )

    def _lower_matmul(self, block: ir.Block, op: ir.Operation, name: str) -> None:
        (packed,) = matrices = read_packed(op)
        self._check_values(op, matrices)
        pool = LanePool()
        lanes = plan_matmul(pool, packed)
        outputs, inputs = packed.shape
        e = self._emitter(workgroup_size(lanes.count, min(self.threads, MATMUL_THREADS)))
        arrays = pool.arrays()
        bindings = [
            Binding(e.f32, inputs, 0, True),
            *constant_bindings(arrays),
            Binding(e.f32, outputs, 0, False),
        ]

        def body(vectors: ir.Value, buffers: Sequence[ir.Value]) -> None:
            x, *constants, y = buffers
            emit_matmul(e, lanes, outputs, LaneConstants(*constants), (x, y), vectors)

        count = workgroups(lanes, e.workgroup_size)
        define_kernel(block, name, bindings, body, count, spirv(e.workgroup_size))
        with ir.InsertionPoint(op):
            x, kind = op.operands[0], ir.RankedTensorType(op.results[0].type)
            dims = dynamic_dims(x)
            arguments = [x, *(constant(array) for array in arrays)]
            call = dispatch(name, count_vectors(x), arguments, [(kind, dims)])
        op.results[0].replace_all_uses_with(call.results[0])
        op.erase()


def workgroup_size(work: int, most: int) -> int:
    """Threads for so much work: a power of two, no more than needed."""
    size = 1
    while size < min(work, most):
        size *= 2
    return min(size, most)


def _dispatch_scan(name: str, chain: list[ir.Operation], arguments: list[ir.Value]) -> ir.Operation:
    y_type, *state_types = (ir.RankedTensorType(r.type) for r in chain[-1].results)
    index = ir.IndexType.get()
    dims = dynamic_dims(arguments[0])[: 1 if y_type.is_dynamic_dim(0) else 0]
    steps = dims[0] if dims else arith.constant(index, y_type.shape[0])
    results = [(y_type, dims), *((kind, []) for kind in state_types)]
    return dispatch(name, steps, arguments, results)


def _name(op: ir.Operation) -> str:
    return str(ir.StringAttr(op.attributes["name"]).value)
