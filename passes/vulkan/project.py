"""The kernel of a step (see `per_step`) of layers with a projection, h = W_hr units.

A product follows a product, and workgroups cannot wait for each other. So a layer's step is one
workgroup, which takes groups of units one after the other:

    workgroup (layer, batch entry):
        h = 0                                                  # in shared memory
        for sweep:
            for group of the sweep:  units[group] = cell(...)  # as in `per_step`
            h += W_hr units                                    # columns of the sweep's units

A sweep is as many groups as have their units in shared memory, mostly all of them. Lines end in
barriers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, LanePool
from rtmobile_iree.passes.vulkan.per_step import StepKernel
from rtmobile_iree.passes.vulkan.products import as_index, lane_sums, write_lane
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.step_plan import F32_BYTES, StepPlan
from rtmobile_iree.passes.vulkan.step_state import Turn
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.errors import TargetError


@dataclass(frozen=True)
class ProjectPlan:
    """W_hr of a stack.

    Attributes:
        table: offset in the table of an entry a layer and sweep: first lane, lanes, 0, 0.
        lanes: most of a layer and sweep.
        groups: of units, in a sweep.
        sweeps: so many.
    """

    table: int
    lanes: int
    groups: int
    sweeps: int


def plan_project(pool: LanePool, stack: Stack, plan: StepPlan, shared_bytes: int) -> ProjectPlan:
    """Lays out the projections, first layer first.

    Raises:
        TargetError: h and a group of units do not fit into shared memory beside the sums.
    """
    taken = plan.sums_bytes + F32_BYTES * stack.outputs
    groups = min(plan.groups, (shared_bytes - taken) // (F32_BYTES * plan.units))
    if groups < 1:
        raise TargetError(
            f"{stack.name}: a step of {stack.outputs} outputs projected from {stack.hidden} units, "
            f"{plan.units} at a time, takes {taken + F32_BYTES * plan.units:,} bytes of shared "
            f"memory, and the target has {shared_bytes:,}; use a smaller proj_size or fewer units "
            "in the schedule"
        )
    starts = range(0, stack.hidden, groups * plan.units)
    rows = np.arange(stack.outputs, dtype=np.int32)
    found = []
    for layer in stack.layers:
        assert layer.w_hr is not None
        found += pool.add_columns(layer.w_hr, rows, starts)
    table = pool.add_entries([(lanes.start, lanes.count, 0, 0) for lanes in found])
    return ProjectPlan(table, max(lanes.count for lanes in found), groups, len(starts))


@dataclass(frozen=True)
class ProjectedStep:
    """Emits the kernel of the module docstring; `constants`: of W_hr."""

    step: StepKernel
    project: ProjectPlan
    constants: LaneConstants

    def body(self) -> None:
        """The whole kernel."""
        step, project = self.step, self.project
        e, plan, outputs = step.emit, step.plan, step.plan.stack.outputs
        own, sums = step.turn(), step.shared_sums()
        units, h = e.shared(project.groups * plan.units), e.shared(outputs)
        e.for_own(outputs, lambda i: e.store(e.scalar(0.0), h, i))

        def sweep(number: ir.Value) -> None:
            first = e.mul(number, project.groups)
            count = e.min(e.sub(e.index(plan.groups), first), e.index(project.groups))
            start = e.mul(first, plan.units)

            def group(i: ir.Value) -> None:
                step.group(
                    own, e.add(first, i), sums,
                    lambda u, value: e.store(value, units, e.sub(u, start)),
                )  # fmt: skip
                e.barrier()

            e.loop(0, count, 1, [], group)
            self._multiply(own, number, units, h)
            e.barrier()

        e.loop(0, e.index(project.sweeps), 1, [], sweep)
        write = step.output(own)
        count = arith.select(own.is_on, e.index(outputs), e.index(0))
        e.for_own(count, lambda u: write(u, e.load(h, u)))

    def _multiply(self, own: Turn, sweep: ir.Value, units: ir.Value, h: ir.Value) -> None:
        """Adds the columns of a sweep."""
        e, project = self.step.emit, self.project
        at = e.add(e.mul(own.layer, project.sweeps), sweep, project.table)
        first, count, *_ = (as_index(i) for i in e.lanes(memref.load(self.constants.table, [at])))

        def add(row: ir.Value, value: ir.Value) -> None:
            e.store(arith.addf(e.load(h, row), value), h, row)

        def one(lane: ir.Value) -> None:
            vector = (units, e.index(0))
            (sums,), rows = lane_sums(e, self.constants, e.add(first, lane), [vector])
            write_lane(e, self.constants, sums, rows, add)

        e.for_own(arith.select(own.is_on, count, e.index(0)), one)
