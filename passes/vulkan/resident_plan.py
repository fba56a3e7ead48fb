"""What lies where in a resident scan (see `resident`): shared memory, tiles, units, buffers.

Shared memory, words:  a zero | x [I] | h [L, H] | terms of the sums
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.sum_layout import (
    ZERO,
    SumClass,
    lay_out,
    lay_out_together,
    words_of,
)
from rtmobile_iree.passes.vulkan.tiles import PADDING, Rows, Tiles, count_terms, cut, read_rows
from rtmobile_iree.passes.vulkan.tiling import (
    DISPATCH_COST,
    FRAME_STEPS,
    STEP_COST,
    WORD_BYTES,
    Tiling,
    choose,
    live_blocks,
    table_words,
    tile_words,
    units_with,
)
from rtmobile_iree.passes.vulkan.values import (
    ROWS,
    WORD_BITS,
    integer_powers,
    stored_vectors,
)

from rtmobile_iree.schedule import GpuSchedule
from rtmobile_iree.values import LARGEST

FIRST_INPUT = ZERO + 1


@dataclass(frozen=True, eq=False)
class ResidentPlan:
    """A stack as a workgroup holds it.

    Attributes:
        groups: rows of all matrices, by their patterns of columns.
        is_given: whether the products of all inputs are given, see `input_places`.
        classes: of sums, in the order of their words.
        places: [L blocks H] the word of each sum, some zero for one that has no terms.
        live: whether any unit has terms in a block.
        moving, resting: units, numbered through all layers, with and without rows.
        words: of shared memory.
        is_half: whether products are f16, see `halves`.
    """

    stack: Stack
    tiling: Tiling
    groups: Sequence[Rows]
    is_given: bool
    classes: tuple[SumClass, ...]
    places: np.ndarray
    live: Sequence[bool]
    moving: np.ndarray
    resting: np.ndarray
    words: int
    is_half: bool

    @cached_property
    def tiles(self) -> Tiles | None:
        """None where all weights are zeros."""
        return cut(self.groups, self.tiling.shape, self.stack.sums) if self.groups else None

    @property
    def given(self) -> int:
        """Given products of a step and batch entry: of rows that W_ih stores, and one zero for all
        others if there are any."""
        return int(self._given.max(initial=-1)) + 1 if self.is_given else 0

    @cached_property
    def _given(self) -> np.ndarray:
        """[G H] the given product that is each row's of W_ih."""
        (layer,) = self.stack.layers
        is_stored = np.zeros(layer.w_ih.shape[0], bool)
        is_stored[layer.w_ih.reorder] = True
        return np.where(is_stored, np.cumsum(is_stored) - 1, np.count_nonzero(is_stored))

    @property
    def loaded_words(self) -> int:
        """Words read before the first step, but for states."""
        kind = self.stack.values
        tiles = 0 if self.tiles is None else self.tiles.count * tile_words(self.tiling.shape, kind)
        return tiles + (self.moving.size + self.resting.size) * (ROWS + self.stack.cell.blocks)

    @property
    def frame_cost(self) -> float:
        """Of all steps of a call, in the units of `tiling`."""
        turns = FRAME_STEPS + len(self.stack.layers) - 1
        return turns * (self.tiling.cost + STEP_COST) + DISPATCH_COST

    @property
    def zeros(self) -> list[tuple[int, int]]:
        """Words that nobody writes, and where they are some among others: the first, how many."""
        found = [(ZERO, 1), *((each.first, each.words) for each in self.classes if each.lacks)]
        if self.tiling.is_together and len(found) == 1:
            ((first, count, terms),) = ((c.first, c.count, c.terms) for c in self.classes)
            found += [(first + (term + 1) * count - 1, 1) for term in range(terms)]
        return found

    @property
    def summed(self) -> Sequence[SumClass]:
        """Classes whose terms are added up before units read the sums."""
        return () if self.tiling.is_together else self.classes

    def input_places(self) -> np.ndarray:
        """[G H] i32, where the product of each row of W_ih goes, the zero for one that is not
        stored; PADDING for the others."""
        numbers, first = np.unique(self._given, return_index=True)
        found = np.full(self._given.size, PADDING, np.int32)
        found[first] = numbers
        return found

    @property
    def unit_entries(self) -> int:
        """Where the entries of units begin in the table."""
        if self.tiles is None:
            return 0
        return self.tiles.count * -(-table_words(self.tiles.shape, self.stack.values) // ROWS)

    @property
    def entries_a_unit(self) -> int:
        blocks, gates = self.stack.cell.blocks, len(self.stack.cell.ih_blocks)
        words = 2 + -(-blocks // 2) + (-(-gates // 2) if self.is_given else 0)
        return -(-words // ROWS)

    def arrays(self) -> list[np.ndarray]:
        """weights; table [., 4] of tiles, then of units that move, of those that rest, then of
        runs of columns; constants f32: biases of the first units, then gates of the others.

        Neighbouring tiles or units lie beside each other, entry by entry.
        """
        gates = self.stack.cell.rest_gates
        moving, resting = self._unit_words(self.moving), self._unit_words(self.resting)
        tables = [_by_entry(words) for words in (self._tile_words, moving, resting)]
        tables.append(self._runs[0].reshape(-1, ROWS))
        biases = [self._biases(self.moving), gates(self._biases(self.resting))]
        constants = np.concatenate([each.ravel() for each in biases]).astype(np.float32)
        return [self._weights, np.concatenate(tables), constants]

    @property
    def _weights(self) -> np.ndarray:
        """[., 4] i32, a tile's column by column, in words (see `values`)."""
        kind, tiles = self.stack.values, self.tiles
        if tiles is None:
            return np.zeros((1, ROWS), np.int32)
        rows = tiles.values.reshape(-1, tiles.shape.rows)
        rows = halves.all_biased(kind, rows) if self.is_half else rows
        words = stored_vectors(kind, rows, WORD_BITS).reshape(tiles.count, -1)
        return _by_entry(_aligned([words]))

    @cached_property
    def _tile_words(self) -> np.ndarray:
        """[tiles, .] i32: the first entry of its run of columns; where sums go, two in a word; of
        integers the bits of scales."""
        if self.tiles is None:
            return np.zeros((0, ROWS), np.int32)
        tiles = self.tiles
        counts = {each.first: each.count for each in self.classes}
        starts = np.array(sorted(counts), np.int64)
        sums = self.places[tiles.sums]
        strides = np.array([counts[first] for first in starts.tolist()], np.int64)
        stride = strides[np.searchsorted(starts, sums, "right") - 1]
        words, own = self._runs
        units = self.moving.size + self.resting.size
        first = self.unit_entries + units * self.entries_a_unit
        first += own[:, None] * words.shape[1] // ROWS
        parts = [first, _pairs(sums + tiles.terms * stride)]
        if self.stack.values in LARGEST:
            powers = halves.powers if self.is_half else integer_powers
            scales = tiles.scales / powers(self.stack.values, tiles.shape.rows)
            parts.append(scales.astype(np.float32).view(np.int32))
        return _aligned(parts)

    @cached_property
    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """[runs, .] i32 the sources of each run of columns, two in a word; [tiles] each one's."""
        if self.tiles is None:
            return np.zeros((0, ROWS), np.int32), np.zeros(0, np.int64)
        sources = np.where(self.tiles.sources == PADDING, ZERO, self.tiles.sources)
        runs, own = np.unique(sources, axis=0, return_inverse=True)
        return _aligned([_pairs(runs)]), own.ravel()

    def _unit_words(self, units: np.ndarray) -> np.ndarray:
        """[units, .] i32, see `resident_units`."""
        stack = self.stack
        layer, unit = units // stack.hidden, units % stack.hidden
        rows = np.array([each.state for each in stack.layers])[layer]
        own = first_state(stack) + units | layer << 16
        state = rows * stack.batch * stack.hidden + unit
        parts = [own[:, None], state[:, None], _pairs(self.places[self._blocks(units)])]
        if self.is_given:
            parts.append(_pairs(self._given.reshape(-1, stack.hidden)[:, units].T))
        return _aligned(parts)

    def _biases(self, units: np.ndarray) -> np.ndarray:
        """[blocks, units] f32."""
        cell, layers = self.stack.cell, self.stack.layers
        biases = [cell.starts(each.b_ih, each.b_hh) for each in layers]
        return np.concatenate(biases)[self._blocks(units)].T  # type: ignore[no-any-return]

    def _blocks(self, units: np.ndarray) -> np.ndarray:
        """[units, blocks] the numbers of their sums."""
        blocks, hidden = self.stack.cell.blocks, self.stack.hidden
        first = units // hidden * blocks * hidden + units % hidden
        return first[:, None] + np.arange(blocks) * hidden  # type: ignore[no-any-return]


def first_state(stack: Stack) -> int:
    """The word of the first layer's first h."""
    return FIRST_INPUT + stack.inputs


def last_state(stack: Stack) -> int:
    """That of the last layer's first h."""
    return first_state(stack) + (len(stack.layers) - 1) * stack.hidden


def plan_resident(stack: Stack, schedule: GpuSchedule, shared_bytes: int) -> ResidentPlan | None:
    """Lays a stack out; None where it does not suit, see `resident_plans`."""
    plans = resident_plans(stack, schedule, shared_bytes).values()
    return min(plans, key=lambda plan: plan.tiling, default=None)


def resident_plans(
    stack: Stack, schedule: GpuSchedule, shared_bytes: int, is_given: bool = False
) -> dict[int, ResidentPlan]:
    """The best plan for each number of threads; none where a stack does not suit: it has a
    projection, is too large for shared memory, or has more weights a thread than can be unrolled.

    Args:
        is_given: see `ResidentPlan`; the stack has one layer then, and no W_ih of its own.
    """
    first = _first_term(stack)
    spare = shared_bytes // WORD_BYTES - first
    if stack.projected or not schedule.registers or spare < 0:
        return {}
    groups = _read_groups(stack, is_given)
    tilings = choose(groups, stack, schedule, spare, fed_units(stack, is_given))
    is_half = schedule.is_half
    return {n: _plan(stack, groups, is_given, tiling, is_half) for n, tiling in tilings.items()}


def fed_units(stack: Stack, is_given: bool) -> np.ndarray:
    """[L H] whether a unit has rows in W_ih whose products are given."""
    found = np.zeros((len(stack.layers), stack.hidden), bool)
    if is_given:
        (layer,) = stack.layers
        found[0, layer.w_ih.reorder % stack.hidden] = True
    return found.ravel()


def _first_term(stack: Stack) -> int:
    """The word of the first term."""
    return first_state(stack) + len(stack.layers) * stack.hidden


def _plan(
    stack: Stack, groups: Sequence[Rows], is_given: bool, tiling: Tiling, is_half: bool
) -> ResidentPlan:
    terms = count_terms(groups, tiling.shape, stack.sums)
    lay = lay_out_together if tiling.is_together else lay_out
    classes, places = lay(terms, _first_term(stack))
    moves = units_with(terms, stack) | fed_units(stack, is_given)
    return ResidentPlan(
        stack,
        tiling,
        groups,
        is_given,
        classes,
        places,
        live_blocks(terms, stack),
        np.flatnonzero(moves),
        np.flatnonzero(~moves),
        _first_term(stack) + words_of(classes),
        is_half,
    )


def _read_groups(stack: Stack, projected: bool) -> list[Rows]:
    """All matrices by their patterns of columns, where inputs are `projected` those of W_hh."""
    cell, hidden, found = stack.cell, stack.hidden, []
    before = FIRST_INPUT
    for number, layer in enumerate(stack.layers):
        start = number * cell.blocks * hidden
        own = first_state(stack) + number * hidden
        if not projected:
            found += read_rows(layer.w_ih, start + cell.positions(cell.ih_blocks, hidden), before)
        found += read_rows(layer.w_hh, start + cell.positions(cell.hh_blocks, hidden), own)
        before = own
    return [rows for rows in found if rows.sources.size]


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
