"""The constants of a resident scan (see `resident_plan`): weights, a table, biases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, first_state
from rtmobile_iree.passes.vulkan.sum_layout import ZERO
from rtmobile_iree.passes.vulkan.tiles import PADDING
from rtmobile_iree.passes.vulkan.values import ROWS, WORD_BITS, integer_powers, stored_vectors

from rtmobile_iree.values import LARGEST


def resident_arrays(plan: ResidentPlan) -> list[np.ndarray]:
    """weights; table [., 4] of tiles, then of units that move, of those that rest, then of
    runs of columns; constants f32: biases of the first units, then gates of the others.

    Neighbouring tiles or units lie beside each other, entry by entry.
    """
    gates = plan.stack.cell.rest_gates
    moving, resting = _unit_words(plan, plan.moving), _unit_words(plan, plan.resting)
    tables = [_by_entry(words) for words in (_tile_words(plan), moving, resting)]
    tables.append(_runs(plan)[0].reshape(-1, ROWS))
    biases = [_biases(plan, plan.moving), gates(_biases(plan, plan.resting))]
    constants = np.concatenate([each.ravel() for each in biases]).astype(np.float32)
    return [_weights(plan), np.concatenate(tables), constants]


def _weights(plan: ResidentPlan) -> np.ndarray:
    """[., 4] i32, a tile's column by column, in words (see `values`)."""
    kind, tiles = plan.stack.values, plan.tiles
    if tiles is None:
        return np.zeros((1, ROWS), np.int32)
    rows = tiles.values.reshape(-1, tiles.shape.rows)
    rows = halves.all_biased(kind, rows) if plan.is_half else rows
    words = stored_vectors(kind, rows, WORD_BITS).reshape(tiles.count, -1)
    return _by_entry(_aligned([words]))


def _tile_words(plan: ResidentPlan) -> np.ndarray:
    """[tiles, .] i32: the first entry of its run of columns; where sums go, two in a word; of
    integers the bits of scales."""
    if plan.tiles is None:
        return np.zeros((0, ROWS), np.int32)
    tiles = plan.tiles
    counts = {each.first: each.count for each in plan.classes}
    starts = np.array(sorted(counts), np.int64)
    sums = plan.places[tiles.sums]
    strides = np.array([counts[first] for first in starts.tolist()], np.int64)
    stride = strides[np.searchsorted(starts, sums, "right") - 1]
    words, own = _runs(plan)
    units = plan.moving.size + plan.resting.size
    first = plan.unit_entries + units * plan.entries_a_unit
    first += own[:, None] * words.shape[1] // ROWS
    parts = [first, _pairs(sums + tiles.terms * stride)]
    if plan.stack.values in LARGEST:
        powers = halves.powers if plan.is_half else integer_powers
        scales = tiles.scales / powers(plan.stack.values, tiles.shape.rows)
        parts.append(scales.astype(np.float32).view(np.int32))
    return _aligned(parts)


def _runs(plan: ResidentPlan) -> tuple[np.ndarray, np.ndarray]:
    """[runs, .] i32 the sources of each run of columns, two in a word; [tiles] each one's."""
    if plan.tiles is None:
        return np.zeros((0, ROWS), np.int32), np.zeros(0, np.int64)
    sources = np.where(plan.tiles.sources == PADDING, ZERO, plan.tiles.sources)
    runs, own = np.unique(sources, axis=0, return_inverse=True)
    return _aligned([_pairs(runs)]), own.ravel()


def _unit_words(plan: ResidentPlan, units: np.ndarray) -> np.ndarray:
    """[units, .] i32, see `resident_units`."""
    stack = plan.stack
    layer, unit = units // stack.hidden, units % stack.hidden
    rows = np.array([each.state for each in stack.layers])[layer]
    own = first_state(stack) + units | layer << 16
    state = rows * stack.batch * stack.hidden + unit
    parts = [own[:, None], state[:, None], _pairs(plan.places[_blocks(plan, units)])]
    if plan.is_given:
        parts.append(_pairs(plan.given_numbers.reshape(-1, stack.hidden)[:, units].T))
    return _aligned(parts)


def _biases(plan: ResidentPlan, units: np.ndarray) -> np.ndarray:
    """[blocks, units] f32."""
    cell, layers = plan.stack.cell, plan.stack.layers
    biases = [cell.starts(each.b_ih, each.b_hh) for each in layers]
    return np.concatenate(biases)[_blocks(plan, units)].T  # type: ignore[no-any-return]


def _blocks(plan: ResidentPlan, units: np.ndarray) -> np.ndarray:
    """[units, blocks] the numbers of their sums."""
    blocks, hidden = plan.stack.cell.blocks, plan.stack.hidden
    first = units // hidden * blocks * hidden + units % hidden
    return first[:, None] + np.arange(blocks) * hidden  # type: ignore[no-any-return]


def _pairs(numbers: np.ndarray) -> np.ndarray:
    """[n, m] numbers below 2^16 as [n, ceil(m / 2)] i32, the first in the low bits."""
    even = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2))).astype(np.uint32)
    return (even[:, ::2] | even[:, 1::2] << 16).astype(np.uint32).view(np.int32)


def _aligned(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of words side by side, padded to whole entries."""
    words = np.concatenate([part.astype(np.int32) for part in parts], axis=1)
    return np.pad(words, ((0, 0), (0, -words.shape[1] % ROWS)))


def _by_entry(words: np.ndarray) -> np.ndarray:
    """[n, entries * 4] -> [entries * n, 4]: the first entries of all, then the second."""
    entries = words.reshape(words.shape[0], words.shape[1] // ROWS, ROWS)
    return entries.transpose(1, 0, 2).reshape(-1, ROWS)
