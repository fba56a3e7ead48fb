"""How the layers of a wavefront (see `wave`) scan: with weights in registers, or read each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from rtmobile_iree.passes.vulkan import streamed
from rtmobile_iree.passes.vulkan.dispatch import pool_buffers, workgroup_size
from rtmobile_iree.passes.vulkan.lanes import LanePool, fitting_quads
from rtmobile_iree.passes.vulkan.resident import ResidentBuffers, ResidentKernel
from rtmobile_iree.passes.vulkan.resident_arrays import resident_arrays
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.streamed import StreamedKernel
from rtmobile_iree.passes.vulkan.wave_turn import WaveTurn
from torch_mlir import ir

from rtmobile_iree.schedule import GpuSchedule


class Scans(Protocol):
    """Those of all layers of a stack."""

    @property
    def threads(self) -> int:
        """Of a workgroup."""

    @property
    def fours(self) -> int:
        """Given products, and sums, that an element holds: 1 or 4."""

    def given(self, layer: int) -> int:
        """Given products of a layer, a step and batch entry."""

    def input_places(self, layer: int) -> np.ndarray:
        """[G H] i32, where the product of each row of W_ih goes among them; or PADDING."""

    def arrays(self) -> list[np.ndarray]:
        """Constants of the kernel, as `dispatch.array_bindings` takes them."""

    def emit(self, at: WaveTurn, arrays: Sequence[ir.Value]) -> None:
        """The whole kernel: a layer of a batch entry a workgroup, in the dispatch that it is at."""


@dataclass(frozen=True)
class ResidentScans:
    """Of weights in registers; `layers`: a plan for each, all for as many threads."""

    layers: tuple[ResidentPlan, ...]
    fours: int = 1

    @property
    def threads(self) -> int:
        return self.layers[0].tiling.threads

    def given(self, layer: int) -> int:
        return self.layers[layer].given

    def input_places(self, layer: int) -> np.ndarray:
        return self.layers[layer].input_places()

    def arrays(self) -> list[np.ndarray]:
        """Those of `resident_arrays` of all layers together."""
        return [np.concatenate(each) for each in zip(*self._parts, strict=True)]

    def emit(self, at: WaveTurn, arrays: Sequence[ir.Value]) -> None:
        e, states = at.emit, at.buffers.states
        shared = e.shared(max(layer.words for layer in self.layers))
        sizes = np.array([[array.shape[0] for array in each] for each in self._parts])
        starts: list[list[int]] = (np.cumsum(sizes, axis=0) - sizes).tolist()

        def scan(layer: int, t: ir.Value, count: ir.Value) -> None:
            x, y, projected = at.outputs(layer - 1, t), at.outputs(layer, t), at.projected(layer)
            own = ResidentBuffers(x, y, states, states, shared, projected)
            parts = list(zip(arrays, starts[layer], strict=True))
            ResidentKernel(e, self.layers[layer], parts, own, count).body()

        at.each_layer(e.workgroup(1), scan)

    @cached_property
    def _parts(self) -> list[list[np.ndarray]]:
        return [resident_arrays(layer) for layer in self.layers]


@dataclass(frozen=True)
class StreamedScans:
    """Of weights that are read in every step; `table`: see `streamed.add_layers`."""

    stack: Stack
    pool: LanePool
    table: int
    threads: int

    @property
    def fours(self) -> int:
        return streamed.unit_size(self.pool, self.stack)

    def given(self, layer: int) -> int:
        return len(self.stack.cell.ih_blocks) * self.stack.hidden

    def input_places(self, layer: int) -> np.ndarray:
        return np.arange(self.given(layer), dtype=np.int32)

    def arrays(self) -> list[np.ndarray]:
        """Those of the pool, biases by as many as other sums."""
        buffers = pool_buffers(self.pool)
        return [*(buffers.with_biases_by_four() if self.fours > 1 else buffers).arrays]

    def emit(self, at: WaveTurn, arrays: Sequence[ir.Value]) -> None:
        StreamedKernel(at, self.stack, self.fours, self.table, self.pool.inside(arrays)).body()


def streamed_scans(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> StreamedScans | None:
    """Lays the layers of a stack out; None where h and sums do not fit into shared memory, or there
    is a projection, or products are f16."""
    if stack.projected or schedule.is_half or streamed.shared_bytes(stack) > shared_bytes:
        return None
    quads = fitting_quads([layer.w_hh for layer in stack.layers], schedule.step_quads)
    pool = LanePool.of_words(stack.values, quads, schedule.word_bits)
    table, lanes = streamed.add_layers(pool, stack)
    threads = workgroup_size(max(stack.hidden, lanes), schedule.step_threads)
    return StreamedScans(stack, pool, table, threads)
