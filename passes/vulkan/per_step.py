"""One step of every layer a dispatch: for models whose state does not fit into shared memory.

Dispatch d runs layer l's step t = d - l, for all layers at once: what a layer reads of the layer
below was written by the dispatch before. L layers and T steps take L + T - 1 dispatches.

    sums = biases;  workgroup (group, layer, batch entry):              # shared memory
    sums += W_ih x         # x[t], or the h of the layer below
    sums += W_hh h         # rows of the group's units, a thread a lane of four
    h', c = cell(sums, h, c)

A group is a range of units and owns all rows of their gates, so that groups need nothing of each
other. h alternates between two slots of a buffer. Where the layer has a projection, units go to a
buffer, and a second kernel, one more dispatch a step, computes h' = W_hr units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import compare
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants
from rtmobile_iree.passes.vulkan.products import Place, as_index, lane_sums, write_lane
from rtmobile_iree.passes.vulkan.step_plan import ENTRIES, StepPlan, widest
from rtmobile_iree.passes.vulkan.step_state import (
    Output,
    StepBuffers,
    Turn,
    place_of,
    place_of_h,
    turn,
)
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

# a vector, where it is read if the condition (i1) holds, and its length
Source = tuple[ir.Value, Place, int]


@dataclass(frozen=True)
class StepKernel:
    """Emits the kernel of the module docstring; `steps`: T; `number`: d (index values)."""

    emit: ThreadEmitter
    plan: StepPlan
    constants: LaneConstants
    buffers: StepBuffers
    steps: ir.Value
    number: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan = self.emit, self.plan
        own = turn(e, plan.stack.batch, self.steps, self.number)
        group = e.workgroup(0)
        at = e.mul(e.add(e.mul(own.layer, plan.groups), group), ENTRIES)
        lanes, others = (self._entry(e.add(at, plan.table + i)) for i in range(ENTRIES))
        row, below, biases, _ = others
        h, h_below = (
            (self.buffers.h, place_of_h(e, plan, *place))
            for place in ((row, own, own.old), (below, own, own.new))
        )
        sources = self._sources(own, h_below)
        recurrent: Source = (own.is_on, h, plan.stack.outputs)
        sums = e.shared(2 * plan.sums)
        if plan.staged:
            sources, recurrent = self._staged(own, sources, recurrent)
        e.for_own(plan.sums, lambda i: self._start(sums, biases, i))
        e.barrier()
        for source in sources:
            self._multiply(lanes[:2], source, sums, 0)
        self._multiply(lanes[2:], recurrent, sums, plan.sums)
        e.barrier()
        first = e.mul(group, plan.units)
        count = e.min(e.sub(e.index(plan.stack.hidden), first), e.index(plan.units))
        output = Output(e, plan, self.buffers, own, row)
        e.for_own(
            self._only(own.is_on, count),
            lambda i: self._unit(output, h, sums, i, e.add(first, i)),
        )

    def _entry(self, at: ir.Value) -> list[ir.Value]:
        loaded = memref.load(self.constants.table, [at])
        return [as_index(value) for value in self.emit.lanes(loaded)]

    def _only(self, condition: ir.Value, count: ir.Value) -> ir.Value:
        return arith.select(condition, count, self.emit.index(0))

    def _sources(self, own: Turn, below: Place) -> list[Source]:
        """Where x is: in its buffer for the first layer, else the h of the layer below."""
        e, plan = self.emit, self.plan
        at = e.add(e.mul(own.t, plan.stack.batch), own.entry)
        x: Place = (self.buffers.x, e.mul(at, plan.stack.inputs))
        is_first = compare("eq", own.layer, e.index(0))
        first = (arith.andi(own.is_on, is_first), x, plan.stack.inputs)
        if len(plan.stack.layers) == 1:
            return [first]
        is_other = arith.andi(own.is_on, compare("ne", own.layer, e.index(0)))
        return [first, (is_other, below, plan.stack.outputs)]

    def _staged(
        self, own: Turn, sources: Sequence[Source], recurrent: Source
    ) -> tuple[list[Source], Source]:
        """The same vectors in shared memory."""
        e, stack = self.emit, self.plan.stack
        longest = widest(stack)
        space, start = e.shared(longest + stack.outputs), e.index(longest)
        for condition, (source, at), length in sources:
            self._copy(condition, length, (source, at), (space, e.index(0)))
        self._copy(own.is_on, stack.outputs, recurrent[1], (space, start))
        x: Source = (own.is_on, (space, e.index(0)), longest)
        return [x], (own.is_on, (space, start), stack.outputs)

    def _copy(self, condition: ir.Value, length: int, source: Place, target: Place) -> None:
        e = self.emit

        def one(i: ir.Value) -> None:
            e.store(e.load(source[0], e.add(source[1], i)), target[0], e.add(target[1], i))

        e.for_own(self._only(condition, e.index(length)), one)

    def _start(self, sums: ir.Value, biases: ir.Value, i: ir.Value) -> None:
        e = self.emit
        e.store(e.load(self.constants.biases, e.add(biases, i)), sums, i)
        e.store(e.scalar(0.0), sums, e.add(i, self.plan.sums))

    def _multiply(
        self, lanes: Sequence[ir.Value], source: Source, sums: ir.Value, start: int
    ) -> None:
        """Adds a product to the sums from `start` on; `lanes`: the first one, how many."""
        e, (first, count) = self.emit, lanes
        condition, vector, _ = source

        def add(row: ir.Value, value: ir.Value) -> None:
            at = e.add(row, start)
            e.store(arith.addf(e.load(sums, at), value), sums, at)

        def one(i: ir.Value) -> None:
            (total,), rows = lane_sums(e, self.constants, e.add(first, i), [vector])
            write_lane(e, self.constants, total, rows, add)

        e.for_own(self._only(condition, count), one)

    def _unit(self, output: Output, h: Place, sums: ir.Value, i: ir.Value, u: ir.Value) -> None:
        """The cell of unit u, the i-th of its group."""
        e, plan, buffers = self.emit, self.plan, self.buffers
        at = [e.add(i, block * plan.units) for block in range(plan.stack.cell.blocks)]
        both = [(e.load(sums, a), e.load(sums, e.add(a, plan.sums))) for a in at]
        place = e.add(place_of(e, plan, output.row, output.own, plan.stack.hidden), u)
        states = [e.load(h[0], e.add(h[1], u))] if plan.stack.cell.reads_h else []
        states += [e.load(buffer, place) for buffer in buffers.cells]
        h_next, *others = plan.stack.cell.step(e, [arith.addf(*pair) for pair in both], states)
        for buffer, value in zip(buffers.cells, others, strict=True):
            e.store(value, buffer, place)
        if buffers.units is None:
            output.write(u, h_next)
        else:
            e.store(h_next, buffers.units, place)
