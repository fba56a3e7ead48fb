"""Where a dispatch of a wavefront (see `wave`) is, and where its layers read and write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.products import Place
from torch_mlir import ir
from torch_mlir.dialects import arith

if TYPE_CHECKING:
    from rtmobile_iree.passes.vulkan.wave_plan import WavePlan


@dataclass(frozen=True)
class WaveBuffers:
    """Flat memrefs of f32, those that a kernel uses.

    Attributes:
        x: [T, B, I].
        between: [L - 1, T, B, H] what lower layers leave.
        projected: [L, C, B, .] given terms of a chunk, as many for each layer as it has; a scan may
            take them by four.
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
    """Where a dispatch is.

    Attributes:
        steps, number: T and d (index values).
        fours: given products that an element of `projected` holds: 1 or 4.
    """

    emit: ThreadEmitter
    plan: WavePlan
    buffers: WaveBuffers
    steps: ir.Value
    number: ir.Value
    fours: int = 1

    def span(self, layer: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """t, count and whether there are any: a layer's steps in this dispatch are `count` from t
        on."""
        e, chunk = self.emit, self.plan.chunk
        t = e.mul(e.sub(self.number, layer), chunk)
        has_begun = compare("ule", layer, self.number)
        is_on = arith.andi(has_begun, compare("ult", t, self.steps))
        return t, e.min(e.sub(self.steps, t), e.index(chunk)), is_on

    def each_layer(
        self, own: ir.Value, body: Callable[[int, ir.Value, ir.Value], None], first: int = 0
    ) -> None:
        """body(l, t, count) where layer l, from `first` on, is this workgroup's `own`, and has
        `count` steps from step t on in this dispatch."""
        e, (t, count, is_on) = self.emit, self.span(own)
        for layer in range(first, len(self.plan.stack.layers)):
            is_own = arith.andi(is_on, compare("eq", own, e.index(layer)))
            when(is_own, partial(body, layer, t, count))

    def outputs(self, layer: int, t: ir.Value) -> Place:
        """Where a layer's outputs of step t lie; x for the one below the first."""
        e, stack, buffers = self.emit, self.plan.stack, self.buffers
        if layer < 0:
            return buffers.x, e.mul(t, stack.batch * stack.inputs)
        if buffers.y is not None and layer == len(self.plan.stack.layers) - 1:
            return buffers.y, e.mul(t, stack.batch * stack.hidden)
        step = e.add(e.mul(self.steps, layer), t) if layer else t
        return buffers.between, e.mul(step, stack.batch * stack.hidden)

    def projected(self, layer: int) -> Place:
        """Where a layer's given terms of the chunk lie."""
        start = self.plan.starts[layer] // self.fours
        return self.buffers.projected, self.emit.index(start)
