"""The sums of a step's kernel (see `per_step`), where they lie, and the cells that take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.vulkan.blocks import Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.products import Place, Write, as_index
from rtmobile_iree.passes.vulkan.step_plan import StepPlan
from rtmobile_iree.passes.vulkan.values import ROWS
from torch_mlir import ir
from torch_mlir.dialects import arith, scf, vector


@dataclass(frozen=True)
class Sums:
    """The sums of a group, a block of `units` a gate; elements are four of them where `by_four`.

    Attributes:
        shared: those of W_ih of this step if it is its chunk's first, then those of W_hh.
        projected: see `StepBuffers`; None where each step projects its own input.
        first: where this group's part of `projected` begins, of the chunk's first step.
        biases: where the biases begin.
        step: of the chunk.
    """

    emit: ThreadEmitter
    plan: StepPlan
    shared: ir.Value
    projected: ir.Value | None
    first: ir.Value
    biases: ir.Value
    step: ir.Value

    def put_recurrent(self, row: ir.Value, value: ir.Value) -> None:
        """A sum of W_hh."""
        self._put(self.shared, self.emit.add(row, self.plan.sums), value)

    def put_own(self, row: ir.Value, value: ir.Value) -> None:
        """A sum of W_ih, of this step."""
        self._put(self.shared, row, value)

    def put_later(self, later: int, row: ir.Value, value: ir.Value) -> None:
        """The same of a later step of the chunk."""
        assert self.projected is not None
        self._put(self.projected, self.emit.add(self.first, row, later * self._stride), value)

    def bias(self, constants: Constants, row: ir.Value) -> ir.Value:
        """Of one row, or of four."""
        return self._get(constants.biases, self.emit.add(self.biases, row))

    def four_biases(self, constants: Constants, rows: ir.Value) -> ir.Value:
        """vector<4xf32> of the rows of vector<4xi32>; any where that is padding."""
        e = self.emit
        zero = arith.constant(ir.IntegerType.get_signless(32), 0)
        places = [as_index(arith.maxsi(row, zero)) for row in e.lanes(rows)]
        if self.plan.by_four:
            return self.bias(constants, places[0])
        return vector.from_elements(
            e.vector_type(ROWS), [self.bias(constants, place) for place in places]
        )

    def recurrent(self, row: ir.Value) -> ir.Value:
        """A sum of W_hh."""
        return self._get(self.shared, self.emit.add(row, self.plan.sums))

    def input(self, row: ir.Value, starts: ir.Value) -> ir.Value:
        """A sum of W_ih; `starts`: whether the step is its chunk's first (i1)."""
        e, projected = self.emit, self.projected
        if projected is None:
            return self._get(self.shared, row)
        kind = ir.MemRefType(self.shared.type).element_type
        choice = scf.IfOp(starts, [kind], has_else=True)
        with ir.InsertionPoint(choice.then_block):
            scf.yield_([self._get(self.shared, row)])
        with ir.InsertionPoint(choice.else_block):
            at = e.add(self.first, e.mul(self.step, self._stride), row)
            scf.yield_([self._get(projected, at)])
        return choice.results[0]

    @property
    def _stride(self) -> int:
        """From one step to the next in `projected`."""
        plan = self.plan
        return plan.stack.batch * plan.groups * plan.sums

    def _at(self, row: ir.Value) -> ir.Value:
        by_four = self.plan.by_four
        return arith.divui(row, self.emit.index(ROWS)) if by_four else row

    def _put(self, target: ir.Value, row: ir.Value, value: ir.Value) -> None:
        self.emit.store(value, target, self._at(row))

    def _get(self, source: ir.Value, row: ir.Value) -> ir.Value:
        return self.emit.load(source, self._at(row))


@dataclass(frozen=True)
class StepUnits:
    """The cells of a group.

    Attributes:
        buffers: of the states other than h.
        write: takes each unit's h.
        h, cells: where the last h, and the other states, are.
    """

    emit: ThreadEmitter
    plan: StepPlan
    constants: Constants
    buffers: Sequence[ir.Value]
    sums: Sums
    write: Write
    h: Place
    cells: ir.Value

    def run(self, is_on: ir.Value, first: ir.Value, starts: ir.Value) -> None:
        """All units from `first` on if `is_on` (i1), one or four a thread at a time; `starts`: see
        `Sums`."""
        e, plan = self.emit, self.plan
        size = ROWS if plan.by_four else 1
        count = e.min(e.sub(e.index(plan.stack.hidden), first), e.index(plan.units))
        turns = arith.divui(count, e.index(size))

        def some(turn: ir.Value) -> None:
            i = e.mul(turn, size)
            sums = self._blocks(i, starts)
            for number in range(size):
                own = [e.lane(each, number) if plan.by_four else each for each in sums]
                self._unit(own, e.add(first, i, number))

        e.for_own(arith.select(is_on, turns, e.index(0)), some)

    def _blocks(self, i: ir.Value, starts: ir.Value) -> list[ir.Value]:
        """The sums of unit i of the group, or of four from it on, a block each."""
        e, plan = self.emit, self.plan
        cell, found = plan.stack.cell, []
        for block in range(cell.blocks):
            row = e.add(i, block * plan.units)
            is_input = block in cell.ih_blocks
            total = self.sums.input(row, starts) if is_input else self._bias(row)
            if block in cell.hh_blocks:
                total = arith.addf(total, self.sums.recurrent(row))
            found.append(total)
        return found

    def _bias(self, row: ir.Value) -> ir.Value:
        return self.sums.bias(self.constants, row)

    def _unit(self, sums: list[ir.Value], u: ir.Value) -> None:
        """The cell of unit u."""
        e, plan = self.emit, self.plan
        place = e.add(self.cells, u)
        states = [e.load(self.h[0], e.add(self.h[1], u))] if plan.stack.cell.reads_h else []
        states += [e.load(buffer, place) for buffer in self.buffers]
        h_next, *others = plan.stack.cell.step(e, sums, states)
        for buffer, value in zip(self.buffers, others, strict=True):
            e.store(value, buffer, place)
        self.write(u, h_next)
