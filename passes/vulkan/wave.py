"""A wavefront: a workgroup a layer, each a chunk of steps behind the layer before.

    for d in ceil(T / C) + L - 1:                           # layer l is at chunk d - l, C steps
        projected[l] = W_ih * (x, or the layer before's h), all steps of all layers' chunks at once
        h, c = the resident scan of W_hh and projected[l]   # workgroup (batch entry, layer l)

Every line is a dispatch. The first one shares the loads of W_ih among steps, on all of the GPU. In
the second each layer has a processor's registers and shared memory for itself; its W_hh is loaded
anew in each dispatch. The first layer may keep its W_ih too; then nothing is projected before the
first scan. Workgroups of one dispatch need nothing of each other. h of all steps, c and the states
stay in buffers between dispatches. The scan of each layer is under a branch that all threads of a
workgroup take, or none, so that its barriers are legal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.blocks import Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.matmul import MatmulKernel
from rtmobile_iree.passes.vulkan.products import Place
from rtmobile_iree.passes.vulkan.resident import ResidentBuffers, ResidentKernel
from rtmobile_iree.passes.vulkan.wave_plan import WavePlan
from torch_mlir import ir
from torch_mlir.dialects import arith


@dataclass(frozen=True)
class WaveBuffers:
    """Flat memrefs of f32, those that a kernel uses.

    Attributes:
        x: [T, B, I].
        between: [L - 1, T, B, H] what lower layers leave.
        projected: [L, C, B, .] given terms of a chunk, as many for each layer as it has.
        y: [T, B, H].
        states: [L, B, H], changed in place.
    """

    x: ir.Value
    between: ir.Value
    projected: ir.Value
    y: ir.Value | None = None
    states: Sequence[ir.Value] = ()


@dataclass(frozen=True)
class WaveTurn:
    """Where a dispatch is; `steps`: T; `number`: d (index values)."""

    emit: ThreadEmitter
    plan: WavePlan
    buffers: WaveBuffers
    steps: ir.Value
    number: ir.Value

    def each_layer(
        self, own: ir.Value, body: Callable[[int, ir.Value, ir.Value], None], first: int = 0
    ) -> None:
        """body(l, t, count) where layer l, from `first` on, is this workgroup's `own`, and has
        `count` steps from step t on in this dispatch."""
        e, chunk = self.emit, self.plan.chunk
        t = e.mul(e.sub(self.number, own), chunk)
        has_begun = compare("ule", own, self.number)
        is_on = arith.andi(has_begun, compare("ult", t, self.steps))
        count = e.min(e.sub(self.steps, t), e.index(chunk))
        for layer in range(first, len(self.plan.layers)):
            is_own = arith.andi(is_on, compare("eq", own, e.index(layer)))
            when(is_own, partial(body, layer, t, count))

    def outputs(self, layer: int, t: ir.Value) -> Place:
        """Where a layer's outputs of step t lie; x for the one below the first."""
        e, stack, buffers = self.emit, self.plan.stack, self.buffers
        if layer < 0:
            return buffers.x, e.mul(t, stack.batch * stack.inputs)
        if buffers.y is not None and layer == len(self.plan.layers) - 1:
            return buffers.y, e.mul(t, stack.batch * stack.hidden)
        step = e.add(e.mul(self.steps, layer), t) if layer else t
        return buffers.between, e.mul(step, stack.batch * stack.hidden)

    def projected(self, layer: int) -> Place:
        """Where a layer's given terms of the chunk lie."""
        plan = self.plan
        return self.buffers.projected, self.emit.index(plan.starts[layer])


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


@dataclass(frozen=True)
class WaveKernel:
    """Emits the second one; `arrays`: the buffers of `WavePlan.arrays`, and where each layer's part
    of them begins."""

    at: WaveTurn
    arrays: Sequence[ir.Value]
    starts: Sequence[Sequence[int]]

    def body(self) -> None:
        """The whole kernel."""
        e = self.at.emit
        shared = e.shared(self.at.plan.words)
        self.at.each_layer(e.workgroup(1), partial(self._scan, shared))

    def _scan(self, shared: ir.Value, layer: int, t: ir.Value, count: ir.Value) -> None:
        at, states = self.at, self.at.buffers.states
        x, y, projected = at.outputs(layer - 1, t), at.outputs(layer, t), at.projected(layer)
        own = ResidentBuffers(x, y, states, states, shared, projected)
        parts = list(zip(self.arrays, self.starts[layer], strict=True))
        ResidentKernel(at.emit, at.plan.layers[layer], parts, own, count).body()
