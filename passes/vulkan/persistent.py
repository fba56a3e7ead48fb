"""The persistent scan: one workgroup runs all steps of all layers for one batch entry.

For what is too large for `resident`, or has a projection: weights are read in every step.

    h[l] = state[l];  sums = biases of the first layer                  # shared memory
    for t in T:
        for layer:
            sums += W_ih x          # x[t], or the h of the layer before
            sums += W_hh h[l]
            h[l], c = cell(sums, h[l], c);  sums = biases of the next layer
            h[l] = W_hr h           # where the layer has a projection
        y[t] = h[last]
    state = h

A barrier ends every line: a lane's rows belong to other threads' units. All that threads exchange
is in shared memory, which is what a SPIR-V workgroup barrier orders. A unit's c stays with its
thread, in the state's own buffer. Nothing depends on how threads form subgroups.
Source: the fused scan is RTMobile's (arXiv 2002.11474, IV-B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.vulkan.cells import UnitCell
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, LanePool, Lanes
from rtmobile_iree.passes.vulkan.products import Place, Write, lane_sums, write_lane
from rtmobile_iree.passes.vulkan.stacks import Stack
from torch_mlir import ir
from torch_mlir.dialects import arith

F32_BYTES = 4


@dataclass(frozen=True)
class LayerLanes:
    """One layer.

    Attributes:
        state: its row of the states.
        hr: the projection's lanes; None without one.
        biases: offset of what its sums start from.
    """

    state: int
    ih: Lanes
    hh: Lanes
    hr: Lanes | None
    biases: int


@dataclass(frozen=True)
class ScanPlan:
    """A stack, and its layers' lanes."""

    stack: Stack
    layers: tuple[LayerLanes, ...]

    @property
    def shared_parts(self) -> tuple[int, int, int]:
        """f32 elements of h of the layers, of sums, of units before a projection."""
        stack = self.stack
        units = stack.hidden if stack.projected else 0
        return len(self.layers) * stack.outputs, stack.cell.blocks * stack.hidden, units

    @property
    def shared_bytes(self) -> int:
        """Shared memory of the workgroup."""
        return F32_BYTES * sum(self.shared_parts)

    @property
    def threads(self) -> int:
        """Threads that all find work in the widest phase."""
        matrices = [m for layer in self.layers for m in (layer.ih, layer.hh, layer.hr) if m]
        return max(self.stack.hidden, *(matrix.count for matrix in matrices))


def plan_scan(pool: LanePool, stack: Stack) -> ScanPlan:
    """Lays out a stack."""
    layers = (_plan_layer(pool, layer, stack.cell, stack.hidden) for layer in stack.layers)
    return ScanPlan(stack, tuple(layers))


def _plan_layer(pool: LanePool, layer: Layer, cell: UnitCell, hidden: int) -> LayerLanes:
    ih = pool.add_matrix(layer.w_ih, cell.positions(cell.ih_blocks, hidden))
    hh = pool.add_matrix(layer.w_hh, cell.positions(cell.hh_blocks, hidden))
    w_hr, hr = layer.w_hr, None
    if w_hr is not None:
        hr = pool.add_matrix(w_hr, np.arange(w_hr.shape[0], dtype=np.int32))
    return LayerLanes(layer.state, ih, hh, hr, pool.add_biases(cell.starts(layer.b_ih, layer.b_hh)))


@dataclass(frozen=True)
class ScanBuffers:
    """Flat memrefs: x [T, B, I], y [T, B, P] and the states [L, B, .], before and after."""

    x: ir.Value
    y: ir.Value
    given: Sequence[ir.Value]
    states: Sequence[ir.Value]


