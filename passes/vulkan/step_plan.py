"""How the kernel of one step (see `per_step`) lays a stack of layers out, for groups of units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.vulkan.blocks import BlockPool, Pool
from rtmobile_iree.passes.vulkan.lanes import Entry
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.sum_layout import WAVE
from rtmobile_iree.passes.vulkan.values import ROWS

from rtmobile_iree.errors import TargetError
from rtmobile_iree.schedule import GpuSchedule

F32_BYTES = 4
LEAST_UNITS = 64


@dataclass(frozen=True)
class StepPlan:
    """A stack, of L layers.

    Attributes:
        units, groups: H units are `groups` groups of `units`.
        table: offset in the table of entries for each layer and group: (first lane and lanes of
            W_ih, the same of W_hh), (row of its state, of the layer below, biases, 0), and, where
            the pool lists sums without weights, (first entry and entries of W_ih, of W_hh).
        entries: how many these are, 2 or 3.
        lanes: most of a group and matrix.
        chunk: K, most steps whose inputs are projected at once.
        share: how many of them the same threads project.
        apart: from the first thread that multiplies W_hh to those of the first share, from these to
            the next share's; 0: all threads do all.
        by_four: whether four units' sums lie side by side, and go in and out at once.
    """

    stack: Stack
    units: int
    groups: int
    table: int
    entries: int
    lanes: int
    chunk: int
    share: int
    apart: int
    by_four: bool

    @property
    def sums(self) -> int:
        """f32 sums of a group and one matrix."""
        return self.stack.cell.blocks * self.units

    @property
    def sums_bytes(self) -> int:
        """Shared memory of the sums of a group, a matrix each."""
        return _sums_bytes(self.stack, self.units)

    @property
    def shares(self) -> list[range]:
        """The steps of a chunk, by the threads that project them."""
        starts = range(0, self.chunk, self.share)
        return [range(start, min(start + self.share, self.chunk)) for start in starts]

    @property
    def work(self) -> int:
        """Threads that a workgroup has something to do for."""
        return max(self.lanes + len(self.shares) * self.apart, self.units)

    @property
    def slots(self) -> int:
        """Of h: those of a chunk, and what its first step reads."""
        return self.chunk + 1


@dataclass(frozen=True)
class StepSizes:
    """f32 elements of what the kernels of a step share.

    Attributes:
        chunk: K.
        x: of a step.
        slot, h: of one slot of h, of all.
        projected: of the sums of a chunk of inputs, 0 where K is 1.
    """

    chunk: int
    x: int
    slot: int
    h: int
    projected: int


def sizes(plan: StepPlan) -> StepSizes:
    """Those of a plan."""
    stack = plan.stack
    states = stack.rows * stack.batch
    projected = len(stack.layers) * plan.chunk * stack.batch * plan.groups * plan.sums
    return StepSizes(
        plan.chunk,
        stack.batch * stack.inputs,
        states * stack.outputs,
        plan.slots * states * stack.outputs,
        projected if plan.chunk > 1 else 0,
    )


def plan_steps(
    pool: Pool, stack: Stack, units: int, schedule: GpuSchedule, shared_bytes: int
) -> StepPlan:
    """Lays out a stack.

    Args:
        units: most of a group.
        schedule: for the steps whose inputs are projected at once.
        shared_bytes: of a workgroup.

    Raises:
        TargetError: sums of so many units do not fit into shared memory.
    """
    units = min(units, stack.hidden)
    groups = -(-stack.hidden // units)
    found: list[list[Entry]] = []
    for number, layer in enumerate(stack.layers):
        below = stack.layers[number - 1].state if number else 0
        found += _layer_entries(pool, stack, layer, below, units, groups)
    most = max(max(ih, hh) for (_, ih, _, hh), *_ in found)
    size = 3 if any(ih or hh for *_, (_, ih, _, hh) in found) else 2
    entries = [entry for each in found for entry in each[:size]]
    sums_bytes = _sums_bytes(stack, units)
    if sums_bytes > shared_bytes:
        raise TargetError(
            f"schedule: units = {units}; their sums take {sums_bytes:,} bytes of shared memory, "
            f"and the target has {shared_bytes:,}"
        )
    by_four = pool.aligned and units % ROWS == 0 and stack.hidden % ROWS == 0
    table = pool.add_entries(entries)
    share = schedule.time_chunk
    largest = max(layer.w_ih.values.nbytes for layer in stack.layers)
    chunk = share * (2 if 0 < schedule.chunk_bytes < largest else 1)
    apart = -(-most // WAVE) * WAVE if isinstance(pool, BlockPool) else 0
    return StepPlan(
        stack, units, groups, table, size, most, chunk, share if apart else chunk, apart, by_four
    )


def filling_units(stack: Stack, rows: int, shared_bytes: int) -> int:
    """Units of a group whose larger matrix keeps threads busy that sum `rows` rows at once.

    From 64 on, doubled until more than half of them are, or sums take half of the shared memory
    that projected outputs leave.
    """
    outputs_bytes = F32_BYTES * stack.outputs if stack.projected else 0
    stored = max(matrix.reorder.size for matrix in stack.matrices)
    units = LEAST_UNITS
    while units < stack.hidden and 2 * stored * units <= rows * stack.hidden:
        if 2 * 2 * _sums_bytes(stack, units) > shared_bytes - outputs_bytes:
            break
        units *= 2
    return units


def _sums_bytes(stack: Stack, units: int) -> int:
    """Shared memory of the sums of a group, a matrix each."""
    return 2 * F32_BYTES * stack.cell.blocks * units


def _layer_entries(
    pool: Pool, stack: Stack, layer: Layer, below: int, units: int, groups: int
) -> list[list[Entry]]:
    """Lays a layer out; three entries in the table for each group."""
    cell, hidden = stack.cell, stack.hidden
    starts = _grouped(cell.starts(layer.b_ih, layer.b_hh), cell.blocks, units, groups)
    biases = pool.add_biases(starts)
    parts = []
    for matrix, blocks in ((layer.w_ih, cell.ih_blocks), (layer.w_hh, cell.hh_blocks)):
        unit = np.tile(np.arange(hidden, dtype=np.int32), len(blocks))
        block = np.repeat(np.array(blocks, np.int32), hidden)
        positions = block * units + unit % units
        parts.append(pool.add_parts(matrix, positions, unit // units, groups, is_complete=True))
    return [
        [
            (ih.start, ih.count, hh.start, hh.count),
            (layer.state, below, biases + group * cell.blocks * units, 0),
            (ih.first_zeros, ih.zeros, hh.first_zeros, hh.zeros),
        ]
        for group, (ih, hh) in enumerate(zip(*parts, strict=True))
    ]


def _grouped(starts: np.ndarray, blocks: int, units: int, groups: int) -> np.ndarray:
    """[blocks H] as [groups blocks units], the last group filled with zeros."""
    by_block = starts.reshape(blocks, -1)
    padded = np.pad(by_block, ((0, 0), (0, groups * units - by_block.shape[1])))
    return padded.reshape(blocks, groups, units).transpose(1, 0, 2).ravel()
