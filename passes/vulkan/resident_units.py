"""Units of the resident scan: each belongs to one thread, which keeps its states and biases.

A unit's entries of the table: the word of its h, in the upper half its layer; where its states lie
in the buffers, without the batch entry; the words of its sums, two in an i32; its given products
where there are any, likewise. A unit whose rows are all pruned rests: its gates are the same in
every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.kept import (
    Load,
    Part,
    Registers,
    Share,
    halves,
    high,
    low,
    shares,
)
from rtmobile_iree.passes.vulkan.products import Place, as_index
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan, first_state, last_state
from rtmobile_iree.passes.vulkan.resident_tiles import add_all
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.tiling import gate_count
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

STATE = 1  # of an entry


@dataclass(frozen=True)
class Moment:
    """A turn of the loop over steps.

    Attributes:
        d: its number (index value); layer l is at step d - l.
        steps: T.
        y: y and where its rows of the last layer's step begin, less `last_state`.
    """

    d: ir.Value
    steps: ir.Value
    y: Place


@dataclass(frozen=True)
class UnitWork:
    """One unit of a thread.

    Attributes:
        table: its first entry.
        sums: words of its sums, two in an i32; none for one that rests.
        fixed: loads of its biases, or of its gates if it rests.
        own: the word of its h, and its layer in the upper half.
        gates: its given products, two in an i32; none for one at rest.
        states: h where the cell reads it, c; before the first step.
    """

    share: Share
    plan: ResidentPlan
    table: Load
    sums: Sequence[ir.Value]
    fixed: Sequence[Load]
    own: ir.Value
    gates: Sequence[ir.Value]
    states: Sequence[ir.Value]

    def terms(self, given: Place | None) -> list[ir.Value]:
        """The given products of a step, a gate's each; `given`: where those of all units begin."""
        if given is None:
            return []
        buffer, first = given
        e, numbers = self.share.e, halves(self.gates, len(self.plan.stack.cell.ih_blocks))
        return [e.load(buffer, e.add(first, number)) for number in numbers]

    def read(self) -> list[ir.Value]:
        """Biases or gates, those that are not kept from memory."""
        return [load() for load in self.fixed]

    def step(
        self,
        shared: ir.Value,
        at: Moment,
        fixed: tuple[Sequence[ir.Value], Sequence[ir.Value]],
        states: Sequence[ir.Value],
    ) -> list[ir.Value]:
        """The states after a step; h goes to shared memory. `fixed`: of `read`, and of `terms`."""
        return self.share.run(lambda: self._step(shared, at, *fixed, states), states)

    def _step(
        self,
        shared: ir.Value,
        at: Moment,
        fixed: Sequence[ir.Value],
        terms: Sequence[ir.Value],
        states: Sequence[ir.Value],
    ) -> list[ir.Value]:
        e, stack = self.share.e, self.plan.stack
        cell = stack.cell
        if self.sums:
            places = halves(self.sums, cell.blocks)
            pairs = zip(fixed, self._sums(shared, places), strict=True)
            sums = [arith.addf(total, bias) if total else bias for bias, total in pairs]
            for block, term in zip(cell.ih_blocks, terms, strict=bool(terms)):
                sums[block] = arith.addf(sums[block], term)
            found = list(cell.step(e, sums, states))
        else:
            found = list(cell.rest_step(e, fixed, states))
        place = low(self.own)
        if len(stack.layers) > 1:
            is_on = compare("ult", e.sub(at.d, high(self.own)), at.steps)
            before = states if cell.reads_h else [e.load(shared, place), *states]
            found = [arith.select(is_on, *pair) for pair in zip(found, before, strict=True)]
        e.store(found[0], shared, place)
        return found if cell.reads_h else found[1:]

    def _sums(self, shared: ir.Value, places: Sequence[ir.Value]) -> list[ir.Value | None]:
        """The sums of all blocks but those that have no terms."""
        e, terms, stride = self.share.e, 1, 0
        if self.plan.tiling.is_together:
            (own,) = self.plan.classes
            terms, stride = own.terms, own.count
        return [
            add_all([e.load(shared, e.add(place, term * stride)) for term in range(terms)])
            if is_live
            else None
            for place, is_live in zip(places, self.plan.live, strict=True)
        ]

    def write(self, shared: ir.Value, at: Moment, states: Sequence[ir.Value]) -> None:
        """h after a step to y, where its layer is the last one."""
        self.share.run(lambda: self._write(shared, at, states))

    def _write(self, shared: ir.Value, at: Moment, states: Sequence[ir.Value]) -> tuple[()]:
        e, stack, (y, start) = self.share.e, self.plan.stack, at.y
        place, layers = low(self.own), len(stack.layers)

        def store() -> None:
            h = states[0] if stack.cell.reads_h else e.load(shared, place)
            e.store(h, y, e.add(start, place))

        if layers == 1:
            store()
        else:
            when(compare("uge", place, e.index(last_state(stack))), store)
        return ()

    def finish(
        self,
        shared: ir.Value,
        b: ir.Value,
        buffers: Sequence[ir.Value],
        states: Sequence[ir.Value],
    ) -> None:
        """Writes the states of batch entry b after the last step."""
        self.share.run(lambda: self._finish(shared, b, buffers, states))

    def _finish(
        self,
        shared: ir.Value,
        b: ir.Value,
        buffers: Sequence[ir.Value],
        states: Sequence[ir.Value],
    ) -> tuple[()]:
        e, stack = self.share.e, self.plan.stack
        cells = states[1:] if stack.cell.reads_h else states
        if len(stack.layers) == 1:
            unit = e.sub(low(self.own), e.index(first_state(stack)))
            start = e.add(unit, stack.layers[0].state * stack.batch * stack.hidden)
        else:
            start = as_index(e.lane(self.table(), STATE))
        at = _state(stack, e, start, b)
        values = [e.load(shared, low(self.own)), *cells]
        for value, buffer in zip(values, buffers, strict=True):
            e.store(value, buffer, at)
        return ()


