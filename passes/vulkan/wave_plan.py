"""What a wavefront (see `wave`) is made of: layers as resident scans, lanes of W_ih, buffers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan.lanes import LanePool, Lanes, fitting_quads
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, input_sums, resident_plans
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.values import ROWS, fitting_words

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
        return [int(layer.given.sum()) for layer in self.layers]

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
    plans = [
        resident_plans(
            replace(stack, layers=(layer,), inputs=0), schedule, shared_bytes, projected=True
        )
        for layer in stack.layers
    ]
    common = set.intersection(*(set(each) for each in plans))
    found = [tuple(each[threads] for each in plans) for threads in sorted(common)]
    best = min(found, key=lambda layers: max(each.tiling.cost for each in layers), default=None)
    if best is None:
        return None
    inputs = [layer.w_ih for layer in stack.layers]
    quads = fitting_quads(inputs, schedule.step_quads)
    words = fitting_words(stack.values, quads * ROWS, schedule.word_bits)
    pool = LanePool(stack.values, quads, word_bits=words)
    lanes = tuple(pool.add_matrix(layer.stack.layers[0].w_ih, _places(layer)) for layer in best)
    return WavePlan(stack, best, pool, lanes, schedule.wave_chunk, schedule.time_chunk)


def _places(plan: ResidentPlan) -> np.ndarray:
    """[G H] the given term that each row of W_ih is."""
    (layer,) = plan.stack.layers
    found = np.zeros(layer.w_ih.shape[0], np.int32)
    found[layer.w_ih.reorder] = plan.given_places(input_sums(plan.stack))
    return found
