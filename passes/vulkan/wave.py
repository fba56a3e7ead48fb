"""A wavefront: a workgroup a layer, each a chunk of steps behind the layer before.

    for d in ceil(T / C) + L - 1:                           # layer l is at chunk d - l, C steps
        projected[l] = W_ih * (x, or the layer before's h), all steps of all layers' chunks at once
        h, c = the scan of W_hh and projected[l]            # workgroup (batch entry, layer l)

Every line is a dispatch. The first one shares the loads of W_ih among steps, on all of the GPU. In
the second each layer has a processor's registers and shared memory for itself: its W_hh is loaded
anew in each dispatch (`resident`), or, where it finds no registers, in each step (`streamed`). With
registers the first layer may keep its W_ih too; then nothing is projected before the first scan.
Workgroups of one dispatch need nothing of each other. h of all steps, c and the states stay in
buffers between dispatches. The scan of each layer is under a branch that all threads of a workgroup
take, or none, so that its barriers are legal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.blocks import Constants
from rtmobile_iree.passes.vulkan.matmul import MatmulKernel
from rtmobile_iree.passes.vulkan.wave_turn import WaveTurn
from torch_mlir import ir
from torch_mlir.dialects import arith


@dataclass(frozen=True)
class ProjectKernel:
    """Emits the first dispatch of the module docstring; `constants`: of `WavePlan.lanes`."""

    at: WaveTurn
    constants: Constants

    def body(self) -> None:
        """The whole kernel: lanes along x; along y layers, and of each its groups of vectors."""
        e, plan = self.at.emit, self.at.plan
        groups = e.index(plan.groups)
        own = e.add(arith.divui(e.workgroup(1), groups), plan.first)
        first = e.mul(arith.remui(e.workgroup(1), groups), plan.vector_tile)
        lane = e.add(e.mul(e.workgroup(0), e.workgroup_size), e.thread())
        self.at.each_layer(own, partial(self._project, lane, first), plan.first)

    def _project(
        self, lane: ir.Value, first: ir.Value, layer: int, t: ir.Value, count: ir.Value
    ) -> None:
        e, plan, at = self.at.emit, self.at.plan, self.at
        lanes, size = plan.lanes[layer - plan.first], plan.given[layer]
        x, y = at.outputs(layer - 1, t), at.projected(layer)
        vectors = e.mul(count, plan.stack.batch)
        kernel = MatmulKernel(e, lanes, size, self.constants, x, y, vectors, plan.vector_tile)
        when(compare("ult", lane, e.index(lanes.count)), lambda: kernel.group(lane, first))
        if lanes.zeros:
            entry = e.sub(lane, e.index(lanes.count))
            # below 0 it wraps around
            when(compare("ult", entry, e.index(lanes.zeros)), lambda: kernel.zeros(entry, first))
