"""A stack's wavefront (see `wave`): its kernels, and the loop of dispatches around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.passes.kernels.dispatch import Binding, Body, define_kernel
from rtmobile_iree.passes.packed_ops import replace_chain, stack_inputs, stack_results
from rtmobile_iree.passes.vulkan.dispatch import (
    PoolBuffers,
    array_bindings,
    spirv,
    workgroup_size,
)
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.step_loop import (
    Carried,
    call_kernel,
    emit_runs,
    empty,
    known_steps,
)
from rtmobile_iree.passes.vulkan.wave import ProjectKernel
from rtmobile_iree.passes.vulkan.wave_plan import WavePlan
from rtmobile_iree.passes.vulkan.wave_turn import WaveBuffers, WaveTurn
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import GpuSchedule

PROJECT, SCAN = "project", "scan"


@dataclass(frozen=True)
class _Fixed:
    """What all dispatches are given: T, x, the constants of projections, and those of scans."""

    steps: ir.Value
    x: ir.Value
    projections: Sequence[ir.Value]
    scans: Sequence[ir.Value]


@dataclass(frozen=True)
class WaveLowering:
    """Lowers one stack.

    Attributes:
        block: where kernels go.
        emit: an emitter; each kernel's has the workgroup's size.
        name: what the kernels' names begin with.
        longest_run: dispatches of the loop's longest run.
    """

    block: ir.Block
    schedule: GpuSchedule
    emit: ThreadEmitter
    plan: WavePlan
    name: str
    longest_run: int

    def run(self) -> None:
        """Replaces the stack's ops."""
        plan, stack = self.plan, self.plan.stack
        arrays = [_varied(array) for array in plan.scans.arrays()]
        pool = PoolBuffers(plan.pool, tuple(map(_varied, plan.pool.arrays())))
        self._define_project(pool)
        self._define_scan(array_bindings(arrays))
        with ir.InsertionPoint(stack.chain[-1]):
            steps, results = stack_results(stack.chain)
            x, *states = stack_inputs(stack.chain)
            fixed = _Fixed(steps, x, pool.values(), [constant(array) for array in arrays])
            y_type, dims = results[0]
            between, projected, *_ = self._buffers
            size = arith.muli(steps, _index(between.per_item))
            state: Carried = [
                (empty([projected.fixed]), []),
                (empty([ir.ShapedType.get_dynamic_size()], [size]), [size]),
                (empty(y_type.shape, dims), dims),
                *((value, []) for value in states),
            ]
            chunks = arith.ceildivui(steps, _index(plan.chunk))
            last = arith.addi(chunks, _index(len(stack.layers) - 2))
            if plan.first == 0:
                state = self._project(_index(0), fixed, state)

            def call(d: ir.Value, changed: Carried) -> Carried:
                scanned = self._scan(d, fixed, changed)
                return self._project(arith.addi(d, _index(1)), fixed, scanned)

            known = known_steps(stack)
            if known is not None:
                known = -(-known // plan.chunk) + len(stack.layers) - 2
            state = emit_runs((last, known), self.longest_run, state, call)
            _, _, *found = self._scan(last, fixed, state)
        replace_chain(stack.chain, [value for value, _ in found])

    def _project(self, d: ir.Value, fixed: _Fixed, state: Carried) -> Carried:
        """The dispatch that projects the inputs of chunks of turn d."""
        terms, between, *_ = state
        read = [fixed.x, between[0], *fixed.projections]
        return [*call_kernel(f"{self.name}_{PROJECT}", (d, fixed.steps), read, [terms]), *state[1:]]

    def _scan(self, d: ir.Value, fixed: _Fixed, state: Carried) -> Carried:
        """The dispatch of turn d that scans."""
        terms, *changed = state
        read = [fixed.x, terms[0], *fixed.scans]
        return [terms, *call_kernel(f"{self.name}_{SCAN}", (d, fixed.steps), read, changed)]

    def _define_project(self, pool: PoolBuffers) -> None:
        plan = self.plan
        lanes = max(1, *(each.count + each.zeros for each in plan.lanes))
        size = workgroup_size(lanes, self.schedule.step_threads)
        e = replace(self.emit, workgroup_size=size, unroll=self.schedule.step_unroll)
        between, projected, *_ = self._buffers

        def body(steps: ir.Value, bound: Sequence[ir.Value], d: ir.Value) -> None:
            x, below, *constants, terms = bound
            at = WaveTurn(e, plan, WaveBuffers(x, below, terms), steps, d)
            ProjectKernel(at, pool.inside(constants)).body()

        bindings = [self._x, replace(between, read_only=True), *pool.bindings(), projected]
        groups = -(-lanes // size), len(plan.lanes) * plan.groups
        self._define(PROJECT, size, bindings, body, groups)

    def _define_scan(self, constants: Sequence[Binding]) -> None:
        plan, stack = self.plan, self.plan.stack
        threads, fours = plan.scans.threads, plan.scans.fours
        e = replace(self.emit, workgroup_size=threads, unroll=self.schedule.step_unroll)
        between, terms, *others = self._buffers
        terms = replace(terms, element=e.vector_type(fours), fixed=terms.fixed // fours)

        def body(steps: ir.Value, bound: Sequence[ir.Value], d: ir.Value) -> None:
            x, terms, *inner = bound
            below, y, *states = inner[len(constants) :]
            at = WaveTurn(e, plan, WaveBuffers(x, below, terms, y, states), steps, d, fours)
            plan.scans.emit(at, inner[: len(constants)])

        bindings = [self._x, replace(terms, read_only=True), *constants, between, *others]
        self._define(SCAN, threads, bindings, body, (stack.batch, len(stack.layers)))

    def _define(
        self,
        kernel: str,
        size: int,
        bindings: Sequence[Binding],
        body: Body,
        groups: tuple[int, int],
    ) -> None:
        """A kernel of so many workgroups along x and y, with T and d."""

        def count(_: ir.Value) -> tuple[ir.Value, ir.Value]:
            return self.emit.index(groups[0]), self.emit.index(groups[1])

        name = f"{self.name}_{kernel}"
        define_kernel(self.block, name, bindings, body, count, spirv(size), constants=2)

    @property
    def _x(self) -> Binding:
        stack = self.plan.stack
        return Binding(self.emit.f32, stack.batch * stack.inputs, 0, True)

    @property
    def _buffers(self) -> list[Binding]:
        """What changes: what lower layers leave, given terms, y and the states."""
        plan, stack, f32 = self.plan, self.plan.stack, self.emit.f32
        outputs = stack.batch * stack.hidden
        return [
            Binding(f32, (len(stack.layers) - 1) * outputs, 0, False),
            Binding(f32, 0, max(1, plan.starts[-1]), False),
            Binding(f32, outputs, 0, False),
            *(Binding(f32, 0, stack.rows * stack.batch * size, False) for size in stack.sizes),
        ]


def _varied(array: np.ndarray) -> np.ndarray:
    """An array, and an element more where all are equal.

    IREE 3.13 fills such constants anew where they are read, and between loops of dispatches it
    sometimes leaves the fill where it cannot be ("expected to be in an execution region").
    """
    if (array != array.flat[0]).any():
        return array
    return np.concatenate([array, (array[:1] == 0).astype(array.dtype)])


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)
