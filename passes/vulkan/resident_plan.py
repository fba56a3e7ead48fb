"""What lies where in a resident scan (see `resident`): shared memory, tiles, units, buffers.

Shared memory, words:  a zero | x [I] | h [L, H] | terms of the sums
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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
from rtmobile_iree.passes.vulkan.values import ROWS

from rtmobile_iree.schedule import GpuSchedule

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
        return int(self.given_numbers.max(initial=-1)) + 1 if self.is_given else 0

    @cached_property
    def given_numbers(self) -> np.ndarray:
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
        numbers, first = np.unique(self.given_numbers, return_index=True)
        found = np.full(self.given_numbers.size, PADDING, np.int32)
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
