"""What a wavefront (see `wave`) is made of: layers as resident scans, lanes of W_ih, buffers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan.lanes import LanePool, Lanes, fitting_quads
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, resident_plans
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.sum_layout import WAVE
from rtmobile_iree.passes.vulkan.values import ROWS, fitting_words

from rtmobile_iree.bspc import panels
from rtmobile_iree.schedule import GpuSchedule


@dataclass(frozen=True)
class WavePlan:
    """A stack.

    Attributes:
        layers: a resident plan for each, all for as many threads.
        pool, lanes: W_ih of each.
        chunk: C, the most steps of a dispatch.
        vector_tile: input vectors that share one load of a weight.
    """

    stack: Stack
    layers: tuple[ResidentPlan, ...]
    pool: LanePool
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
        return [int(np.count_nonzero(layer.given)) for layer in self.layers]

    @cached_property
    def starts(self) -> list[int]:
        """Where those of each layer's chunk begin, and where the last one's end."""
        sizes = [self.chunk * self.stack.batch * each for each in self.given]
        return np.cumsum([0, *sizes]).tolist()  # type: ignore[no-any-return]

    def arrays(self) -> tuple[list[np.ndarray], list[list[int]]]:
        """The arrays of `ResidentPlan.arrays` of all layers together; where each layer's begin."""
        parts = [layer.arrays() for layer in self.layers]
        sizes = np.array([[array.shape[0] for array in each] for each in parts])
        starts = np.cumsum(sizes, axis=0) - sizes
        return [np.concatenate(each) for each in zip(*parts, strict=True)], starts.tolist()


def plan_wave(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> WavePlan | None:
    """Lays a stack out; None where a layer does not suit (see `resident_plans`), or there is but
    one."""
    if len(stack.layers) == 1:
        return None
    inputs = [layer.w_ih for layer in stack.layers]
    quads = fitting_quads(inputs, schedule.step_quads)
    stacks = [replace(stack, layers=(layer,), inputs=0) for layer in stack.layers]
    plans = [
        resident_plans(each, schedule, shared_bytes, _given(each, quads * ROWS)) for each in stacks
    ]
    common = set.intersection(*(set(each) for each in plans))
    found = [tuple(each[threads] for each in plans) for threads in sorted(common)]
    best = min(found, key=lambda layers: max(each.tiling.cost for each in layers), default=None)
    if best is None:
        return None
    words = fitting_words(stack.values, quads * ROWS, schedule.word_bits)
    pool = LanePool(stack.values, quads, word_bits=words)
    lanes = tuple(pool.add_matrix(layer.w_ih, _places(plan))
                  for layer, plan in zip(stack.layers, best, strict=True))  # fmt: skip
    return WavePlan(stack, best, pool, lanes, schedule.wave_chunk, schedule.time_chunk)


def _given(stack: Stack, rows: int) -> np.ndarray:
    """[blocks H] see `ResidentPlan.given`: neighbouring lanes of so many rows write neighbours."""
    cell, hidden, (layer,) = stack.cell, stack.hidden, stack.layers
    positions, found = cell.positions(cell.ih_blocks, hidden), []
    lane = 0
    for panel in panels(layer.w_ih):
        number = np.arange(panel.rows)
        lanes = lane + number // rows
        stored = layer.w_ih.reorder[panel.row_start : panel.row_start + panel.rows]
        found.append(np.stack([lanes // WAVE, number % rows, lanes, positions[stored]]))
        lane += -(-panel.rows // rows)
    given = np.zeros(cell.blocks * hidden, np.int64)
    if found:
        joined = np.concatenate(found, axis=1)
        order = np.lexsort(joined[2::-1])
        given[joined[3, order]] = 1 + np.arange(order.size)
    return given


def _places(plan: ResidentPlan) -> np.ndarray:
    """[G H] the given term that each row of W_ih is."""
    cell, hidden = plan.stack.cell, plan.stack.hidden
    return plan.given_places(cell.positions(cell.ih_blocks, hidden)).astype(np.int32)