@dataclass(frozen=True)
class Loader:
    """Loads a thread's units before the first step.

    Attributes:
        table, constants: see `resident_arrays`.
        given: states before the first step.
        b: batch entry.
    """

    e: ThreadEmitter
    plan: ResidentPlan
    table: Part
    constants: Part
    given: Sequence[ir.Value]
    b: ir.Value
    shared: ir.Value
    registers: Registers

    def moving(self) -> list[UnitWork]:
        """Those that have rows."""
        blocks = self.plan.stack.cell.blocks
        return self._load(self.plan.moving.size, self.plan.unit_entries, 0, blocks, -(-blocks // 2))

    def resting(self) -> list[UnitWork]:
        """The others."""
        plan, first = self.plan, self.plan.unit_entries
        moving, blocks = plan.moving.size, plan.stack.cell.blocks
        return self._load(
            plan.resting.size,
            first + moving * plan.entries_a_unit,
            moving * blocks,
            gate_count(plan.stack),
            0,
        )

    def _load(
        self, count: int, entry: int, constant: int, fixed: int, pairs: int
    ) -> list[UnitWork]:
        """Units from an entry of the table and a constant on, `fixed` constants each."""
        entries = [entry + n * count for n in range(self.plan.entries_a_unit)]
        return [
            self._unit(share, entries, [constant + n * count for n in range(fixed)], pairs)
            for share in shares(self.e, count)
        ]

    def _unit(
        self, share: Share, entries: Sequence[int], constants: Sequence[int], pairs: int
    ) -> UnitWork:
        e, stack = self.e, self.plan.stack
        piece = share.piece()
        table, first = self.table

        def load(entry: int) -> ir.Value:
            return memref.load(table, [e.add(share.piece(), first + entry)])

        read = entries if pairs else entries[:1]
        own, start, *words = [word for entry in read for word in e.lanes(load(entry))]
        state = _state(stack, e, as_index(start), self.b)
        states = [e.load(buffer, state) for buffer in self.given]
        share.run(partial(self._store, states[0], low(own)))
        loads = [partial(self._constant, piece, at) for at in constants]
        fixed = [self.registers.keep(1, load) for load in loads]
        kept = states if stack.cell.reads_h else states[1:]
        sums, gates = words[:pairs], words[pairs:] if self.plan.is_given and pairs else []
        table_entry = partial(load, entries[0])
        return UnitWork(share, self.plan, table_entry, sums, fixed, own, gates, kept)

    def _store(self, h: ir.Value, place: ir.Value) -> tuple[()]:
        self.e.store(h, self.shared, place)
        return ()

    def _constant(self, piece: ir.Value, at: int) -> ir.Value:
        constants, first = self.constants
        return self.e.load(constants, self.e.add(piece, first + at))


def _state(stack: Stack, e: ThreadEmitter, start: ir.Value, b: ir.Value) -> ir.Value:
    """Where a unit's states of batch entry b lie; `start`: those of the first one."""
    return e.add(start, e.mul(b, stack.hidden))
