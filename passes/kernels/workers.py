"""Who runs the stack kernel's chunks: one worker alone, several in a wavefront, or a team.

Alone, the states live in the result buffers, or in others of f16 where that is computed in, and the
last layer writes y.

In a wavefront (see `wavefront`) a worker runs one layer on one chunk, from what the layer before
hands on to what the next one reads; the states live where they do alone.

In a team (see `team`) every member computes all gates, and so has states and a sequence of its own;
gi and gh alone are shared, and the leader writes the results. Computing all gates costs a member
less than sending h around, and halves how often they meet: once a step and layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.passes.kernels.control import Control
from rtmobile_iree.passes.kernels.emit import Emitter, bit, compare, when
from rtmobile_iree.passes.kernels.stack import StackBuffers, StackKernel
from rtmobile_iree.passes.kernels.stack_plan import StackPlan
from rtmobile_iree.passes.kernels.sums import Constants
from rtmobile_iree.passes.kernels.team import TEAM_WORDS, Team, run_chunks
from rtmobile_iree.passes.kernels.wavefront import RING, run_wavefront, wavefront_words
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class Arguments:
    """The buffers of a dispatch, flat memrefs; f32 but for the last four.

    Attributes:
        x, states: [T, B, I] and [L, B, .] each, read only.
        y, next_states: [T, B, P] and [L, B, .] each.
        scratch: as the plan lays it out, of what is computed in.
        half_states: [L, B, .] each of f16, where that is computed in.
        quantized: i8 scratch, where some inputs are quantized.
        control: `words` of zeros for the plan, where there are several workers.
    """

    x: ir.Value
    states: tuple[ir.Value, ...]
    y: ir.Value
    next_states: tuple[ir.Value, ...]
    scratch: ir.Value
    half_states: tuple[ir.Value, ...] = ()
    quantized: ir.Value | None = None
    control: ir.Value | None = None


@dataclass(frozen=True)
class StackRun:
    """Emits the whole body of a stack's dispatch; `steps`: T (index value)."""

    emit: Emitter
    schedule: Schedule
    plan: StackPlan
    constants: Constants
    arguments: Arguments
    steps: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        if self.arguments.control is None:
            self._alone()
            return
        control = Control(self.emit, self.arguments.control)
        if self.plan.sharing.stripes:
            self._in_team(control)
        else:
            self._in_wavefront(control)

    def _alone(self) -> None:
        arguments, states = self.arguments, self._shared_states()
        self._copy_states(arguments.states, states)
        mine = self._kernel(self._buffers(self.emit.index(0), states))
        mine.prepare_sums()
        mine.prepare_own()

        def chunk(number: ir.Value) -> None:
            x, y = self._x(number), self._y(number)
            replace(mine, buffers=replace(mine.buffers, x=x, y=y)).chunk(self._count(number))

        self.emit.loop(0, self._chunks(), 1, [], chunk)
        if arguments.half_states:
            self._copy_states(states, arguments.next_states)

    def _in_wavefront(self, control: Control) -> None:
        e, arguments, layers = self.emit, self.arguments, self.plan.layers
        states, chunks = self._shared_states(), self._chunks()
        mine = self._kernel(self._buffers(control.arrive(), states))
        mine.prepare_own()

        def rows(number: int) -> list[int]:
            return [layers[number].state, *(self._left_over() if number == 0 else [])]

        def begin(number: int) -> None:
            self._copy_states(arguments.states, states, rows(number))
            replace(mine, layers=layers[number : number + 1]).prepare_sums()

        def finish(number: int) -> None:
            self._copy_states(states, arguments.next_states, rows(number))

        def run(number: int, chunk: ir.Value) -> None:
            when(compare("eq", chunk, e.index(0)), lambda: begin(number))
            x = self._x(chunk) if number == 0 else self._handed_on(number - 1, chunk)
            is_last = number == len(layers) - 1
            y = self._y(chunk) if is_last else self._handed_on(number, chunk)
            own = layers[number : number + 1]
            kernel = replace(mine, layers=own, buffers=replace(mine.buffers, x=x, y=y))
            kernel.chunk(self._count(chunk))
            if arguments.half_states:
                is_over = compare("eq", e.add(chunk, 1), chunks)
                when(is_over, lambda: finish(number))

        run_wavefront(control, len(layers), chunks, run)

    def _shared_states(self) -> tuple[ir.Value, ...]:
        """Where the states live when no worker has its own."""
        return self.arguments.half_states or self.arguments.next_states

    def _x(self, chunk: ir.Value) -> ir.Value:
        """The input of a chunk, [count, B, I]."""
        return self._steps_of(self.arguments.x, chunk, self.plan.inputs)

    def _y(self, chunk: ir.Value) -> ir.Value:
        """The output of a chunk, [count, B, P]."""
        return self._steps_of(self.arguments.y, chunk, self.plan.outputs)

    def _steps_of(self, sequence: ir.Value, chunk: ir.Value, length: int) -> ir.Value:
        e, row = self.emit, self.plan.batch * length
        size = e.mul(self._count(chunk), row)
        return e.view(sequence, e.mul(chunk, self.plan.time_chunk * row), size)

    def _handed_on(self, layer: int, chunk: ir.Value) -> ir.Value:
        """[slots, B, P]: what a layer hands on of a chunk."""
        e = self.emit
        start, size = self.plan.ring(e, self.plan.slots(e, self.steps), layer)
        place = arith.remui(chunk, e.index(RING))
        return e.view(self.arguments.scratch, e.add(start, arith.muli(place, size)), size)

    def _in_team(self, control: Control) -> None:
        e, arguments = self.emit, self.arguments
        rank = control.arrive()
        leads = compare("eq", rank, e.index(0))
        states = self._own_states(rank)
        mine = self._kernel(self._buffers(rank, states))

        def begin() -> None:
            self._copy_states(arguments.states, states)
            mine.prepare_sums()

        when(leads, begin)
        mine.prepare_own()

        def chunk(team: Team, number: ir.Value, is_first: ir.Value) -> None:
            joins = arith.andi(is_first, arith.xori(leads, arith.constant(bit(), 1)))
            when(joins, lambda: self._copy_states(self._own_states(e.index(0)), states))
            team.meet()
            buffers = replace(mine.buffers, x=self._x(number))
            replace(mine, buffers=buffers, team=team).chunk(self._count(number))
            when(leads, lambda: self._write_outputs(mine, number))

        run_chunks(control, rank, self._chunks(), chunk)
        when(leads, lambda: self._copy_states(states, arguments.next_states))

    def _chunks(self) -> ir.Value:
        return arith.ceildivui(self.steps, self.emit.index(self.plan.time_chunk))

    def _count(self, chunk: ir.Value) -> ir.Value:
        """Steps of a chunk."""
        e = self.emit
        return self.plan.slots(e, e.sub(self.steps, e.mul(chunk, self.plan.time_chunk)))

    def _kernel(self, buffers: StackBuffers) -> StackKernel:
        """All layers on these buffers."""
        plan, constants = self.plan, self.constants
        return StackKernel(
            self.emit, self.schedule, plan, plan.layers, constants, buffers, self.steps
        )

    def _buffers(self, rank: ir.Value, states: tuple[ir.Value, ...]) -> StackBuffers:
        """A worker's, on its parts of scratch; x is all of it, and there is no y."""
        e, plan, arguments = self.emit, self.plan, self.arguments
        slots, quantized = plan.slots(e, self.steps), arguments.quantized
        sums = e.view(arguments.scratch, e.index(0), plan.shared.elements(e, slots))
        if quantized is not None:
            size = plan.byte_elements(e, slots)
            quantized = e.view(quantized, arith.muli(rank, size), size)
        return StackBuffers(arguments.x, states, sums, self._own(rank), None, quantized)

    def _own(self, rank: ir.Value) -> ir.Value:
        """A worker's own part of scratch."""
        e, plan = self.emit, self.plan
        slots = plan.slots(e, self.steps)
        size = plan.own.elements(e, slots)
        start = e.add(plan.shared.elements(e, slots), arith.muli(rank, size))
        return e.view(self.arguments.scratch, start, size)

    def _own_states(self, rank: ir.Value) -> tuple[ir.Value, ...]:
        """A worker's own states."""
        e, own = self.emit, self._own(rank)
        return tuple(
            e.view(own, e.index(start), e.index(self.plan.state_elements(number)))
            for number, start in enumerate(self.plan.states)
        )

    def _left_over(self) -> list[int]:
        """Rows of the states that belong to none of the layers."""
        own = {layer.state for layer in self.plan.layers}
        return [row for row in range(self.plan.state_rows) if row not in own]

    def _copy_states(
        self,
        before: tuple[ir.Value, ...],
        after: tuple[ir.Value, ...],
        rows: Sequence[int] | None = None,
    ) -> None:
        """Copies some rows of the states, or all."""
        e = self.emit
        for number, (source, target) in enumerate(zip(before, after, strict=True)):
            everything = self.plan.state_elements(number)
            size = everything if rows is None else everything // self.plan.state_rows
            for row in (0,) if rows is None else rows:
                e.copy(source, e.index(row * size), target, e.index(row * size), size)

    def _write_outputs(self, kernel: StackKernel, chunk: ir.Value) -> None:
        """The last layer's outputs of a chunk, to y."""
        e, row = self.emit, self.plan.batch * self.plan.outputs
        sequence, y = kernel.sequence(), self._y(chunk)

        def step(t: ir.Value) -> None:
            at = e.mul(t, row)
            e.copy(kernel.buffers.own, e.add(sequence, at), y, at, row)

        e.loop(0, self._count(chunk), 1, [], step)


def words(plan: StackPlan) -> int:
    """Words of control that the kernel of a plan needs; 0 for one worker."""
    if plan.sharing.is_wavefront:
        return wavefront_words(len(plan.layers))
    return TEAM_WORDS if plan.sharing.stripes else 0
