"""How the kernel of one step (see `per_step`) lays a stack of layers out, for groups of units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.vulkan.lanes import LanePool
from rtmobile_iree.passes.vulkan.stacks import Stack

from rtmobile_iree.errors import TargetError

F32_BYTES = 4
ENTRIES = 2  # of the table, a layer and group


@dataclass(frozen=True)
class StepPlan:
    """A stack, of L layers.

    Attributes:
        units, groups: H units are `groups` groups of `units`.
        table: offset in the table of two entries for each layer and group: (first lane and lanes
            of W_ih, the same of W_hh), (row of its state, of the layer below, biases, 0).
        lanes: most of a group and matrix.
        staged: whether a workgroup copies its input vectors to shared memory first.
    """

    stack: Stack
    units: int
    groups: int
    table: int
    lanes: int
    staged: bool

    @property
    def sums(self) -> int:
        """f32 sums of a group and one matrix."""
        return self.stack.cell.blocks * self.units


def plan_steps(
    pool: LanePool, stack: Stack, units: int, staged: bool, shared_bytes: int
) -> StepPlan:
    """Lays out a stack.

    Args:
        units: most of a group.
        staged: whether to copy input vectors to shared memory, where they fit.
        shared_bytes: of a workgroup.

    Raises:
        TargetError: sums of so many units do not fit into shared memory.
    """
    units = min(units, stack.hidden)
    groups = -(-stack.hidden // units)
    entries: list[tuple[int, ...]] = []
    for number, layer in enumerate(stack.layers):
        below = stack.layers[number - 1].state if number else 0
        entries += _layer_entries(pool, stack, layer, below, units, groups)
    most = max(max(ih, hh) for _, ih, _, hh in entries[::ENTRIES])
    sums_bytes = 2 * F32_BYTES * stack.cell.blocks * units
    if sums_bytes > shared_bytes:
        raise TargetError(
            f"schedule: units = {units}; their sums take {sums_bytes:,} bytes of shared memory, "
            f"and the target has {shared_bytes:,}"
        )
    inputs_bytes = F32_BYTES * (widest(stack) + stack.outputs)
    staged = staged and sums_bytes + inputs_bytes <= shared_bytes
    return StepPlan(stack, units, groups, pool.add_entries(entries), most, staged)


def widest(stack: Stack) -> int:
    """Elements of the longest x of a layer."""
    return max(stack.inputs, stack.outputs if len(stack.layers) > 1 else 0)


def _layer_entries(
    pool: LanePool, stack: Stack, layer: Layer, below: int, units: int, groups: int
) -> list[tuple[int, ...]]:
    """Lays a layer out; its entries in the table."""
    cell, hidden = stack.cell, stack.hidden
    starts = _grouped(cell.starts(layer.b_ih, layer.b_hh), cell.blocks, units, groups)
    biases = pool.add_biases(starts)
    parts = []
    for matrix, blocks in ((layer.w_ih, cell.ih_blocks), (layer.w_hh, cell.hh_blocks)):
        unit = np.tile(np.arange(hidden, dtype=np.int32), len(blocks))
        block = np.repeat(np.array(blocks, np.int32), hidden)
        parts.append(pool.add_parts(matrix, block * units + unit % units, unit // units, groups))
    entries: list[tuple[int, ...]] = []
    for group, (ih, hh) in enumerate(zip(*parts, strict=True)):
        entries.append((ih.start, ih.count, hh.start, hh.count))
        entries.append((layer.state, below, biases + group * cell.blocks * units, 0))
    return entries


def _grouped(starts: np.ndarray, blocks: int, units: int, groups: int) -> np.ndarray:
    """[blocks H] as [groups blocks units], the last group filled with zeros."""
    by_block = starts.reshape(blocks, -1)
    padded = np.pad(by_block, ((0, 0), (0, groups * units - by_block.shape[1])))
    return padded.reshape(blocks, groups, units).transpose(1, 0, 2).ravel()
