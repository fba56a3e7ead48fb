"""One step of every layer a dispatch: for models whose state does not fit into shared memory.

Dispatch d runs step t = d - l C of layer l, for all layers at once. Inputs are projected for C =
min(T, K) steps at a time, as many as a layer is behind the one below: their weights are read once
a chunk. L layers and T steps take T + (L - 1) C dispatches.

    workgroup (group, layer, batch entry):
        if t % C == 0:  projected[0 .. C] = biases + W_ih x[t .. t + C]    # or h of the layer below
        sums = W_hh h[t - 1]                                            # in shared memory
        h[t], c = cell(projected[t % C] + sums, h[t - 1], c)

A group is a range of units and owns all rows of their gates, so that groups need nothing of each
other; a thread sums a lane of rows. What is projected for later steps goes through a buffer; step
t's own part through shared memory, which is what a barrier orders. h of the last C + 1 steps is in
a ring of slots. Where layers have a projection, one workgroup takes all groups: see `project`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.block_sums import matrix_sums, zero_rows
from rtmobile_iree.passes.vulkan.blocks import BlockConstants, Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.products import (
    Place,
    Write,
    as_index,
    write_lane,
    write_quads,
)
from rtmobile_iree.passes.vulkan.step_plan import StepPlan
from rtmobile_iree.passes.vulkan.step_state import (
    Output,
    StepBuffers,
    Turn,
    place_of,
    place_of_h,
    place_of_x,
    turn,
)
from rtmobile_iree.passes.vulkan.step_units import StepUnits, Sums
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

# first one, how many (index values)
Range = Sequence[ir.Value]


@dataclass(frozen=True)
class StepKernel:
    """Emits the kernel of the module docstring; `steps`: T; `number`: d (index values)."""

    emit: ThreadEmitter
    plan: StepPlan
    constants: Constants
    buffers: StepBuffers
    steps: ir.Value
    number: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        own = self.turn()
        self.group(own, self.emit.workgroup(0), self.shared_sums())

    def turn(self) -> Turn:
        """What this workgroup has to do."""
        return turn(self.emit, self.plan, self.steps, self.number)

    def shared_sums(self) -> ir.Value:
        """Where a group's sums of both matrices go, in shared memory."""
        length = 4 if self.plan.by_four else 1
        return self.emit.shared(2 * self.plan.sums // length, length)

    def output(self, own: Turn) -> Write:
        """Writes outputs of the step."""
        e, plan = self.emit, self.plan
        at = e.mul(own.layer, plan.groups * plan.entries)
        row, *_ = self._entry(e.add(at, plan.table + 1))
        return Output(e, plan, self.buffers, own, row).write

    def group(
        self, own: Turn, group: ir.Value, shared: ir.Value, write: Write | None = None
    ) -> None:
        """A group of units.

        Args:
            shared: as of `shared_sums`.
            write: takes each unit's new h; None: it is an output.
        """
        e, plan = self.emit, self.plan
        at = e.mul(e.add(e.mul(own.layer, plan.groups), group), plan.entries)
        lanes, (row, below, biases, _), *zeros = (
            self._entry(e.add(at, plan.table + i)) for i in range(plan.entries)
        )
        ih, hh = ([entry[i : i + 2] for entry in (lanes, *zeros)] for i in (0, 2))
        step = arith.remui(own.t, own.chunk)
        starts = compare("eq", step, e.index(0))
        sums = Sums(e, plan, shared, self.buffers.projected, self._first(own, group), biases, step)
        starting = arith.andi(own.is_on, starts)
        when(starting, lambda: self._project(own, ih, below, sums))
        h: Place = (self.buffers.vectors, place_of_h(e, plan, row, own, own.old))
        when(own.is_on, lambda: self._multiply(hh, [h], [sums.put_recurrent]))
        e.barrier()
        write = write or Output(e, plan, self.buffers, own, row).write
        cells = place_of(e, plan, row, own, plan.stack.hidden)
        units = StepUnits(e, plan, self.constants, self.buffers.cells, sums, write, h, cells)
        units.run(own.is_on, e.mul(group, plan.units), starts)

    def _entry(self, at: ir.Value) -> list[ir.Value]:
        loaded = memref.load(self.constants.table, [at])
        return [as_index(value) for value in self.emit.lanes(loaded)]

    def _first(self, own: Turn, group: ir.Value) -> ir.Value:
        """Where the projected sums of this layer, entry and group begin, of the first step."""
        e, plan = self.emit, self.plan
        entry = e.add(e.mul(own.layer, plan.chunk * plan.stack.batch), own.entry)
        return e.mul(e.add(e.mul(entry, plan.groups), group), plan.sums)

    def _project(self, own: Turn, lanes: Sequence[Range], below: ir.Value, sums: Sums) -> None:
        """The inputs of the chunk's steps: a share's all at once, but one alone."""
        e, plan = self.emit, self.plan
        left = e.min(e.sub(self.steps, own.t), own.chunk)
        last = e.sub(left, e.index(1))

        def x(later: int) -> Place:
            at = e.min(e.index(later), last)
            return self.buffers.vectors, place_of_x(e, plan, below, own, at)

        def put(later: int) -> Write:
            return partial(sums.put_later, later) if later else sums.put_own

        biases = partial(sums.four_biases, self.constants)

        def project(steps: Sequence[int], first: int) -> None:
            vectors, puts = [x(later) for later in steps], [put(later) for later in steps]
            self._multiply(lanes, vectors, puts, biases, first)

        apart = plan.apart
        if plan.chunk == 1:
            project([0], apart)
            return
        is_one = compare("eq", left, e.index(1))
        when(is_one, lambda: project([0], apart))

        def shares() -> None:
            for number, steps in enumerate(plan.shares):
                project(steps, (number + 1) * apart)

        when(compare("ne", left, e.index(1)), shares)

    def _multiply(
        self,
        lanes: Sequence[Range],
        vectors: list[Place],
        puts: Sequence[Write],
        biases: Callable[[ir.Value], ir.Value] | None = None,
        first: int = 0,
    ) -> None:
        """Products of a matrix with some vectors, plus biases.

        Args:
            lanes: the first one, how many; the same of sums without weights, where listed.
            puts: where each vector's sums go.
            biases: vector<4xf32> of the rows of vector<4xi32>.
            first: the thread that begins.
        """
        e, ((start, count), *zeros) = self.emit, lanes
        write = write_quads if self.plan.by_four else write_lane

        def put_all(totals: list[list[ir.Value]], rows: list[ir.Value]) -> None:
            starts = [biases(row) for row in rows] if biases else []
            for sums, put in zip(totals, puts, strict=True):
                total = (
                    [arith.addf(*pair) for pair in zip(sums, starts, strict=True)]
                    if biases
                    else sums
                )
                write(e, self.constants, total, rows, put)

        def nothing(i: ir.Value) -> None:
            assert isinstance(self.constants, BlockConstants)
            rows = zero_rows(e, self.constants, e.add(zeros[0][0], i))
            put_all([[e.zero4() for _ in rows] for _ in vectors], rows)

        def lane(i: ir.Value) -> None:
            put_all(*matrix_sums(e, self.constants, e.add(start, i), vectors))

        e.for_own(count, lane, first)
        if zeros:
            e.for_own(zeros[0][1], nothing, first)
