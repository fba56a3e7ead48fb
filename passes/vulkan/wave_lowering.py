"""A stack's wavefront (see `wave`): its plan, its kernel, and the loop of dispatches around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch
from rtmobile_iree.passes.packed_ops import replace_chain, stack_inputs, stack_results
from rtmobile_iree.passes.vulkan.dispatch import array_bindings, spirv
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.resident_plan import resident_plans
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.step_loop import Carried, emit_runs, empty
from rtmobile_iree.passes.vulkan.wave import WaveBuffers, WaveKernel, WavePlan
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import GpuSchedule


def plan_wave(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> WavePlan | None:
    """Lays a stack out, each layer as a resident scan of its own; None where a layer does not suit
    (see `resident_plans`), or there is but one."""
    if len(stack.layers) == 1:
        return None
    plans = [
        resident_plans(
            replace(stack, layers=(layer,), inputs=layer.w_ih.shape[1]), schedule, shared_bytes
        )
        for layer in stack.layers
    ]
    common = set.intersection(*(set(each) for each in plans))
    found = [tuple(each[threads] for each in plans) for threads in sorted(common)]
    best = min(found, key=lambda layers: max(each.tiling.cost for each in layers), default=None)
    return None if best is None else WavePlan(stack, best, schedule.wave_chunk)


@dataclass(frozen=True)
class WaveLowering:
    """Lowers one stack.

    Attributes:
        block: where kernels go.
        emit: an emitter; the kernel's has the workgroup's size.
        name: of the kernel.
        longest_run: dispatches of the loop's longest run.
    """

    block: ir.Block
    emit: ThreadEmitter
    plan: WavePlan
    name: str
    longest_run: int

    def run(self) -> None:
        """Replaces the stack's ops."""
        stack, chunk = self.plan.stack, self.plan.chunk
        arrays, starts = self.plan.arrays()
        changed = self._changed()
        self._define(array_bindings(arrays), starts, changed)
        with ir.InsertionPoint(stack.chain[-1]):
            steps, results = stack_results(stack.chain)
            x, *states = stack_inputs(stack.chain)
            fixed = [x, *map(constant, arrays)]
            y_type, dims = results[0]
            size = arith.muli(steps, _index(changed[0].per_item))
            between = empty([ir.ShapedType.get_dynamic_size()], [size]), [size]
            state: Carried = [between, (empty(y_type.shape, dims), dims)]
            state += [(value, []) for value in states]
            chunks = arith.ceildivui(steps, _index(chunk))
            count = arith.addi(chunks, _index(len(stack.layers) - 1))

            def call(d: ir.Value, changed: Carried) -> Carried:
                made = dispatch(self.name, steps, fixed, [], changed, [d])
                return [(value, own) for value, (_, own) in zip(made.results, changed, strict=True)]

            _, *last = emit_runs(count, self.longest_run, state, call)
        replace_chain(stack.chain, [value for value, _ in last])

    def _define(
        self,
        constants: Sequence[Binding],
        starts: Sequence[Sequence[int]],
        changed: Sequence[Binding],
    ) -> None:
        """A workgroup for each batch entry and layer, with T and d."""
        e, plan = self.emit, self.plan
        stack = plan.stack
        x = Binding(e.f32, stack.batch * stack.inputs, 0, True)

        def body(steps: ir.Value, bound: Sequence[ir.Value], d: ir.Value) -> None:
            first = 1 + len(constants)
            between, y, *states = bound[first:]
            own = WaveBuffers(bound[0], between, y, states)
            WaveKernel(e, plan, bound[1:first], starts, own, steps, d).body()

        def count(_: ir.Value) -> tuple[ir.Value, ir.Value]:
            return e.index(stack.batch), e.index(len(stack.layers))

        size = spirv(e.workgroup_size)
        bindings = [x, *constants, *changed]
        define_kernel(self.block, self.name, bindings, body, count, size, constants=2)

    def _changed(self) -> list[Binding]:
        """What it changes in place, see `WaveBuffers`."""
        stack, f32 = self.plan.stack, self.emit.f32
        outputs = stack.batch * stack.hidden
        return [
            Binding(f32, (len(stack.layers) - 1) * outputs, 0, False),
            Binding(f32, outputs, 0, False),
            *(Binding(f32, 0, stack.rows * stack.batch * size, False) for size in stack.sizes),
        ]


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)
