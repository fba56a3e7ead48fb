"""What a wavefront (see `wave`) is made of: layers as resident scans, lanes of W_ih, buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan.blocks import MOST_QUADS, BlockPool, Pool, fits_blocks
from rtmobile_iree.passes.vulkan.lanes import LanePool, Lanes, fitting_quads
from rtmobile_iree.passes.vulkan.resident_arrays import resident_arrays
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, resident_plans
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.tiling import (
    DISPATCH_COST,
    FAR_COST,
    FRAME_STEPS,
    STEP_COST,
    WORD_BYTES,
)
from rtmobile_iree.passes.vulkan.values import ROWS, fitting_words

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import GpuSchedule

# of projecting a chunk's inputs, beside its bytes; in the units of `tiling`
PROJECT_COST = 30_000


@dataclass(frozen=True)
class WavePlan:
    """A stack.

    Attributes:
        layers: a resident plan for each, all for as many threads.
        first: the first one whose inputs are projected, 1 where the first layer keeps its W_ih too.
        pool, lanes: W_ih of each from there on.
        chunk: C, the most steps of a dispatch.
        vector_tile: input vectors that share one load of a weight.
    """

    stack: Stack
    layers: tuple[ResidentPlan, ...]
    first: int
    pool: Pool
    lanes: tuple[Lanes, ...]
    chunk: int
    vector_tile: int

    @property
    def threads(self) -> int:
        """Of a scan's workgroup."""
        return self.layers[0].tiling.threads

    @property
    def words(self) -> int:
        """Of its shared memory."""
        return max(layer.words for layer in self.layers)

    @property
    def groups(self) -> int:
        """Of a chunk's input vectors."""
        return -(-self.chunk * self.stack.batch // self.vector_tile)

    @cached_property
    def given(self) -> list[int]:
        """Given terms of each layer, a step and batch entry."""
        return [layer.given for layer in self.layers]

    @cached_property
    def starts(self) -> list[int]:
        """Where those of each layer's chunk begin, and where the last one's end."""
        sizes = [self.chunk * self.stack.batch * each for each in self.given]
        return np.cumsum([0, *sizes]).tolist()  # type: ignore[no-any-return]

    @property
    def frame_cost(self) -> float:
        """Of all steps of a call, in the units of `tiling`."""
        turns = -(-FRAME_STEPS // self.chunk) + len(self.layers) - 1
        steps = max(layer.tiling.cost for layer in self.layers) + STEP_COST
        loads = max(layer.loaded_words for layer in self.layers) * FAR_COST
        projected = sum(array.nbytes for array in self.pool.arrays()) / WORD_BYTES
        projected = (projected + 2 * self.starts[-1]) * FAR_COST / 2  # given products written, read
        project = projected + PROJECT_COST + DISPATCH_COST
        return turns * (self.chunk * steps + loads + DISPATCH_COST) + (turns - self.first) * project

    def arrays(self) -> tuple[list[np.ndarray], list[list[int]]]:
        """The arrays of `resident_arrays` of all layers together; where each layer's begin."""
        parts = [resident_arrays(layer) for layer in self.layers]
        sizes = np.array([[array.shape[0] for array in each] for each in parts])
        starts = np.cumsum(sizes, axis=0) - sizes
        return [np.concatenate(each) for each in zip(*parts, strict=True)], starts.tolist()


def plan_wave(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> WavePlan | None:
    """Lays a stack out; None where a layer does not suit (see `resident_plans`), or there is but
    one."""
    if len(stack.layers) == 1:
        return None
    found = [_plan(stack, schedule, shared_bytes, first) for first in (0, 1)]
    return min(filter(None, found), key=lambda plan: plan.frame_cost, default=None)


def _plan(stack: Stack, schedule: GpuSchedule, shared_bytes: int, first: int) -> WavePlan | None:
    """The plan that projects the inputs of the layers from `first` on."""
    inputs = [layer.w_ih for layer in stack.layers[first:]]
    plans = []
    for number, layer in enumerate(stack.layers):
        own = replace(stack, layers=(layer,), inputs=stack.inputs if number < first else 0)
        plans.append(resident_plans(own, schedule, shared_bytes, number >= first))
    common = set.intersection(*(set(each) for each in plans))
    choices = [tuple(each[threads] for each in plans) for threads in sorted(common)]
    best = min(choices, key=lambda layers: max(each.tiling.cost for each in layers), default=None)
    if best is None:
        return None
    pool = _pool(stack, inputs, schedule)
    lanes = tuple(_lanes(pool, *each) for each in zip(inputs, best[first:], strict=True))
    chunk, tile = schedule.wave_chunk, schedule.time_chunk
    return WavePlan(stack, best, first, pool, lanes, chunk, tile)


def _pool(stack: Stack, inputs: Sequence[PackedMatrix], schedule: GpuSchedule) -> Pool:
    """For W_ih of some layers, as for a step's kernels; f16 products need blocks."""
    quads = fitting_quads(inputs, schedule.step_quads)
    sums = len(stack.cell.ih_blocks) * stack.hidden
    takes_blocks = schedule.step_blocks or schedule.is_half
    if takes_blocks and quads <= MOST_QUADS and fits_blocks(inputs, sums):
        return BlockPool(stack.values, quads, is_half=schedule.is_half)
    words = fitting_words(stack.values, quads * ROWS, schedule.word_bits)
    return LanePool(stack.values, quads, word_bits=words)


def _lanes(pool: Pool, w_ih: PackedMatrix, plan: ResidentPlan) -> Lanes:
    owners = np.zeros(w_ih.shape[0], np.int64)
    (lanes,) = pool.add_parts(w_ih, plan.input_places(), owners, 1, is_complete=True)
    return lanes
