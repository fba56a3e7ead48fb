"""A wavefront's scan that reads its weights in every step, for those that find no registers.

    h = state                                       # shared memory
    for t in steps:
        sums = W_hh h                               # shared memory
        h, c = cell(sums + projected[t] + biases);  y[t] = h
    state = h

A barrier ends every line of the loop. A workgroup runs one layer of one batch entry; which one, is
read from a table. The products of its inputs are given, by gate and unit. A unit's c stays with its
thread, in the state's own buffer. Nothing depends on how threads form subgroups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, LanePool
from rtmobile_iree.passes.vulkan.products import as_index, lane_sums, write_lane, write_quads
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.values import ROWS
from rtmobile_iree.passes.vulkan.wave_turn import WaveTurn
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

F32_BYTES = 4
# Steps of a chunk that are written out. Mesa's llvmpipe makes coroutines of threads that meet at
# barriers, and keeps what a loop around one changes in memory, the sums of a lane among it: twice
# as slow as in registers.
MOST_IN_LINE = 6


def shared_bytes(stack: Stack) -> int:
    """Shared memory of a workgroup: h and the sums of W_hh."""
    return F32_BYTES * stack.hidden * (1 + len(stack.cell.hh_blocks))


def unit_size(pool: LanePool, stack: Stack) -> int:
    """How many units a thread takes at once: four where all their sums lie in aligned fours."""
    return ROWS if pool.aligned and stack.hidden % ROWS == 0 else 1


def add_layers(pool: LanePool, stack: Stack) -> tuple[int, int]:
    """Lays a stack out in a pool of its own.

    Returns:
        The place in the table of an entry for each layer, (first lane of W_hh, lanes, biases, row
        of the states); the lanes of the layer that has most.
    """
    gates = np.arange(len(stack.cell.hh_blocks) * stack.hidden, dtype=np.int32)
    entries = []
    for layer in stack.layers:
        lanes = pool.add_matrix(layer.w_hh, gates, is_complete=True)
        biases = pool.add_biases(stack.cell.starts(layer.b_ih, layer.b_hh))
        entries.append((lanes.start, lanes.count, biases, layer.state))
    return pool.add_entries(entries), max(count for _, count, *_ in entries)


@dataclass(frozen=True)
class StreamedKernel:
    """Emits the kernel of the module docstring.

    Attributes:
        at: buffers; given products are fours of them where units go by four.
        size: units at once, 4 or 1.
        table: see `add_layers`.
        constants: of the pool, biases by `size`.
    """

    at: WaveTurn
    stack: Stack
    size: int
    table: int
    constants: LaneConstants

    def body(self) -> None:
        """The whole kernel."""
        e = self.at.emit
        layer = e.workgroup(1)
        t, count, is_on = self.at.span(layer)
        h, sums = e.shared(self.stack.hidden), e.shared(self._rows // self.size, self.size)
        when(is_on, lambda: Chunk(self, layer, t, count, h, sums).scan())

    @property
    def _rows(self) -> int:
        return len(self.stack.cell.hh_blocks) * self.stack.hidden


@dataclass(frozen=True)
class Chunk:
    """A workgroup's steps.

    Attributes:
        layer, t, count: which layer; its first step, and how many (index values).
        h, sums: shared memory: [H], and those of W_hh.
    """

    kernel: StreamedKernel
    layer: ir.Value
    t: ir.Value
    count: ir.Value
    h: ir.Value
    sums: ir.Value

    def scan(self) -> None:
        """All steps."""
        e, hidden, steps = self._e, self._stack.hidden, self.kernel.at.plan.chunk
        (states, *_), start = self.kernel.at.buffers.states, self._state(self._stack.hidden)
        e.for_own(hidden, lambda u: e.store(e.load(states, e.add(start, u)), self.h, u))
        e.barrier()
        if steps <= MOST_IN_LINE:
            for step in map(e.index, range(steps)):
                when(compare("ult", step, self.count), partial(self._step, step))
        else:
            e.loop(0, self.count, 1, [], self._step)
        e.for_own(hidden, lambda u: e.store(e.load(self.h, u), states, e.add(start, u)))

    @property
    def _e(self) -> ThreadEmitter:
        return self.kernel.at.emit

    @property
    def _stack(self) -> Stack:
        return self.kernel.stack

    @cached_property
    def _entry(self) -> list[ir.Value]:
        """The layer's of the table."""
        e, constants = self._e, self.kernel.constants
        loaded = memref.load(constants.table, [e.add(self.layer, self.kernel.table)])
        return [as_index(value) for value in e.lanes(loaded)]

    def _state(self, size: int) -> ir.Value:
        """Where the layer's states lie, in a tensor of so many a row."""
        e, row = self._e, self._entry[3]
        return e.mul(e.add(e.mul(row, self._stack.batch), e.workgroup(0)), size)

    def _step(self, step: ir.Value) -> None:
        e, (start, count, *_) = self._e, self._entry
        write = write_quads if self.kernel.size == ROWS else write_lane

        def lane(i: ir.Value) -> None:
            h = self.h, e.index(0)
            (sums,), rows = lane_sums(e, self.kernel.constants, e.add(i, start), [h])
            write(e, self.kernel.constants, sums, rows, self._put)

        e.for_own(count, lane)
        e.barrier()
        e.for_own(self._groups, partial(self._units, step))
        e.barrier()

    @property
    def _groups(self) -> int:
        """Of units."""
        return self._stack.hidden // self.kernel.size

    def _put(self, row: ir.Value, value: ir.Value) -> None:
        self._e.store(value, self.sums, self._element(row))

    def _element(self, number: ir.Value) -> ir.Value:
        """Which one a number, or an aligned four of them, lies in."""
        size = self.kernel.size
        return arith.divui(number, self._e.index(size)) if size > 1 else number

    def _units(self, step: ir.Value, turn: ir.Value) -> None:
        """The cells of one unit, or of four side by side."""
        e, stack, size = self._e, self._stack, self.kernel.size
        cells = [
            (buffer, self._state(each))
            for buffer, each in zip(self.kernel.at.buffers.states[1:], stack.sizes[1:], strict=True)
        ]
        sums, first, found = self._totals(step, turn), e.mul(turn, size), []
        for number in range(size):
            own = [e.lane(each, number) if size > 1 else each for each in sums]
            unit = e.add(first, number)
            states = [e.load(self.h, unit)] if stack.cell.reads_h else []
            states += [e.load(buffer, e.add(at, unit)) for buffer, at in cells]
            h, *others = stack.cell.step(e, own, states)
            for (buffer, at), value in zip(cells, others, strict=True):
                e.store(value, buffer, e.add(at, unit))
            e.store(h, self.h, unit)
            found.append(h)
        self._write(step, first, found)

    def _totals(self, step: ir.Value, turn: ir.Value) -> list[ir.Value]:
        """The sums of all blocks, of one unit or of four."""
        e, at, cell = self._e, self.kernel.at, self._stack.cell
        entry = e.add(e.mul(step, self._stack.batch), e.workgroup(0))
        gates = len(cell.ih_blocks) * self._groups
        given = e.mul(self.layer, at.plan.chunk * self._stack.batch * gates)
        given = e.add(given, e.mul(entry, gates))
        parts = (
            (cell.ih_blocks, at.buffers.projected, given),
            (cell.hh_blocks, self.sums, e.index(0)),
        )
        found, biases = [], self._element(self._entry[2])
        for block in range(cell.blocks):
            bias = e.add(biases, turn, block * self._groups)
            total = e.load(self.kernel.constants.biases, bias)
            for blocks, source, start in parts:
                if block in blocks:
                    place = e.add(start, turn, blocks.index(block) * self._groups)
                    total = arith.addf(total, e.load(source, place))
            found.append(total)
        return found

    def _write(self, step: ir.Value, first: ir.Value, values: Sequence[ir.Value]) -> None:
        """h of units from `first` on, to where the layer's outputs are."""
        e, at, stack = self._e, self.kernel.at, self._stack
        last = e.index(len(stack.layers) - 1)
        t = e.add(self.t, step)

        def put(buffer: ir.Value, step: ir.Value) -> None:
            entry = e.add(e.mul(step, stack.batch), e.workgroup(0))
            start = e.add(e.mul(entry, stack.hidden), first)
            for number, value in enumerate(values):
                e.store(value, buffer, e.add(start, number))

        before = e.add(arith.muli(self.layer, at.steps), t)
        when(compare("eq", self.layer, last), lambda: put(at.buffers.y, t))
        when(compare("ne", self.layer, last), lambda: put(at.buffers.between, before))