@dataclass(frozen=True)
class ScanKernel:
    """Emits the kernel of the module docstring; `steps`: T (index value)."""

    emit: ThreadEmitter
    plan: ScanPlan
    constants: LaneConstants
    buffers: ScanBuffers
    steps: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan = self.emit, self.plan
        b = e.workgroup(0)
        h_size, sum_size, unit_size = plan.shared_parts
        h, sums = e.shared(h_size), e.shared(sum_size)
        units = e.shared(unit_size) if unit_size else h
        own = [layer.state for layer in plan.layers]
        copy_states(e, plan.stack, b, self.buffers, [own])  # h of its layers: at the end
        for number, layer in enumerate(plan.layers):
            source = e.mul(e.add(b, layer.state * plan.stack.batch), plan.stack.outputs)
            self._copy(self.buffers.given[0], source, h, e.index(number * plan.stack.outputs))
        first = plan.layers[0].biases
        e.for_own(sum_size, lambda i: e.store(self._bias(first, i), sums, i))
        e.barrier()
        e.loop(0, self.steps, 1, [], lambda t: self._step(t, b, (h, sums, units)))
        for number, layer in enumerate(plan.layers):
            target = e.mul(e.add(b, layer.state * plan.stack.batch), plan.stack.outputs)
            self._copy(h, e.index(number * plan.stack.outputs), self.buffers.states[0], target)

    def _copy(
        self,
        source: ir.Value,
        s0: ir.Value,
        target: ir.Value,
        t0: ir.Value,
    ) -> None:
        """Each thread copies its own elements of as many as there are outputs."""
        _copy(self.emit, (source, s0), (target, t0), self.plan.stack.outputs)

    def _step(self, t: ir.Value, b: ir.Value, shared: tuple[ir.Value, ir.Value, ir.Value]) -> None:
        e, plan = self.emit, self.plan
        h, sums, units = shared
        entry = e.add(e.mul(t, plan.stack.batch), b)
        x: Place = (self.buffers.x, e.mul(entry, plan.stack.inputs))
        y: Place = (self.buffers.y, e.mul(entry, plan.stack.outputs))
        last = len(plan.layers) - 1
        for number, layer in enumerate(plan.layers):
            own: Place = (h, e.index(number * plan.stack.outputs))
            self._multiply(layer.ih, x, self._adder(sums, e.index(0)))
            self._multiply(layer.hh, own, self._adder(sums, e.index(0)))
            following = plan.layers[0 if number == last else number + 1]
            places = [(units, e.index(0))] if layer.hr else [own]
            if number == last and not layer.hr:
                places.append(y)
            self._units(layer, following, b, (own, sums), places)
            if layer.hr:
                self._multiply(layer.hr, (units, e.index(0)), self._adder(*own))
                if number == last:
                    self._copy(*own, *y)
            x = own

    def _multiply(self, lanes: Lanes, x: Place, write: Write) -> None:
        """Adds a product; then all threads see it."""
        e = self.emit
        if not lanes.count:
            return

        def one(lane: ir.Value) -> None:
            (sums,), rows = lane_sums(e, self.constants, e.add(lane, lanes.start), [x])
            write_lane(e, self.constants, sums, rows, write)

        e.for_own(lanes.count, one)
        e.barrier()

    def _adder(self, target: ir.Value, start: ir.Value) -> Write:
        e = self.emit

        def add(row: ir.Value, value: ir.Value) -> None:
            at = e.add(start, row)
            e.store(arith.addf(e.load(target, at), value), target, at)

        return add

    def _units(
        self,
        layer: LayerLanes,
        following: LayerLanes,
        b: ir.Value,
        shared: tuple[Place, ir.Value],
        places: Sequence[Place],
    ) -> None:
        """The cell of every unit; its sums become the next layer's biases."""
        e, plan = self.emit, self.plan
        (h, h_start), sums = shared
        cells = [
            (buffer, e.mul(e.add(b, layer.state * plan.stack.batch), size))
            for buffer, size in zip(self.buffers.states[1:], plan.stack.sizes[1:], strict=True)
        ]

        def one(u: ir.Value) -> None:
            at = [e.add(u, block * plan.stack.hidden) for block in range(plan.stack.cell.blocks)]
            own = [e.load(sums, i) for i in at]
            states = [e.load(h, e.add(h_start, u))] if plan.stack.cell.reads_h else []
            states += [e.load(buffer, e.add(start, u)) for buffer, start in cells]
            h_next, *others = plan.stack.cell.step(e, own, states)
            for buffer, start in places:
                e.store(h_next, buffer, e.add(start, u))
            for (buffer, start), value in zip(cells, others, strict=True):
                e.store(value, buffer, e.add(start, u))
            for i in at:
                e.store(self._bias(following.biases, i), sums, i)

        e.for_own(plan.stack.hidden, one)
        if layer.hr:
            self._clear(h, h_start)
        e.barrier()

    def _clear(self, target: ir.Value, start: ir.Value) -> None:
        e, outputs = self.emit, self.plan.stack.outputs
        e.for_own(outputs, lambda i: e.store(e.scalar(0.0), target, e.add(start, i)))

    def _bias(self, start: int, i: ir.Value) -> ir.Value:
        return self.emit.load(self.constants.biases, self.emit.add(i, start))


def copy_states(
    e: ThreadEmitter,
    stack: Stack,
    b: ir.Value,
    buffers: ScanBuffers,
    own: Sequence[Sequence[int]],
) -> None:
    """Copies what a kernel is given of a batch entry's states.

    Args:
        own: for the first of the states, the rows that are not copied; none of the others.
    """
    for number, size in enumerate(stack.sizes):
        for row in range(stack.rows):
            if number < len(own) and row in own[number]:
                continue
            at = e.mul(e.add(b, row * stack.batch), size)
            _copy(e, (buffers.given[number], at), (buffers.states[number], at), size)


def _copy(e: ThreadEmitter, source: Place, target: Place, count: int) -> None:
    (a, s0), (b, t0) = source, target
    e.for_own(count, lambda i: e.store(e.load(a, e.add(s0, i)), b, e.add(t0, i)))
