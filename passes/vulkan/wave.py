"""A wavefront: a workgroup a layer, each a chunk of steps behind the layer before.

Dispatch d of ceil(T / C) + L - 1:

    workgroup (batch entry, layer l):                    # one on each of the GPU's processors
        for t in chunk d - l, C steps or the last ones:
            the resident scan of layer l                 # x, or what layer l - 1 left in dispatch d - 1

Each layer has a processor's registers and shared memory for itself; its weights are loaded anew in
each dispatch. Workgroups of one dispatch need nothing of each other: what a layer reads was written
by the dispatch before. States stay in their buffers between dispatches. The body of each layer is
under a branch that all threads of a workgroup take, or none, so that its barriers are legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.products import Place
from rtmobile_iree.passes.vulkan.resident import ResidentBuffers, ResidentKernel
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan
from rtmobile_iree.passes.vulkan.stacks import Stack
from torch_mlir import ir
from torch_mlir.dialects import arith


@dataclass(frozen=True)
class WavePlan:
    """A stack, a resident plan for each of its layers, all for as many threads.

    Attributes:
        chunk: C, the most steps of a dispatch.
    """

    stack: Stack
    layers: tuple[ResidentPlan, ...]
    chunk: int

    @property
    def threads(self) -> int:
        return self.layers[0].tiling.threads

    @property
    def words(self) -> int:
        """Of shared memory."""
        return max(layer.words for layer in self.layers)

    def arrays(self) -> tuple[list[np.ndarray], list[list[int]]]:
        """The arrays of `ResidentPlan.arrays` of all layers together; where each layer's begin."""
        parts = [layer.arrays() for layer in self.layers]
        sizes = np.array([[array.shape[0] for array in each] for each in parts])
        starts = np.cumsum(sizes, axis=0) - sizes
        return [np.concatenate(each) for each in zip(*parts, strict=True)], starts.tolist()


@dataclass(frozen=True)
class WaveBuffers:
    """Flat memrefs: x [T, B, I], what lower layers leave [L - 1, T, B, H], y [T, B, H], and the
    states [L, B, H], changed in place."""

    x: ir.Value
    between: ir.Value
    y: ir.Value
    states: Sequence[ir.Value]


@dataclass(frozen=True)
class WaveKernel:
    """Emits the kernel of the module docstring; `steps`: T; `number`: d (index values).

    Attributes:
        arrays: the buffers of `WavePlan.arrays`.
        starts: where each layer's part of them begins.
    """

    emit: ThreadEmitter
    plan: WavePlan
    arrays: Sequence[ir.Value]
    starts: Sequence[Sequence[int]]
    buffers: WaveBuffers
    steps: ir.Value
    number: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan = self.emit, self.plan
        own = e.workgroup(1)
        t = e.mul(e.sub(self.number, own), plan.chunk)
        has_begun = compare("ule", own, self.number)
        is_on = arith.andi(has_begun, compare("ult", t, self.steps))
        shared = e.shared(plan.words)
        for layer in range(len(plan.layers)):
            is_own = arith.andi(is_on, compare("eq", own, e.index(layer)))
            when(is_own, partial(self._scan, layer, t, shared))

    def _scan(self, layer: int, t: ir.Value, shared: ir.Value) -> None:
        """A chunk of a layer, from step t on."""
        e, plan, buffers = self.emit, self.plan, self.buffers
        x, y = self._outputs(layer - 1, t), self._outputs(layer, t)
        own = ResidentBuffers(x, y, buffers.states, buffers.states, shared)
        parts = list(zip(self.arrays, self.starts[layer], strict=True))
        count = e.min(e.sub(self.steps, t), e.index(plan.chunk))
        ResidentKernel(e, plan.layers[layer], parts, own, count).body()

    def _outputs(self, layer: int, t: ir.Value) -> Place:
        """Where a layer's outputs of step t lie; x for the one below the first."""
        e, stack, buffers = self.emit, self.plan.stack, self.buffers
        if layer < 0:
            return buffers.x, e.mul(t, stack.batch * stack.inputs)
        if layer == len(self.plan.layers) - 1:
            return buffers.y, e.mul(t, stack.batch * stack.hidden)
        step = e.add(e.mul(self.steps, layer), t) if layer else t
        return buffers.between, e.mul(step, stack.batch * stack.hidden)
