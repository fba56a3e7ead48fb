"""The resident scan: a persistent workgroup whose threads keep their weights in registers.

    load tiles of weights, units' biases and states               # once; then no weight is read
    for d in T + L - 1:                                           # layer l is at step d - l
        terms = tiles * (x, h of all layers)
        sums = terms added up
        h, c = cells(sums);  x = x[d + 1];  y[d - L + 1] = h[last]
    states = h, c

A barrier ends every line of the loop; all layers take part in each, one step behind the layer
before. A thread owns whole tiles: it loads an input once for all the tile's rows. All that threads
exchange is in shared memory. What finds no register is read in every step, in loads that do not
wait for each other. Nothing depends on how threads form subgroups.
Source: G. Diamos et al., Persistent RNNs (ICML 2016); one load of an input for all rows of a panel
is RTMobile's load elimination (arXiv 2002.11474, IV-B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.kept import Part, Registers, Share, shares
from rtmobile_iree.passes.vulkan.products import Place
from rtmobile_iree.passes.vulkan.resident_plan import FIRST_INPUT, ResidentPlan, last_state
from rtmobile_iree.passes.vulkan.resident_tiles import TileWork, add_terms, load_tiles
from rtmobile_iree.passes.vulkan.resident_units import Loader, Moment, UnitWork
from torch_mlir import ir
from torch_mlir.dialects import arith


@dataclass(frozen=True)
class ResidentBuffers:
    """What a workgroup reads and writes, flat memrefs of f32.

    Attributes:
        x, y: [T, B, I] and [T, B, H], from the first step on.
        given, states: [rows, B, .] before and after; they may be the same.
        projected: [T, B, .] the given products of `ResidentPlan.given`; None without any.
        shared: shared memory, as many words as the plan asks for.
    """

    x: Place
    y: Place
    given: Sequence[ir.Value]
    states: Sequence[ir.Value]
    shared: ir.Value
    projected: Place | None = None


@dataclass(frozen=True)
class ResidentKernel:
    """Emits the kernel of the module docstring; `steps`: T (index value).

    Attributes:
        arrays: the buffers of `resident_arrays`, and where this plan's part of each begins.
    """

    emit: ThreadEmitter
    plan: ResidentPlan
    arrays: Sequence[Part]
    buffers: ResidentBuffers
    steps: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan, buffers = self.emit, self.plan, self.buffers
        stack, shared = plan.stack, buffers.shared
        b = e.workgroup(0)
        for first, count in plan.zeros:
            e.for_own(count, partial(self._clear, first))
        e.barrier()
        weights, table, constants = self.arrays
        registers = Registers(plan.tiling.unit_registers)
        loader = Loader(e, plan, table, constants, buffers.given, b, shared, registers)
        units = [*loader.moving(), *loader.resting()]
        tiles = load_tiles(e, plan, (weights, table))
        is_any = compare("ugt", self.steps, e.index(0))
        when(is_any, lambda: self._first_inputs(b))
        e.barrier()
        turns = e.add(self.steps, len(stack.layers) - 1)
        last = self._loop(turns, is_any, (shared, b), tiles, units)
        for unit, states in zip(units, last, strict=True):
            unit.finish(shared, b, buffers.states, states)

    def _loop(
        self,
        turns: ir.Value,
        is_any: ir.Value,
        around: tuple[ir.Value, ir.Value],
        tiles: Sequence[TileWork],
        units: Sequence[UnitWork],
    ) -> list[list[ir.Value]]:
        """All steps; the states of each unit after them."""
        e, (shared, b) = self.emit, around

        def turn(d: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            found = self._turn(d, (shared, b), tiles, units, _grouped(units, carried))
            return [value for each in found for value in each]

        inits = [value for unit in units for value in unit.states]
        count = arith.select(is_any, turns, e.index(0))
        return _grouped(units, e.loop(0, count, 1, inits, turn))

    def _turn(
        self,
        d: ir.Value,
        around: tuple[ir.Value, ir.Value],
        tiles: Sequence[TileWork],
        units: Sequence[UnitWork],
        states: Sequence[Sequence[ir.Value]],
    ) -> list[list[ir.Value]]:
        e, stack, (shared, b) = self.emit, self.plan.stack, around
        following = e.min(e.add(d, 1), e.sub(self.steps, e.index(1)))
        inputs = [(share, self._input(share, following, b)) for share in shares(e, stack.inputs)]
        given = self._given(d, b)
        terms = [unit.terms(given) for unit in units]
        for tile in tiles:
            tile.multiply(shared)
        e.barrier()
        if add_terms(e, shared, self.plan.summed):
            e.barrier()
        step = e.sub(arith.maxsi(d, e.index(len(stack.layers) - 1)), e.index(len(stack.layers) - 1))
        y, first = self.buffers.y
        start = e.mul(e.add(e.mul(step, stack.batch), b), stack.outputs)
        start = e.sub(e.add(first, start), e.index(last_state(stack)))
        at = Moment(d, self.steps, (y, start))
        fixed = [unit.read() for unit in units]
        work = zip(units, fixed, terms, states, strict=True)
        found = [unit.step(shared, at, (own, more), before) for unit, own, more, before in work]
        for unit, after in zip(units, found, strict=True):
            unit.write(shared, at, after)
        for share, value in inputs:
            self._keep_input(share, value)
        e.barrier()
        return found

    def _first_inputs(self, b: ir.Value) -> None:
        for share in shares(self.emit, self.plan.stack.inputs):
            value = self._input(share, self.emit.index(0), b)
            self._keep_input(share, value)

    def _input(self, share: Share, step: ir.Value, b: ir.Value) -> ir.Value:
        """A thread's element of x at a step."""
        e, stack, (x, first) = self.emit, self.plan.stack, self.buffers.x
        entry = e.add(e.mul(step, stack.batch), b)
        return e.load(x, e.add(first, e.mul(entry, stack.inputs), share.piece()))

    def _keep_input(self, share: Share, value: ir.Value) -> None:
        share.run(partial(self._store, value, self.emit.add(share.piece(), FIRST_INPUT)))

    def _given(self, step: ir.Value, b: ir.Value) -> Place | None:
        """Where the given products of a step lie."""
        e, plan = self.emit, self.plan
        if self.buffers.projected is None or not plan.is_given:
            return None
        buffer, first = self.buffers.projected
        entry = e.add(e.mul(step, plan.stack.batch), b)
        return buffer, e.add(first, e.mul(entry, plan.given))

    def _clear(self, first: int, i: ir.Value) -> None:
        self.emit.store(self.emit.scalar(0.0), self.buffers.shared, self.emit.add(i, first))

    def _store(self, value: ir.Value, word: ir.Value) -> tuple[()]:
        self.emit.store(value, self.buffers.shared, word)
        return ()


def _grouped(units: Sequence[UnitWork], values: Sequence[ir.Value]) -> list[list[ir.Value]]:
    """One list of values as a list for each unit."""
    left = iter(values)
    return [[next(left) for _ in unit.states] for unit in units]
