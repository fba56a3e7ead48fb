"""What a wavefront (see `wave`) is made of: scans of its layers, lanes of W_ih, buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan.blocks import MOST_QUADS, BlockPool, Pool, fits_blocks
from rtmobile_iree.passes.vulkan.lanes import LanePool, Lanes, fitting_quads
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, resident_plans
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.tiling import (
    DISPATCH_COST,
    FAR_COST,
    FRAME_STEPS,
    STEP_COST,
    WORD_BYTES,
)
from rtmobile_iree.passes.vulkan.wave_scans import ResidentScans, Scans, streamed_scans

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import GpuSchedule, even_part

# of projecting a chunk's inputs, beside its bytes; in the units of `tiling`
PROJECT_COST = 30_000


@dataclass(frozen=True)
class WavePlan:
    """A stack.

    Attributes:
        scans: of its layers.
        first: the first one whose inputs are projected, 1 where the first layer keeps its W_ih too.
        pool, lanes: W_ih of each from there on.
        chunk: C, the most steps of a dispatch.
        vector_tile: input vectors that share one load of a weight.
        frame_cost: of all steps of a call, in the units of `tiling`.
    """

    stack: Stack
    scans: Scans
    first: int
    pool: Pool
    lanes: tuple[Lanes, ...]
    chunk: int
    vector_tile: int
    frame_cost: float = math.inf

    @property
    def groups(self) -> int:
        """Of a chunk's input vectors."""
        return -(-self.chunk * self.stack.batch // self.vector_tile)

    @cached_property
    def given(self) -> list[int]:
        """Given terms of each layer, a step and batch entry."""
        return [self.scans.given(layer) for layer in range(len(self.stack.layers))]

    @cached_property
    def starts(self) -> list[int]:
        """Where those of each layer's chunk begin, and where the last one's end."""
        sizes = [self.chunk * self.stack.batch * each for each in self.given]
        return np.cumsum([0, *sizes]).tolist()  # type: ignore[no-any-return]


def plan_wave(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> WavePlan | None:
    """Lays a stack out, weights in registers; None where a layer does not suit (see
    `resident_plans`), or there is but one."""
    if len(stack.layers) == 1:
        return None
    found = [_plan_resident(stack, schedule, shared_bytes, first) for first in (0, 1)]
    return min(filter(None, found), key=lambda plan: plan.frame_cost, default=None)


def plan_streamed_wave(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> WavePlan | None:
    """Lays a stack out, weights read in every step; None where the schedule has no such, a layer
    does not suit (see `streamed_scans`), or there is but one."""
    if len(stack.layers) == 1 or not schedule.streamed_steps:
        return None
    scans = streamed_scans(stack, schedule, shared_bytes)
    return None if scans is None else _plan(stack, schedule, scans, 0)


def _plan(stack: Stack, schedule: GpuSchedule, scans: Scans, first: int) -> WavePlan:
    """The plan that projects the inputs of the layers from `first` on."""
    inputs = [layer.w_ih for layer in stack.layers[first:]]
    pool = _pool(stack, inputs, schedule)
    lanes = []
    for number, w_ih in enumerate(inputs, first):
        owners = np.zeros(w_ih.shape[0], np.int64)
        lanes += pool.add_parts(w_ih, scans.input_places(number), owners, 1, is_complete=True)
    chunk = schedule.wave_chunk
    tile = even_part(chunk, schedule.time_chunk, 1)
    return WavePlan(stack, scans, first, pool, tuple(lanes), chunk, tile)


def _plan_resident(
    stack: Stack, schedule: GpuSchedule, shared_bytes: int, first: int
) -> WavePlan | None:
    plans = []
    for number, layer in enumerate(stack.layers):
        own = replace(stack, layers=(layer,), inputs=stack.inputs if number < first else 0)
        plans.append(resident_plans(own, schedule, shared_bytes, number >= first))
    common = set.intersection(*(set(each) for each in plans))
    choices = [tuple(each[threads] for each in plans) for threads in sorted(common)]
    best = min(choices, key=lambda layers: max(each.tiling.cost for each in layers), default=None)
    if best is None:
        return None
    plan = _plan(stack, schedule, ResidentScans(best), first)
    return replace(plan, frame_cost=_frame_cost(plan, best))


def _frame_cost(plan: WavePlan, layers: Sequence[ResidentPlan]) -> float:
    turns = -(-FRAME_STEPS // plan.chunk) + len(layers) - 1
    steps = max(layer.tiling.cost for layer in layers) + STEP_COST
    loads = max(layer.loaded_words for layer in layers) * FAR_COST
    projected = sum(array.nbytes for array in plan.pool.arrays()) / WORD_BYTES
    projected = (projected + 2 * plan.starts[-1]) * FAR_COST / 2  # given products written, read
    project = projected + PROJECT_COST + DISPATCH_COST
    return turns * (plan.chunk * steps + loads + DISPATCH_COST) + (turns - plan.first) * project


def _pool(stack: Stack, inputs: Sequence[PackedMatrix], schedule: GpuSchedule) -> Pool:
    """For W_ih of some layers, as for a step's kernels; f16 products need blocks."""
    quads = fitting_quads(inputs, schedule.step_quads)
    sums = len(stack.cell.ih_blocks) * stack.hidden
    takes_blocks = schedule.step_blocks or schedule.is_half
    if takes_blocks and quads <= MOST_QUADS and fits_blocks(inputs, sums):
        return BlockPool(stack.values, quads, is_half=schedule.is_half)
    return LanePool.of_words(stack.values, quads, schedule.word_bits)
