"""The second kernel of a step (see `per_step`): h' = W_hr units, where layers have a projection.

Workgroups along x share the lanes of W_hr; along y are layers and batch entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, LanePool
from rtmobile_iree.passes.vulkan.products import as_index, lane_sums, write_lane
from rtmobile_iree.passes.vulkan.step_plan import StepPlan
from rtmobile_iree.passes.vulkan.step_state import Output, StepBuffers, place_of, turn
from torch_mlir import ir
from torch_mlir.dialects import arith, memref


@dataclass(frozen=True)
class ProjectPlan:
    """W_hr of a stack.

    Attributes:
        table: offset in the table of an entry a layer: first lane, lanes, row of its state, 0.
        lanes: most of a layer.
    """

    table: int
    lanes: int


def plan_project(pool: LanePool, layers: Sequence[Layer]) -> ProjectPlan:
    """Lays out the projections, first layer first."""
    found = []
    for layer in layers:
        assert layer.w_hr is not None
        rows = np.arange(layer.w_hr.shape[0], dtype=np.int32)
        found.append(pool.add_matrix(layer.w_hr, rows, is_complete=True))
    entries = [(m.start, m.count, layer.state, 0) for m, layer in zip(found, layers, strict=True)]
    return ProjectPlan(pool.add_entries(entries), max(lanes.count for lanes in found))


@dataclass(frozen=True)
class ProjectKernel:
    """Emits the kernel; `steps`: T; `number`: of the step's dispatch (index values)."""

    emit: ThreadEmitter
    plan: StepPlan
    project: ProjectPlan
    constants: LaneConstants
    buffers: StepBuffers
    steps: ir.Value
    number: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan, units = self.emit, self.plan, self.buffers.units
        assert units is not None
        own = turn(e, plan, self.steps, self.number)
        entry = memref.load(self.constants.table, [e.add(own.layer, self.project.table)])
        first, count, row, _ = (as_index(value) for value in e.lanes(entry))
        lane = e.add(e.mul(e.workgroup(0), e.workgroup_size), e.thread())
        output = Output(e, plan, self.buffers, own, row)

        def one() -> None:
            vector = (units, place_of(e, plan, row, own, plan.stack.hidden))
            (sums,), rows = lane_sums(e, self.constants, e.add(first, lane), [vector])
            write_lane(e, self.constants, sums, rows, output.write)

        when(arith.andi(own.is_on, compare("ult", lane, count)), one)
