"""Units of the resident scan: each belongs to one thread, which keeps its states and biases.

A unit's entries of the table: the words of its sums, two in an i32; its biases; the word of its h
and, in the upper half, its layer; where its states lie in the buffers, without the batch entry. A
unit whose rows are all pruned rests: its gates are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.kept import Share, halves, high, low, shares
from rtmobile_iree.passes.vulkan.products import Place, as_index
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, first_state
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.values import ROWS
from torch_mlir import ir
from torch_mlir.dialects import arith, memref


@dataclass(frozen=True)
class Moment:
    """A turn of the loop over steps.

    Attributes:
        d: its number (index value); layer l is at step d - l.
        steps: T.
        y: y and where its rows of the last layer's step begin.
    """

    d: ir.Value
    steps: ir.Value
    y: Place


@dataclass(frozen=True)
class UnitWork:
    """One unit of a thread.

    Attributes:
        sums: words of its sums, two in an i32; none for one that rests.
        fixed: its biases, or its gates if it rests.
        own: the word of its h, and its layer in the upper half.
        state: where its states lie in the buffers.
        states: h where the cell reads it, c; before the first step.
    """

    share: Share
    stack: Stack
    sums: Sequence[ir.Value]
    fixed: Sequence[ir.Value]
    own: ir.Value
    state: ir.Value
    states: Sequence[ir.Value]

    def step(self, shared: ir.Value, at: Moment, states: Sequence[ir.Value]) -> list[ir.Value]:
        """The states after a step; h goes to shared memory, and to y."""
        return self.share.run(lambda: self._step(shared, at, states), states)

    def _step(self, shared: ir.Value, at: Moment, states: Sequence[ir.Value]) -> list[ir.Value]:
        e, cell, layers = self.share.e, self.stack.cell, len(self.stack.layers)
        if self.sums:
            places = halves(self.sums, cell.blocks)
            pairs = zip(self.fixed, places, strict=True)
            sums = [arith.addf(e.load(shared, place), bias) for bias, place in pairs]
            h, *others = cell.step(e, sums, states)
        else:
            h, *others = cell.rest_step(e, self.fixed, states)
        place = low(self.own)
        found = [h, *others] if cell.reads_h else others
        if layers == 1:
            e.store(h, shared, place)
            self._write(h, place, at)
            return found
        is_on = compare("ult", e.sub(at.d, high(self.own)), at.steps)
        before = states[0] if cell.reads_h else e.load(shared, place)
        h = arith.select(is_on, h, before)
        e.store(h, shared, place)
        last = first_state(self.stack) + (layers - 1) * self.stack.hidden
        when(compare("uge", place, e.index(last)), lambda: self._write(h, place, at))
        found = [arith.select(is_on, *pair) for pair in zip(found, states, strict=True)]
        return [h, *found[1:]] if cell.reads_h else found

    def _write(self, h: ir.Value, place: ir.Value, at: Moment) -> None:
        y, start = at.y
        e = self.share.e
        last = first_state(self.stack) + (len(self.stack.layers) - 1) * self.stack.hidden
        e.store(h, y, e.add(start, e.sub(place, e.index(last))))

    def finish(
        self, shared: ir.Value, buffers: Sequence[ir.Value], states: Sequence[ir.Value]
    ) -> None:
        """Writes the states after the last step."""
        self.share.run(lambda: self._finish(shared, buffers, states))

    def _finish(
        self, shared: ir.Value, buffers: Sequence[ir.Value], states: Sequence[ir.Value]
    ) -> tuple[()]:
        e, cells = self.share.e, states[1:] if self.stack.cell.reads_h else states
        values = [e.load(shared, low(self.own)), *cells]
        for value, buffer in zip(values, buffers, strict=True):
            e.store(value, buffer, self.state)
        return ()


def load_units(
    e: ThreadEmitter,
    plan: ResidentPlan,
    table: ir.Value,
    given: Sequence[ir.Value],
    b: ir.Value,
    shared: ir.Value,
) -> list[UnitWork]:
    """A thread's units, and their h in shared memory."""
    first = 0 if plan.tiles is None else plan.tiles.count * plan.tile_entries
    found = []
    for units in (plan.moving, plan.resting):
        for share in shares(e, units.size):
            own = e.add(share.piece(), first)
            entries = [e.add(own, number * units.size) for number in range(plan.unit_entries)]
            words = [word for at in entries for word in e.lanes(memref.load(table, [at]))]
            found.append(_unit(share, plan.stack, words, units is plan.moving, (given, b, shared)))
        first += units.size * plan.unit_entries
    return found


def _unit(
    share: Share,
    stack: Stack,
    words: Sequence[ir.Value],
    moves: bool,
    around: tuple[Sequence[ir.Value], ir.Value, ir.Value],
) -> UnitWork:
    e, cell, (given, b, shared) = share.e, stack.cell, around
    pairs = -(-cell.blocks // 2)
    biases = [arith.bitcast(e.f32, word) for word in words[pairs : pairs + cell.blocks]]
    own, start = words[pairs + cell.blocks : pairs + cell.blocks + 2]
    state = e.add(as_index(start), e.mul(b, stack.hidden))
    states = [e.load(buffer, state) for buffer in given]
    e.store(states[0], shared, low(own))
    return UnitWork(
        share,
        stack,
        words[:pairs] if moves else (),
        biases if moves else cell.rest_gates(e, biases),
        own,
        state,
        states if cell.reads_h else states[1:],
    )


def kept_words(plan: ResidentPlan, threads: int) -> int:
    """Registers that a thread's units take."""
    cell = plan.stack.cell
    states = len(plan.stack.sizes) - (not cell.reads_h)
    moving = -(-cell.blocks // 2) + cell.blocks + 2 + states
    resting = min(cell.blocks, 3) + 2 + states
    return -(-plan.moving.size // threads) * moving + -(-plan.resting.size // threads) * resting


__all__ = ["ROWS", "Moment", "UnitWork", "kept_words", "load_units"]
