"""A stack's kernel of one step (see `per_step`), and the loop of dispatches around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel
from rtmobile_iree.passes.packed_ops import replace_chain
from rtmobile_iree.passes.vulkan.block_entries import HALF_BITS, NO_PLACE
from rtmobile_iree.passes.vulkan.blocks import MOST_QUADS, BlockPool, Pool, fits_blocks
from rtmobile_iree.passes.vulkan.dispatch import PoolBuffers, pool_buffers, spirv, workgroup_size
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LanePool, fitting_quads
from rtmobile_iree.passes.vulkan.per_step import StepKernel
from rtmobile_iree.passes.vulkan.project import ProjectedStep, ProjectPlan, plan_project
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.step_loop import Carried, call_kernel, emit_loop
from rtmobile_iree.passes.vulkan.step_plan import StepPlan, filling_units, plan_steps, sizes
from rtmobile_iree.passes.vulkan.step_state import StepBuffers
from rtmobile_iree.passes.vulkan.values import ROWS
from torch_mlir import ir

from rtmobile_iree.errors import CompileError
from rtmobile_iree.schedule import GpuSchedule


@dataclass(frozen=True)
class StepLowering:
    """Lowers one stack.

    Attributes:
        block: where kernels go.
        shared_bytes: shared memory a workgroup may have.
        emit: an emitter; each kernel's has the workgroup's size.
        name: what the kernel's name begins with.
        longest_run: dispatches of the loop's longest run.
    """

    block: ir.Block
    schedule: GpuSchedule
    shared_bytes: int
    emit: ThreadEmitter
    stack: Stack
    name: str
    longest_run: int

    def run(self) -> None:
        """Replaces the stack's ops."""
        stack, schedule = self.stack, self.schedule
        most = min(schedule.step_quads, MOST_QUADS) if schedule.is_half else schedule.step_quads
        quads = fitting_quads(stack.matrices, most)
        rows = quads * ROWS * schedule.step_threads
        units = schedule.units or filling_units(stack, rows, self.shared_bytes)
        pool = self._pool(quads, stack.cell.blocks * min(units, stack.hidden))
        plan = plan_steps(pool, stack, units, schedule, self.shared_bytes)
        constants = pool_buffers(pool)
        if plan.by_four:
            constants = constants.with_biases_by_four()
        project, hr = None, None
        if stack.projected:
            lanes = self._lane_pool(quads)
            project = plan_project(lanes, stack, plan, self.shared_bytes)
            hr = pool_buffers(lanes)
        self._define(plan, constants, project, hr)
        with ir.InsertionPoint(stack.chain[-1]):
            fixed = [*constants.values(), *(hr.values() if hr else ())]

            def call(d: ir.Value, steps: ir.Value, changed: Carried) -> Carried:
                return call_kernel(f"{self.name}_step", (d, steps), fixed, changed)

            results = emit_loop(stack, sizes(plan), self.longest_run, call)
        replace_chain(stack.chain, results)

    def _pool(self, quads: int, sums: int) -> Pool:
        stack = self.stack
        fits = quads <= MOST_QUADS and fits_blocks(stack.matrices, sums)
        is_half = self.schedule.is_half
        if is_half and not fits:
            raise CompileError(
                f"bspc-lower-vulkan: {stack.name}: f16 activations take layers of fewer than "
                f"{1 << HALF_BITS:,} rows in all, a workgroup fewer than {NO_PLACE:,} sums and "
                f"lanes of {MOST_QUADS * ROWS} rows; use activations f32"
            )
        if is_half or (self.schedule.step_blocks and fits):
            return BlockPool(stack.values, quads, is_half=is_half)
        return self._lane_pool(quads)

    def _lane_pool(self, quads: int) -> LanePool:
        return LanePool.of_words(self.stack.values, quads, self.schedule.word_bits)

    def _define(
        self,
        plan: StepPlan,
        constants: PoolBuffers,
        project: ProjectPlan | None,
        hr: PoolBuffers | None,
    ) -> None:
        """The kernel, with T and d; a workgroup for each layer and batch entry, and for each group
        of units but where `project` and its constants, `hr`, are given."""
        stack = self.stack
        work = max(plan.work, project.lanes if project else 0)
        size = workgroup_size(work, self.schedule.step_threads)
        e = replace(self.emit, workgroup_size=size, unroll=self.schedule.step_unroll)
        fixed = [*constants.bindings(), *(hr.bindings() if hr else ())]

        def body(steps: ir.Value, bound: Sequence[ir.Value], d: ir.Value) -> None:
            inside = constants.inside(bound[: constants.count])
            vectors, y, *others = bound[len(fixed) :]
            projected = others.pop(0) if plan.chunk > 1 else None
            own = StepBuffers(vectors, y, others, projected)
            step = StepKernel(e, plan, inside, own, steps, d)
            if project and hr:
                of_hr = hr.inside(bound[constants.count : len(fixed)])
                ProjectedStep(step, project, of_hr).body()
            else:
                step.body()

        def count(_: ir.Value) -> tuple[ir.Value, ir.Value]:
            groups = 1 if project else plan.groups
            return e.index(groups), e.index(len(stack.layers) * stack.batch)

        bindings = [*fixed, *self._changed(plan)]
        name = f"{self.name}_step"
        define_kernel(self.block, name, bindings, body, count, spirv(size), constants=2)

    def _changed(self, plan: StepPlan) -> list[Binding]:
        """What the kernel changes in place: vectors, y, sums of a chunk where it has several steps,
        cells."""
        stack, f32, of = self.stack, self.emit.f32, sizes(plan)
        cells = [stack.rows * stack.batch * size for size in stack.sizes[1:]]
        length = ROWS if plan.by_four else 1
        projected = Binding(self.emit.vector_type(length), 0, of.projected // length, False)
        return [
            Binding(f32, of.x, of.h, False),
            Binding(f32, stack.batch * stack.outputs, 0, False),
            *([projected] if of.projected else []),
            *(Binding(f32, 0, size, False) for size in cells),
        ]
