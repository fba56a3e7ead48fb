"""Which tiles and how many threads a resident scan gets: the least cost of a step.

Costs are in words of shared memory that a shader processor moves meanwhile, about 11 in a ns on an
Adreno 640 (rtmobile_iree/gpu_cost/models.py). They only have to rank the choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.sum_layout import (
    SumClass,
    lay_out,
    lay_out_together,
    words_of,
)
from rtmobile_iree.passes.vulkan.tiles import Lengths, Rows, TileShape, count_terms, measure
from rtmobile_iree.passes.vulkan.values import WORD_BITS

from rtmobile_iree.schedule import GpuSchedule
from rtmobile_iree.values import LARGEST, VALUE_BITS

HEIGHTS, MOST_RUNS = (4, 8, 12, 16, 20, 24, 28, 32), 8
# registers go to threads in fours, and to pairs of waves of 64 threads (Mesa's ir3,
# ir3_get_reg_dependent_max_waves); an Adreno's instructions name 48 fours
WAVE_PAIR, REGISTER_UNIT, MOST_REGISTERS = 128, 4, 192
# registers that a thread's arithmetic and addresses need beside what it keeps
WORKING = 28
# a wave issues an op; a word is read from L2; sums are added up; a turn of cells
OP_COST, READ_COST, REDUCE_COST, CELL_COST = 19, 1.2, 2300, 1700
WORD_BYTES = 4
# a barrier; a term that a unit adds up; most of these
BARRIER_COST, TERM_COST, MOST_TOGETHER = 1100, 75, 4
# a call that kernels are compared for; what a step costs beside its tiling, two barriers; a
# dispatch; a word from beyond L2 where two processors read
FRAME_STEPS, STEP_COST, DISPATCH_COST, FAR_COST = 30, 2 * BARRIER_COST, 33_000, 2.2


@dataclass(frozen=True)
class WeightCost:
    """Of a weight in the products, what widens it included.

    Attributes:
        arithmetic, ops: of the processor, and of a wave.
        column, column_ops: of a column of a tile besides.
        most: weights of a thread, all unrolled: an Adreno 6xx caches 1,024 instructions (Mesa's
            freedreno_devices.py, instr_cache_size).
    """

    arithmetic: float
    ops: float
    most: int
    column: float = 0
    column_ops: float = 0


WIDE = {
    "f32": WeightCost(0.054, 2.5, 320),
    "f16": WeightCost(0.108, 2.5, 320),
    "bf16": WeightCost(0.17, 2.5, 320),
    "i8": WeightCost(0.225, 2.5, 320),
    "i4": WeightCost(0.225, 2.5, 320),
}
# f16 products, two at once
HALF = {
    "f16": WeightCost(0.04, 0.75, 640, 0.17, 3),
    "i8": WeightCost(0.155, 2, 352, 0.22, 4),
    "i4": WeightCost(0.14, 1.9, 384, 0.22, 4),
}


@dataclass(frozen=True, order=True)
class Tiling:
    """A choice; the least one is the best.

    Attributes:
        cost: of a step.
        tile_registers, unit_registers: words a thread may keep of its tiles, and of its units'
            constants.
        is_together: whether units add the terms of their sums up, see `sum_layout`.
    """

    cost: float
    threads: int
    shape: TileShape = field(compare=False)
    tile_registers: int = field(compare=False)
    unit_registers: int = field(compare=False)
    is_together: bool = field(compare=False)


@dataclass(frozen=True)
class _Counts:
    """What a shape makes of a stack's matrices."""

    stack: Stack
    shape: TileShape
    lengths: Lengths
    classes: Sequence[SumClass]
    moving: int
    live: int
    is_given: bool
    is_together: bool

    def tiling(self, schedule: GpuSchedule, threads: int) -> Tiling | None:
        """With so many threads; None where a thread would have too many weights."""
        shape, cell = self.shape, self.stack.cell
        tiles, columns = self.lengths.count, self.lengths.columns(shape)
        turns = -(-tiles // threads)
        weights = turns * shape.rows * shape.columns
        cost_of = (HALF if schedule.is_half else WIDE)[self.stack.values]
        if weights > cost_of.most:
            return None
        resting = len(self.stack.layers) * self.stack.hidden - self.moving
        moves, rests = -(-self.moving // threads), -(-resting // threads)
        free = registers_a_thread(schedule.registers, threads) - WORKING
        free = max(0, free - kept_words(self.stack, moves, rests, self.is_given))
        # tiles may lack as many as can be read while the products go on, for the units' sake
        arithmetic = max(
            columns + tiles * shape.rows,
            columns * (shape.rows * cost_of.arithmetic + cost_of.column),
            (weights * cost_of.ops + turns * shape.columns * cost_of.column_ops) * OP_COST,
        )
        busy = min(tiles, threads)
        needed = turns * tile_words(shape, self.stack.values)
        spared = needed - int(arithmetic / READ_COST / busy) if busy else 0
        units = moves * cell.blocks + rests * gate_count(self.stack)
        tile_registers = min(free, max(spared, free - units, 0))
        read = max(0, needed - tile_registers) * busy
        unit_read = max(0, units - (free - tile_registers)) * threads
        cost = (
            max(arithmetic, read * READ_COST)
            + self._reduce
            + max(self._cells(moves, resting), unit_read * READ_COST)
        )
        free -= tile_registers
        return Tiling(cost, threads, shape, tile_registers, free, self.is_together)

    @property
    def _reduce(self) -> float:
        """Cost of sums in a phase of their own."""
        if self.is_together:
            return 0
        several = sum(each.words + each.count for each in self.classes if each.terms > 1)
        return max(several, REDUCE_COST) + BARRIER_COST if several else 0

    def _cells(self, moves: int, resting: int) -> float:
        """Of the last phase; `moves`: units of a thread that move."""
        terms = self.classes[0].terms if self.is_together else 1
        words = self.moving * (self.live * terms + 1) + resting
        return max(words, moves * (CELL_COST + (terms - 1) * TERM_COST))


def choose(
    groups: Sequence[Rows], stack: Stack, schedule: GpuSchedule, spare: int, fed: np.ndarray
) -> dict[int, Tiling]:
    """For each number of threads the best tiling whose terms take no more than `spare` words, where
    there is one; `fed`: see `resident_plan.fed_units`."""
    found: dict[int, Tiling] = {}
    for each in _choices(groups, stack, schedule, spare, fed):
        found[each.threads] = min(each, found.get(each.threads, each))
    return found


def _choices(
    groups: Sequence[Rows], stack: Stack, schedule: GpuSchedule, spare: int, fed: np.ndarray
) -> Iterator[Tiling]:
    longest = max((rows.sources.size for rows in groups), default=1)
    widths = {-(-longest // runs) for runs in range(1, MOST_RUNS + 1)}
    a_word = WORD_BITS // VALUE_BITS[stack.values]
    heights = [rows for rows in HEIGHTS if rows % a_word == 0]
    for shape in (TileShape(rows, columns) for columns in sorted(widths) for rows in heights):
        terms = count_terms(groups, shape, stack.sums)
        moving, lengths = int((units_with(terms, stack) | fed).sum()), measure(groups, shape)
        live, is_given = sum(live_blocks(terms, stack)), bool(fed.any())
        several = 1 < terms.max(initial=0) <= MOST_TOGETHER
        for is_together in (False, True)[: 1 + several]:
            classes, _ = (lay_out_together if is_together else lay_out)(terms, 0)
            if words_of(classes) > spare:
                continue
            counts = _Counts(stack, shape, lengths, classes, moving, live, is_given, is_together)
            least, most = min(WAVE_PAIR, schedule.resident_threads), schedule.resident_threads
            found = (counts.tiling(schedule, n) for n in range(least, most + 1, WAVE_PAIR))
            yield from filter(None, found)


def live_blocks(terms: np.ndarray, stack: Stack) -> list[bool]:
    """Whether any unit has terms in a block."""
    by_block = terms.reshape(len(stack.layers), stack.cell.blocks, stack.hidden)
    return [bool(by_block[:, block].any()) for block in range(stack.cell.blocks)]


def units_with(terms: np.ndarray, stack: Stack) -> np.ndarray:
    """[L H] whether any sum of a unit has terms."""
    by_block = terms.reshape(len(stack.layers), stack.cell.blocks, stack.hidden)
    return by_block.any(1).ravel()  # type: ignore[no-any-return]


def registers_a_thread(registers: int, threads: int) -> int:
    """Of a workgroup of so many threads."""
    pairs = -(-threads // WAVE_PAIR)
    share = registers // (pairs * WAVE_PAIR * REGISTER_UNIT) * REGISTER_UNIT
    return min(share, MOST_REGISTERS)


def tile_words(shape: TileShape, kind: str) -> int:
    """Words of a tile that no other has too: its weights and entry in the table."""
    return weight_words(shape, kind) + table_words(shape, kind)


def weight_words(shape: TileShape, kind: str) -> int:
    """Of its weights."""
    return shape.rows * shape.columns * VALUE_BITS[kind] // WORD_BITS


def table_words(shape: TileShape, kind: str) -> int:
    """Of its entry: which columns it has, where its terms go, scales of integers."""
    return 1 + shape.rows // 2 + (shape.rows if kind in LARGEST else 0)


def kept_words(stack: Stack, moving: int, resting: int, is_given: bool) -> int:
    """Registers that so many units of a thread take in any case: addresses and states."""
    cell = stack.cell
    states = len(stack.sizes) - (not cell.reads_h)
    numbers = cell.blocks + (len(cell.ih_blocks) if is_given else 0)
    return (moving + resting) * (1 + states) + moving * -(-numbers // 2)


def gate_count(stack: Stack) -> int:
    """Constants of a unit at rest."""
    return stack.cell.rest_gates(np.zeros((stack.cell.blocks, 0))).shape[0]
