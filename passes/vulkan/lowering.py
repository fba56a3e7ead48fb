"""From packed ops to kernels and dispatches: which kernel a stack gets, buffers, workgroups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.passes.kernels.dispatch import Binding, define_kernel, dispatch
from rtmobile_iree.passes.packed_ops import (
    read_packed,
    replace_chain,
    replace_matmul,
    stack_inputs,
    stack_results,
)
from rtmobile_iree.passes.vulkan.dispatch import (
    array_bindings,
    pool_buffers,
    spirv,
    workgroup_size,
)
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LanePool, fitting_quads
from rtmobile_iree.passes.vulkan.matmul import MatmulKernel, plan_matmul, workgroups
from rtmobile_iree.passes.vulkan.persistent import (
    ScanBuffers,
    ScanKernel,
    ScanPlan,
    copy_states,
    plan_scan,
)
from rtmobile_iree.passes.vulkan.resident import ResidentBuffers, ResidentKernel
from rtmobile_iree.passes.vulkan.resident_arrays import resident_arrays
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, plan_resident
from rtmobile_iree.passes.vulkan.stacks import Stack, check_half, read_stack, value_type
from rtmobile_iree.passes.vulkan.step_loop import known_steps, longest_run
from rtmobile_iree.passes.vulkan.step_lowering import StepLowering
from rtmobile_iree.passes.vulkan.wave_lowering import WaveLowering
from rtmobile_iree.passes.vulkan.wave_plan import WavePlan, plan_streamed_wave, plan_wave
from torch_mlir import ir

from rtmobile_iree.errors import CompileError
from rtmobile_iree.schedule import AUTO, PER_STEP, PERSISTENT, WAVEFRONT, GpuSchedule

LONGEST_WAVE = 2  # turns of a wavefront's longest run, as many as a frame has beside its last
# constants, buffers, T (index value)
ScanBody = Callable[[Sequence[ir.Value], ScanBuffers, ir.Value], None]


@dataclass(frozen=True)
class Lowering:
    """Lowers ops of one module.

    Attributes:
        block: where kernels go.
        stacks: how many stacks of recurrent layers there are.
        shared_bytes, storage_f16, activation_error: see `LowerVulkanPass`.
    """

    block: ir.Block
    schedule: GpuSchedule
    shared_bytes: int
    storage_f16: bool
    activation_error: float
    stacks: int

    def stack(self, chain: Sequence[ir.Operation], kind: str, name: str) -> None:
        """Replaces a stack of layers.

        Raises:
            CompileError: values that the target cannot store, or of several types, or that have no
                f16 products; a kernel is asked for and does not fit.
        """
        stack = read_stack(chain, kind, self.storage_f16)
        if self.schedule.is_half:
            check_half(stack)
        resident, wave = self._plans(stack)
        if wave:
            self._wave(wave, name)
            return
        if resident:
            self._resident(resident, name)
            return
        if self.schedule.is_half:
            self._half_steps(stack, name)
            return
        pool = LanePool(stack.values, fitting_quads(stack.matrices, self.schedule.quads))
        plan = plan_scan(pool, stack)
        fits = plan.shared_bytes <= self.shared_bytes
        if self.schedule.kernel == PERSISTENT and not fits:
            raise CompileError(
                f"bspc-lower-vulkan: {stack.name}: {len(chain)} layers of {stack.hidden} units "
                f"need {plan.shared_bytes:,} bytes of shared memory for a persistent kernel, and "
                f"the target has {self.shared_bytes:,}; use gpu_kernel {PER_STEP}"
            )
        if fits and self._may_scan(stack):
            self._persistent(stack, plan, pool, name)
        elif streamed := self._streamed(stack):
            self._wave(streamed, name)
        else:
            self._steps(stack, name)

    def _half_steps(self, stack: Stack, name: str) -> None:
        """A step's kernels, as no other have f16 products of weights that they read.

        Raises:
            CompileError: a persistent kernel is asked for.
        """
        if self.schedule.kernel == PERSISTENT:
            raise CompileError(
                f"bspc-lower-vulkan: {stack.name}: activations f16: a persistent kernel has them "
                f"where its weights find registers, and these do not; use gpu_kernel {PER_STEP} or "
                "auto, or activations f32"
            )
        self._steps(stack, name)

    def _steps(self, stack: Stack, name: str) -> None:
        StepLowering(
            self.block,
            self.schedule,
            self.shared_bytes,
            self._emitter(1),
            stack,
            name,
            longest_run(self.stacks),
        ).run()

    def _plans(self, stack: Stack) -> tuple[ResidentPlan | None, WavePlan | None]:
        """How a stack keeps its weights in registers, one way or none.

        Raises:
            CompileError: a wavefront is asked for and does not suit.
        """
        schedule, kernel = self.schedule, self.schedule.kernel
        is_open = kernel == AUTO and schedule.processors > 1
        wave = None
        if is_open or kernel == WAVEFRONT:
            wave = plan_wave(stack, schedule, self.shared_bytes)
        if kernel == WAVEFRONT and wave is None:
            wave = plan_streamed_wave(stack, schedule, self.shared_bytes)
        if kernel == WAVEFRONT and wave is None:
            raise CompileError(
                f"bspc-lower-vulkan: {stack.name}: {len(stack.layers)} layers of {stack.hidden} "
                f"units with {stack.values} weights are no {WAVEFRONT}: that takes two layers or "
                "more without a projection, and few enough weights a layer for a target's "
                "registers, or, on lavapipe with activations f32, few enough units for "
                f"{self.shared_bytes:,} bytes of shared memory; use gpu_kernel auto"
            )
        if kernel in (WAVEFRONT, PER_STEP):
            return None, wave
        resident = plan_resident(stack, schedule, self.shared_bytes)
        if wave and (resident is None or wave.frame_cost < resident.frame_cost):
            return None, wave
        return resident, None

    def _streamed(self, stack: Stack) -> WavePlan | None:
        """The wavefront that reads its weights, where "auto" may choose, but for a T that is known
        and short."""
        schedule, steps = self.schedule, known_steps(stack)
        is_short = steps is not None and steps < schedule.streamed_steps
        if schedule.kernel != AUTO or is_short:
            return None
        return plan_streamed_wave(stack, schedule, self.shared_bytes)

    def _wave(self, plan: WavePlan, name: str) -> None:
        e = self._emitter(plan.scans.threads)
        run = min(LONGEST_WAVE, longest_run(self.stacks))
        WaveLowering(self.block, self.schedule, e, plan, name, run).run()

    def _may_scan(self, stack: Stack) -> bool:
        """Whether a persistent kernel is asked for, or left to choose and reads few weights."""
        most, kernel = self.schedule.scan_weights, self.schedule.kernel
        is_small = not most or sum(matrix.values.size for matrix in stack.matrices) <= most
        return kernel == PERSISTENT or (kernel != PER_STEP and is_small)

    def matmul(self, op: ir.Operation, name: str) -> None:
        """Replaces a linear layer.

        Raises:
            CompileError: values that the target cannot store.
        """
        (packed,) = read_packed(op)
        values = value_type(op, [packed], self.storage_f16)
        pool = LanePool(values, fitting_quads([packed], self.schedule.quads))
        lanes = plan_matmul(pool, packed)
        outputs, inputs = packed.shape
        tile = self.schedule.vector_tile
        e = self._emitter(workgroup_size(lanes.count, self.schedule.step_threads))
        buffers = pool_buffers(pool)
        bindings = [
            Binding(e.f32, inputs, 0, True),
            *buffers.bindings(),
            Binding(e.f32, outputs, 0, False),
        ]

        def body(vectors: ir.Value, bound: Sequence[ir.Value]) -> None:
            x, *constants, y = bound
            inside, zero = buffers.inside(constants), e.index(0)
            MatmulKernel(e, lanes, outputs, inside, (x, zero), (y, zero), vectors, tile).body()

        count = workgroups(lanes, e.workgroup_size, tile)
        define_kernel(self.block, name, bindings, body, count, spirv(e.workgroup_size))
        replace_matmul(op, name, buffers.arrays)

    def _emitter(self, threads: int) -> ThreadEmitter:
        return ThreadEmitter(
            1, self.activation_error, workgroup_size=threads, unroll=self.schedule.unroll
        )

    def _persistent(self, stack: Stack, plan: ScanPlan, pool: LanePool, name: str) -> None:
        e = self._emitter(workgroup_size(plan.threads, self.schedule.threads))
        constants = pool_buffers(pool)

        def body(constants_inside: Sequence[ir.Value], own: ScanBuffers, steps: ir.Value) -> None:
            ScanKernel(e, plan, constants.inside(constants_inside), own, steps).body()

        self._scan(e, stack, constants.arrays, body, name)

    def _resident(self, plan: ResidentPlan, name: str) -> None:
        e = self._emitter(plan.tiling.threads)

        stack = plan.stack

        def body(constants: Sequence[ir.Value], own: ScanBuffers, steps: ir.Value) -> None:
            rows = [layer.state for layer in stack.layers]
            copy_states(e, stack, e.workgroup(0), own, [rows] * len(stack.sizes))
            x, y = ((buffer, e.index(0)) for buffer in (own.x, own.y))
            buffers = ResidentBuffers(x, y, own.given, own.states, e.shared(plan.words))
            ResidentKernel(e, plan, [(each, 0) for each in constants], buffers, steps).body()

        self._scan(e, plan.stack, resident_arrays(plan), body, name)

    def _scan(
        self,
        e: ThreadEmitter,
        stack: Stack,
        arrays: Sequence[np.ndarray],
        kernel: ScanBody,
        name: str,
    ) -> None:
        """Puts a dispatch of a workgroup for each batch entry in a stack's place."""
        inputs = stack_inputs(stack.chain)
        sizes = [stack.rows * stack.batch * size for size in stack.sizes]
        bindings = [
            Binding(e.f32, stack.batch * stack.inputs, 0, True),
            *(Binding(e.f32, 0, size, True) for size in sizes),
            *array_bindings(arrays),
            Binding(e.f32, stack.batch * stack.outputs, 0, False),
            *(Binding(e.f32, 0, size, False) for size in sizes),
        ]

        def body(steps: ir.Value, bound: Sequence[ir.Value]) -> None:
            first = len(inputs)
            y, *states = bound[first + len(arrays) :]
            own = ScanBuffers(bound[0], y, bound[1:first], states)
            kernel(bound[first : first + len(arrays)], own, steps)

        def count(_: ir.Value) -> tuple[ir.Value, ir.Value]:
            return e.index(stack.batch), e.index(1)

        define_kernel(self.block, name, bindings, body, count, spirv(e.workgroup_size))
        with ir.InsertionPoint(stack.chain[-1]):
            steps, results = stack_results(stack.chain)
            call = dispatch(name, steps, [*inputs, *map(constant, arrays)], results)
        replace_chain(stack.chain, call.results)
