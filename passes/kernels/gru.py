"""The GRU kernel: a chunk of any number of steps, all layers of a stack, in one dispatch.

    for chunk of time_chunk steps:
        for layer:
            gi[t] = W_ih x[t] + b_ih (+ b_hh of r and z)    # all steps: W_ih is read once a chunk
            for t in chunk:
                gh = W_hh h (+ b_hh of n)
                r  = sigmoid(gi_r + gh_r);  z = sigmoid(gi_z + gh_z);  n = tanh(gi_n + r * gh_n)
                h  = (1 - z) * n + z * h;   y[t] = h

Rows pruned from a matrix have no panel: their outputs hold the bias from the start and are never
written. The state lives in the result buffer; gi, gh and the sequence between layers in scratch.
Source: GRU as in PyTorch's `nn.GRU`; the fused scan is RTMobile's (arXiv 2002.11474, IV-B).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.activation import gru_blend, sigmoid, tanh
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.gru_plan import GRUStackPlan, LayerPlan, LiveGatePlan
from rtmobile_iree.passes.kernels.panels import Constants, PanelKernel, Vectors
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.schedule import Schedule

# values of `size` elements from an offset on
Piece = Callable[[ir.Value, int], ir.Value]


@dataclass(frozen=True)
class GRUBuffers:
    """Flat f32 memrefs: x [T, B, I], state [L, B, H] in; y [T, B, H], state, scratch out."""

    x: ir.Value
    state: ir.Value
    y: ir.Value
    next_state: ir.Value
    scratch: ir.Value


def scratch_elements(plan: GRUStackPlan, steps: ir.Value) -> ir.Value:
    """Size of the scratch buffer for a call of `steps` steps (index value), in f32 elements."""
    e = Emitter(1)
    slots = e.min(steps, e.index(plan.time_chunk))
    return e.add(e.mul(slots, plan.per_slot), plan.fixed)


@dataclass(frozen=True)
class GRUKernel:
    """Emits the loop nest of the module docstring for one stack plan; `steps`: T (index value)."""

    emit: Emitter
    schedule: Schedule
    plan: GRUStackPlan
    constants: Constants
    buffers: GRUBuffers
    steps: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan = self.emit, self.plan
        zero = e.index(0)
        elements = plan.states * plan.batch * plan.hidden
        e.copy(self.buffers.state, zero, self.buffers.next_state, zero, elements)
        for layer in plan.layers:
            self._prepare(layer)

        def one_chunk(first: ir.Value) -> None:
            count = e.min(e.sub(self.steps, first), e.index(plan.time_chunk))
            for number, layer in enumerate(plan.layers):
                self._project(layer, number == 0, first, count)
                self._scan(layer, number == len(plan.layers) - 1, first, count)

        e.loop(0, self.steps, plan.time_chunk, [], one_chunk)

    def _slots(self) -> ir.Value:
        return self.emit.min(self.steps, self.emit.index(self.plan.time_chunk))

    def _per_slot(self, start: int) -> ir.Value:
        """Scratch offset of a buffer in the part that grows with the slots."""
        e = self.emit
        return e.add(e.mul(self._slots(), start), self.plan.fixed)

    def _prepare(self, layer: LayerPlan) -> None:
        """Writes, once a dispatch, whatever no panel and no live gate will write."""
        e, batch = self.emit, self.plan.batch
        if layer.ih_start is not None:
            vectors = e.mul(self._slots(), batch)
            self._fill(layer.ih_start, self._per_slot(layer.gi), vectors, layer.gates)
        if layer.hh_start is not None:
            self._fill(layer.hh_start, e.index(layer.gh), e.index(batch), layer.gates)
        if layer.live is not None:
            live, one = layer.live, e.index(1)
            self._fill(live.r_start, e.index(live.r), one, live.counts[2] + 1)
            self._fill(live.z_start, e.index(live.z), one, self.plan.hidden)
            self._fill(live.n_start, e.index(live.n), one, self.plan.hidden)

    def _fill(self, start: int, target: ir.Value, count: ir.Value, length: int) -> None:
        e = self.emit

        def one(i: ir.Value) -> None:
            to = e.add(target, e.mul(i, length))
            e.copy(self.constants.values, e.index(start), self.buffers.scratch, to, length)

        e.loop(0, count, 1, [], one)

    def _project(self, layer: LayerPlan, is_first: bool, first: ir.Value, count: ir.Value) -> None:
        """gi[t, b] = W_ih x[t, b] + bias for the chunk's steps."""
        e, plan = self.emit, self.plan
        source = self.buffers.x if is_first else self.buffers.scratch
        pitch = plan.inputs if is_first else plan.hidden
        origin = e.mul(first, plan.batch * pitch) if is_first else self._per_slot(plan.sequence)
        target = self._per_slot(layer.gi)

        def vectors_at(vector: ir.Value, tile: int) -> Vectors:
            lanes = [e.add(vector, v) for v in range(tile)]
            return Vectors(
                source,
                [e.add(origin, e.mul(lane, pitch)) for lane in lanes],
                self.buffers.scratch,
                [e.add(target, e.mul(lane, layer.gates)) for lane in lanes],
            )

        self._panels().matmul(layer.ih, e.mul(count, plan.batch), vectors_at)

    def _scan(self, layer: LayerPlan, is_last: bool, first: ir.Value, count: ir.Value) -> None:
        e, plan = self.emit, self.plan
        row = plan.batch * plan.hidden
        target = self.buffers.y if is_last else self.buffers.scratch
        origin = e.mul(first, row) if is_last else self._per_slot(plan.sequence)
        gi = self._per_slot(layer.gi)

        def step(t: ir.Value) -> None:
            self._recur(layer)

            def entry(b: ir.Value) -> None:
                vector = e.add(e.mul(t, plan.batch), b)
                self._unit_loop(
                    layer,
                    e.add(gi, e.mul(vector, layer.gates)),
                    e.add(e.mul(b, layer.gates), layer.gh),
                    e.mul(e.add(b, layer.state * plan.batch), plan.hidden),
                    target,
                    e.add(origin, e.mul(vector, plan.hidden)),
                )

            e.loop(0, plan.batch, 1, [], entry)

        e.loop(0, count, 1, [], step)

    def _recur(self, layer: LayerPlan) -> None:
        """gh[b] = W_hh h[b] + bias, weights loaded once for a tile of batch entries."""
        e, plan = self.emit, self.plan
        first = 0
        while first < plan.batch:
            tile = self.schedule.vector_tile
            while tile > plan.batch - first:
                tile //= 2
            lanes = range(first, first + tile)
            vectors = Vectors(
                self.buffers.next_state,
                [e.index((layer.state * plan.batch + b) * plan.hidden) for b in lanes],
                self.buffers.scratch,
                [e.index(layer.gh + b * layer.gates) for b in lanes],
            )
            self._panels().matvec(layer.hh, vectors)
            first += tile

    def _unit_loop(
        self,
        layer: LayerPlan,
        gi: ir.Value,
        gh: ir.Value,
        state: ir.Value,
        target: ir.Value,
        y: ir.Value,
    ) -> None:
        """Gates and state of one step and batch entry; gi, gh, state, y: offsets of its vectors."""
        e, hidden = self.emit, self.plan.hidden
        if layer.live is not None:
            self._live_gates(layer.live, gi, gh)

        def units(u: ir.Value, size: int) -> None:
            h = e.vload(self.buffers.next_state, e.add(state, u), size)
            live = layer.live
            h = self._every_gate(gi, gh, u, h) if live is None else self._blend(live, u, h)
            e.vstore(h, self.buffers.next_state, e.add(state, u))
            e.vstore(h, target, e.add(y, u))

        e.pieces(hidden, units)

    def _every_gate(self, gi: ir.Value, gh: ir.Value, unit: ir.Value, h: ir.Value) -> ir.Value:
        """The next state of units [unit, unit + size), all three gates computed."""
        e, size = self.emit, ir.VectorType(h.type).shape[0]

        def load(gate: int) -> tuple[ir.Value, ir.Value]:
            return self._pair(gi, gh, e.add(unit, gate * self.plan.hidden), size)

        (gi_r, gh_r), (gi_z, gh_z), (gi_n, gh_n) = (load(gate) for gate in range(3))
        r = sigmoid(e, arith.addf(gi_r, gh_r), size)
        return gru_blend(e, arith.addf(gi_z, gh_z), e.fma(r, gh_n, gi_n), h, size)

    def _blend(self, live: LiveGatePlan, unit: ir.Value, h: ir.Value) -> ir.Value:
        """The next state from z and n of every unit: n + z * (h - n)."""
        e, size = self.emit, ir.VectorType(h.type).shape[0]
        z = e.vload(self.buffers.scratch, e.add(unit, live.z), size)
        n = e.vload(self.buffers.scratch, e.add(unit, live.n), size)
        return e.fma(z, arith.subf(h, n), n)

    def _live_gates(self, live: LiveGatePlan, gi: ir.Value, gh: ir.Value) -> None:
        """Computes the live gates and sends each to its unit."""
        e, scratch = self.emit, self.buffers.scratch
        r_count, z_count, n_count = live.counts

        def sum_sigmoid(first: int) -> Piece:
            def piece(i: ir.Value, size: int) -> ir.Value:
                return sigmoid(e, arith.addf(*self._pair(gi, gh, e.add(i, first), size)), size)

            return piece

        def new_gate(i: ir.Value, size: int) -> ir.Value:
            gi_n, gh_n = self._pair(gi, gh, e.add(i, r_count + z_count), size)
            r = e.vload(scratch, e.add(i, live.r), size)
            return tanh(e, e.fma(r, gh_n, gi_n), size)

        self._send(r_count, sum_sigmoid(0), live.results, live.r_targets, live.r)
        self._send(z_count, sum_sigmoid(r_count), live.results, live.z_units, live.z)
        self._send(n_count, new_gate, live.results, live.n_units, live.n)

    def _send(self, count: int, compute: Piece, results: int, places: int, target: int) -> None:
        """target[places[i]] = compute(i) for i in [0, count)."""
        e, scratch = self.emit, self.buffers.scratch
        e.pieces(count, lambda i, size: e.vstore(compute(i, size), scratch, e.add(i, results)))

        def one(i: ir.Value) -> None:
            place = e.load_index(self.constants.index, e.add(i, places))
            e.store(e.load(scratch, e.add(i, results)), scratch, e.add(place, target))

        e.loop(0, count, 1, [], one)

    def _pair(
        self, gi: ir.Value, gh: ir.Value, at: ir.Value, size: int
    ) -> tuple[ir.Value, ir.Value]:
        e, scratch = self.emit, self.buffers.scratch
        return e.vload(scratch, e.add(gi, at), size), e.vload(scratch, e.add(gh, at), size)

    def _panels(self) -> PanelKernel:
        return PanelKernel(self.emit, self.schedule, self.constants)
