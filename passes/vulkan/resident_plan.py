"""What lies where in a resident scan (see `resident`): shared memory, tiles, units, buffers.

Shared memory, words:  a zero | x [I] | h [L, H] | the terms of the sums | what nobody reads

The terms of all sums that have equally many lie side by side, first all first terms; a sum is where
its first term was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.tiles import (
    PADDING,
    Rows,
    Tiles,
    TileShape,
    count_terms,
    count_tiles,
    cut,
    read_rows,
)
from rtmobile_iree.passes.vulkan.values import ROWS, stored_vectors

from rtmobile_iree.schedule import GpuSchedule
from rtmobile_iree.values import STORAGE

WORD_BYTES = 4
I8_BIAS = 128  # bytes are stored unsigned: one op less takes them apart
ZERO, FIRST_INPUT = 0, 1
HEIGHTS, MOST_RUNS = (4, 8, 12, 16, 24, 32), 8
# a wave has 64 threads or 128; registers go to threads in fours and to pairs of waves of 64
# (Mesa's ir3, ir3_get_reg_dependent_max_waves)
WAVE, WAVE_PAIR, REGISTER_UNIT = 64, 128, 4
# weights of a thread, all unrolled: an Adreno 6xx caches 1,024 instructions (freedreno_devices.py)
MOST_WEIGHTS = 320
# what a step costs is compared in words of shared memory that could be moved meanwhile: while a wave
# issues an op, of which a weight takes two; while all units of a turn go through the cell; per word
# that is read from L2 instead (Adreno 640's: gpu_cost)
OP_WORDS, OPS_A_WEIGHT, CELL_WORDS, READ_WORDS = 19, 2, 3600, 1.2
# registers of a thread that its arithmetic needs beside what it keeps
WORKING = 20


@dataclass(frozen=True)
class SumClass:
    """Sums of so many terms: word `first` + term * count + number."""

    first: int
    count: int
    terms: int


@dataclass(frozen=True, eq=False)
class ResidentPlan:
    """A stack as a workgroup holds it.

    Attributes:
        threads: of the workgroup.
        registers: words a thread may keep of its tiles.
        classes: of sums, in the order of their words.
        places: [L blocks H] the word of each sum; ZERO for one that has no terms.
        moving, resting: units, numbered through all layers, with and without terms.
        words: of shared memory.
    """

    stack: Stack
    threads: int
    registers: int
    tiles: Tiles | None
    classes: tuple[SumClass, ...]
    places: np.ndarray
    moving: np.ndarray
    resting: np.ndarray
    words: int

    @property
    def tile_entries(self) -> int:
        """Entries of the table, vector<4xi32>, a tile."""
        return self._tile_words.shape[1] // ROWS

    @property
    def gates(self) -> int:
        """Constants of a unit that rests."""
        return self.stack.cell.rest_gates(np.zeros((self.stack.cell.blocks, 0))).shape[0]

    def arrays(self) -> list[np.ndarray]:
        """weights; table [., 4] of tiles, then of units that move, then of those that rest;
        constants f32: biases of the first, then gates of the others.

        Neighbouring tiles or units lie beside each other, entry by entry.
        """
        kind, gates = self.stack.values, self.stack.cell.rest_gates
        if self.tiles is None:
            weights = np.zeros((1, ROWS), STORAGE[kind])
        else:
            shape = self.tiles.shape
            cut = self.tiles.values.reshape(-1, shape.columns, shape.rows // ROWS, ROWS)
            weights = np.ascontiguousarray(cut.transpose(1, 2, 0, 3)).reshape(-1, ROWS)
        if kind == "i8":
            weights = (weights.astype(np.int16) + I8_BIAS).astype(np.uint8).view(np.int8)
        moving, resting = self._unit_words(self.moving), self._unit_words(self.resting)
        tables = [_by_entry(words) for words in (self._tile_words, moving, resting)]
        biases = [self._biases(self.moving), gates(self._biases(self.resting))]
        constants = np.concatenate([each.ravel() for each in biases]).astype(np.float32)
        return [stored_vectors(kind, weights), np.concatenate(tables), constants]

    @cached_property
    def _tile_words(self) -> np.ndarray:
        """[tiles, .] i32: sources and where sums go, two in a word; i8: the bits of scales."""
        if self.tiles is None:
            return np.zeros((0, ROWS), np.int32)
        tiles, last = self.tiles, self.words - 1
        sources = np.where(tiles.sources == PADDING, ZERO, tiles.sources)
        counts = {each.first: each.count for each in self.classes}
        starts = np.array(sorted(counts), np.int64)
        sums = self.places[tiles.sums]
        strides = np.array([counts[first] for first in starts.tolist()], np.int64)
        stride = strides[np.searchsorted(starts, sums, "right") - 1]
        targets = np.where(tiles.sums == PADDING, last, sums + tiles.terms * stride)
        parts = [_pairs(sources), _pairs(targets)]
        if self.stack.values == "i8":
            bytes_up = np.float32(256.0) ** -(np.arange(tiles.shape.rows) % ROWS)
            parts.append((tiles.scales * bytes_up).astype(np.float32).view(np.int32))
        return _aligned(parts)

    def _unit_words(self, units: np.ndarray) -> np.ndarray:
        """[units, 4] i32, see `resident_units`."""
        stack = self.stack
        layer, unit = units // stack.hidden, units % stack.hidden
        rows = np.array([each.state for each in stack.layers])[layer]
        own = first_state(stack) + units | layer << 16
        state = rows * stack.batch * stack.hidden + unit
        return _aligned([own[:, None], state[:, None], _pairs(self.places[self._blocks(units)])])

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


def plan_resident(
    stack: Stack, schedule: GpuSchedule, shared_bytes: int
) -> ResidentPlan | None:
    """Lays a stack out; None where it does not suit: it has a projection, is too large for shared
    memory, or has more weights a thread than can be unrolled."""
    if stack.projected or not schedule.registers:
        return None
    groups, most_threads = _read_groups(stack), schedule.resident_threads
    first = first_state(stack) + len(stack.layers) * stack.hidden
    spare = shared_bytes // WORD_BYTES - first - 1
    if spare < 0:
        return None
    sums = len(stack.layers) * stack.cell.blocks * stack.hidden
    found = min(_choices(groups, stack, schedule, spare), default=None)
    if groups and found is None:
        return None
    _, threads, rows, columns = found or (0, most_threads, ROWS, 1)
    shape = TileShape(rows, columns)
    terms = count_terms(groups, shape, sums)
    classes, places = _lay_out(terms, first)
    has_terms = terms.reshape(len(stack.layers), -1, stack.hidden).any(1).ravel()
    moving, resting = np.flatnonzero(has_terms), np.flatnonzero(~has_terms)
    kept = kept_words(stack, -(-moving.size // threads), -(-resting.size // threads))
    return ResidentPlan(
        stack,
        threads,
        registers_a_thread(schedule.registers, threads) - WORKING - kept,
        cut(groups, shape, sums) if groups else None,
        classes,
        places,
        moving,
        resting,
        first + _words(classes) + 1,
    )


def _read_groups(stack: Stack) -> list[Rows]:
    """All matrices by their patterns of columns."""
    cell, hidden, found = stack.cell, stack.hidden, []
    before = FIRST_INPUT
    for number, layer in enumerate(stack.layers):
        start = number * cell.blocks * hidden
        own = first_state(stack) + number * hidden
        found += read_rows(layer.w_ih, start + cell.positions(cell.ih_blocks, hidden), before)
        found += read_rows(layer.w_hh, start + cell.positions(cell.hh_blocks, hidden), own)
        before = own
    return [rows for rows in found if rows.sources.size]


def _choices(
    groups: Sequence[Rows], stack: Stack, schedule: GpuSchedule, spare: int
) -> Iterator[tuple[float, int, int, int]]:
    """(cost of a step, threads, rows, columns) of all tilings that fit."""
    longest = max((rows.sources.size for rows in groups), default=0)
    sums = len(stack.layers) * stack.cell.blocks * stack.hidden
    for columns in sorted({-(-longest // runs) for runs in range(1, MOST_RUNS + 1)} - {0}):
        for rows in HEIGHTS:
            shape = TileShape(rows, columns)
            terms = count_terms(groups, shape, sums)
            if _words(_lay_out(terms, 0)[0]) > spare:
                continue
            moving = int(terms.reshape(len(stack.layers), -1, stack.hidden).any(1).sum())
            tiles, threads = count_tiles(groups, shape), min(WAVE_PAIR, schedule.resident_threads)
            while threads <= schedule.resident_threads:
                turns = -(-tiles // threads)
                if turns * rows * columns <= MOST_WEIGHTS:
                    read = _read_words(stack, tiles, moving, shape, schedule.registers, threads)
                    issue = turns * rows * columns * OPS_A_WEIGHT * OP_WORDS
                    multiply = max(tiles * (columns + rows), read * READ_WORDS, issue)
                    cells = -(-moving // threads) * CELL_WORDS
                    yield multiply + cells, threads, rows, columns
                threads += WAVE_PAIR


def _read_words(
    stack: Stack, tiles: int, moving: int, shape: TileShape, registers: int, threads: int
) -> float:
    """Words that are read in every step, as they find no registers."""
    weight_words = np.dtype(STORAGE[stack.values]).itemsize / WORD_BYTES
    tile = shape.rows * shape.columns * weight_words + (shape.rows + shape.columns) / 2
    if stack.values == "i8":
        tile += shape.rows
    resting = len(stack.layers) * stack.hidden - moving
    a_thread = kept_words(stack, -(-moving // threads), -(-resting // threads))
    a_thread += -(-tiles // threads) * tile + -(-moving // threads) * stack.cell.blocks
    return max(0.0, a_thread + WORKING - registers_a_thread(registers, threads)) * min(tiles, threads)


def registers_a_thread(registers: int, threads: int) -> int:
    """Of a workgroup of so many threads."""
    pairs = -(-threads // WAVE_PAIR)
    return registers // (pairs * WAVE_PAIR * REGISTER_UNIT) * REGISTER_UNIT


def kept_words(stack: Stack, moving: int, resting: int) -> int:
    """Registers that so many units of a thread take, without biases and gates."""
    cell = stack.cell
    states = len(stack.sizes) - (not cell.reads_h)
    return (moving + resting) * (1 + states) + moving * -(-cell.blocks // 2)


def _lay_out(terms: np.ndarray, first: int) -> tuple[tuple[SumClass, ...], np.ndarray]:
    """Classes of sums from word `first` on, and the word of each sum.

    A class that no wave would fill joins the next one; the terms it lacks stay zeros.
    """
    places, classes = np.full(terms.size, ZERO, np.int64), []
    counts = sorted(set(terms[terms > 0].tolist()))
    lowest = 0
    for count in counts:
        own = np.flatnonzero((terms > lowest) & (terms <= count))
        if own.size < WAVE and count != counts[-1]:
            continue
        places[own] = first + np.arange(own.size)
        classes.append(SumClass(first, own.size, count))
        first += own.size * count
        lowest = count
    return tuple(classes), places


def _words(classes: Sequence[SumClass]) -> int:
    """Words of all terms."""
    return sum(each.count * each.terms for each in classes)


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
