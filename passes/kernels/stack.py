"""The kernel of recurrent layers: a chunk of any number of steps, a whole stack, in one dispatch.

    for chunk of time_chunk steps:
        for layer:
            gi[t] = W_ih x[t] + b_ih                       # all steps: W_ih is read once a chunk
            for t in chunk:
                gh = W_hh h + b_hh
                h, other states = cell(gi[t], gh, h, other states)
                h = W_hr h                                 # where the layer has a projection
                y[t] = h

The cell (cells.py) is a GRU's, an LSTM's or a plain RNN's. Rows pruned from a matrix have no panel:
their outputs hold the bias from the start and are never written. The states live in the result
buffers; gi, gh and the sequence between layers in scratch.
Source: the fused scan is RTMobile's (arXiv 2002.11474, IV-B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.cells import StepVectors
from rtmobile_iree.passes.kernels.dots import Quantized, quantize
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.panels import Constants, PanelKernel, Vectors
from rtmobile_iree.passes.kernels.plan import MatrixPlan
from rtmobile_iree.passes.kernels.stack_plan import LayerPlan, Projection, StackPlan
from torch_mlir import ir

from rtmobile_iree.schedule import Schedule

# Units whose gates are computed side by side, where a register holds fewer: their chains of
# operations wait less for each other. By llvm-mca for Cortex-A76 (`rtmobile inspect --cycles`) 8
# units of a GRU take 83 cycles so, twice 4 take 107, and 16 gain nothing more.
UNITS_TOGETHER = 8


@dataclass(frozen=True)
class StackBuffers:
    """Flat f32 memrefs: x [T, B, I], states [L, B, .] in; y [T, B, P], states, scratch out.

    Attributes:
        quantized: i8 scratch [slots, B, byte_pitch], where some inputs are quantized.
    """

    x: ir.Value
    states: tuple[ir.Value, ...]
    y: ir.Value
    next_states: tuple[ir.Value, ...]
    scratch: ir.Value
    quantized: ir.Value | None = None


@dataclass(frozen=True)
class Rows:
    """One vector a batch entry: [B, pitch] from an offset of a flat memref."""

    buffer: ir.Value
    start: int
    pitch: int


# vector of the output sequence -> (memref, offset) it goes to
Target = Callable[[ir.Value], tuple[ir.Value, ir.Value]]


def scratch_elements(plan: StackPlan, steps: ir.Value, per_slot: int, fixed: int) -> ir.Value:
    """Size of a scratch buffer for a call of `steps` steps (index value)."""
    e = Emitter(1)
    slots = e.min(steps, e.index(plan.time_chunk))
    return e.add(e.mul(slots, per_slot), fixed)


@dataclass(frozen=True)
class StackKernel:
    """Emits the loop nest of the module docstring for one stack plan; `steps`: T (index value)."""

    emit: Emitter
    schedule: Schedule
    plan: StackPlan
    constants: Constants
    buffers: StackBuffers
    steps: ir.Value

    def body(self) -> None:
        """The whole kernel."""
        e, plan = self.emit, self.plan
        zero = e.index(0)
        both = zip(self.buffers.states, self.buffers.next_states, strict=True)
        for number, (before, after) in enumerate(both):
            e.copy(before, zero, after, zero, plan.state_elements(number))
        for layer in plan.layers:
            self._prepare(layer)

        def one_chunk(first: ir.Value) -> None:
            count = e.min(e.sub(self.steps, first), e.index(plan.time_chunk))
            for number, layer in enumerate(plan.layers):
                if "project" in self.schedule.parts:
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
        """Writes, once a dispatch, whatever no panel and no cell will write."""
        e, batch = self.emit, self.plan.batch
        if layer.ih_start is not None:
            vectors = e.mul(self._slots(), batch)
            self._fill(layer.ih_start, self._per_slot(layer.gi), vectors, layer.ih.outputs)
        if layer.hh_start is not None:
            self._fill(layer.hh_start, e.index(layer.gh), e.index(batch), layer.hh.outputs)
        projection = layer.projection
        if projection is not None and projection.start is not None:
            outputs = e.index(projection.outputs)
            self._fill(projection.start, outputs, e.index(batch), self.plan.outputs)
        layer.cell.prepare(e, self.constants, self.buffers.scratch)

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
        pitch = plan.inputs if is_first else plan.outputs
        origin = e.mul(first, plan.batch * pitch) if is_first else self._per_slot(plan.sequence)
        target = self._per_slot(layer.gi)
        vectors = e.mul(count, plan.batch)
        quantized = layer.ih.quantized_input
        if quantized:
            self._quantize_all(layer.ih, (source, origin, pitch), vectors)

        def vectors_at(vector: ir.Value, tile: int) -> Vectors:
            lanes = [e.add(vector, v) for v in range(tile)]
            return Vectors(
                source,
                [e.add(origin, e.mul(lane, pitch)) for lane in lanes],
                self.buffers.scratch,
                [e.add(target, e.mul(lane, layer.ih.outputs)) for lane in lanes],
                self._quantized(lanes) if quantized else None,
            )

        self._panels().matmul(layer.ih, vectors, vectors_at)

    def _quantize_all(
        self, matrix: MatrixPlan, source: tuple[ir.Value, ir.Value, int], vectors: ir.Value
    ) -> None:
        """Quantizes inputs; `source`: memref, offset of the first vector, and their pitch."""
        e = self.emit
        buffer, origin, pitch = source
        scales = self._per_slot(self.plan.input_scales)

        def one(v: ir.Value) -> None:
            at = e.add(origin, e.mul(v, pitch))
            scale = self._quantize(matrix, (buffer, at), self._bytes_at(v))
            e.store(scale, self.buffers.scratch, e.add(scales, v))

        e.loop(0, vectors, 1, [], one)

    def _quantize(
        self, matrix: MatrixPlan, source: tuple[ir.Value, ir.Value], at: ir.Value
    ) -> ir.Value:
        """Quantizes one input of a matrix to the byte scratch at `at`; returns its scale."""
        assert self.schedule.dot is not None
        target = (self.buffers.quantized, at)
        return quantize(self.emit, self.schedule.dot, source, target, matrix.inputs)

    def _bytes_at(self, vector: ir.Value) -> ir.Value:
        """Where a quantized vector stands, after the staging area."""
        return self.emit.add(self.emit.mul(vector, self.plan.byte_pitch), self.plan.staging)

    def _quantized(self, lanes: Sequence[ir.Value]) -> Quantized:
        """What `_quantize_all` wrote for these vectors."""
        e, scales = self.emit, self._per_slot(self.plan.input_scales)
        return Quantized(
            self.buffers.quantized,
            [self._bytes_at(lane) for lane in lanes],
            [e.load(self.buffers.scratch, e.add(scales, lane)) for lane in lanes],
        )

    def _scan(self, layer: LayerPlan, is_last: bool, first: ir.Value, count: ir.Value) -> None:
        e, plan = self.emit, self.plan
        target = self.buffers.y if is_last else self.buffers.scratch
        row = plan.batch * plan.outputs
        origin = e.mul(first, row) if is_last else self._per_slot(plan.sequence)
        gi = self._per_slot(layer.gi)
        state, gh = self._state(layer), Rows(self.buffers.scratch, layer.gh, layer.hh.outputs)

        def step(t: ir.Value) -> None:
            if "recur" in self.schedule.parts:
                self._times(layer.hh, state, gh)

            def output(b: ir.Value) -> tuple[ir.Value, ir.Value]:
                vector = e.add(e.mul(t, plan.batch), b)
                return target, e.add(origin, e.mul(vector, plan.outputs))

            def entry(b: ir.Value) -> None:
                vector = e.add(e.mul(t, plan.batch), b)
                self._cell(layer, b, e.add(gi, e.mul(vector, layer.ih.outputs)), output)

            if "gates" in self.schedule.parts:
                e.loop(0, plan.batch, 1, [], entry)
            if layer.projection is not None and "recur" in self.schedule.parts:
                self._project_units(layer, layer.projection, output)

        e.loop(0, count, 1, [], step)

    def _cell(self, layer: LayerPlan, b: ir.Value, gi: ir.Value, output: Target) -> None:
        """One step of one batch entry: gates and states, and where nothing follows, the output."""
        e, plan = self.emit, self.plan
        entry = e.add(b, layer.state * plan.batch)
        sizes = zip(self.buffers.next_states, plan.state_sizes, strict=True)
        step = StepVectors(
            self.constants,
            self.buffers.scratch,
            gi,
            e.add(e.mul(b, layer.hh.outputs), layer.gh),
            tuple((buffer, e.mul(entry, size)) for buffer, size in sizes),
            layer.ih_rows,
            layer.hh_rows,
        )
        layer.cell.begin(e, step)
        if layer.projection is None:
            targets = [step.states[0], output(b)]
        else:
            units = e.add(e.mul(b, plan.hidden), layer.projection.units)
            targets = [(self.buffers.scratch, units)]

        def units_at(u: ir.Value, size: int) -> None:
            h = layer.cell.units(e, step, u, size)
            for buffer, offset in targets:
                e.vstore(h, buffer, e.add(offset, u))

        e.pieces(plan.hidden, units_at, max(1, UNITS_TOGETHER // e.width))

    def _project_units(self, layer: LayerPlan, projection: Projection, output: Target) -> None:
        """h[b] = W_hr units[b], to the state and the output."""
        e, plan, scratch = self.emit, self.plan, self.buffers.scratch
        outputs = Rows(scratch, projection.outputs, plan.outputs)
        self._times(projection.matrix, Rows(scratch, projection.units, plan.hidden), outputs)
        state = self._state(layer)

        def entry(b: ir.Value) -> None:
            source = e.add(e.mul(b, plan.outputs), projection.outputs)
            own = (state.buffer, e.add(e.mul(b, plan.outputs), state.start))
            for buffer, offset in (own, output(b)):
                e.copy(scratch, source, buffer, offset, plan.outputs)

        e.loop(0, plan.batch, 1, [], entry)

    def _times(self, matrix: MatrixPlan, source: Rows, target: Rows) -> None:
        """target[b] = matrix source[b] + bias, weights loaded once for a tile of batch entries."""
        e, batch = self.emit, self.plan.batch
        first = 0
        while first < batch:
            tile = self.schedule.vector_tile
            while tile > batch - first:
                tile //= 2
            lanes = range(first, first + tile)
            inputs = [e.index(source.start + b * source.pitch) for b in lanes]
            quantized = None
            if matrix.quantized_input:
                offsets = [self._bytes_at(e.index(b)) for b in lanes]
                scales = [
                    self._quantize(matrix, (source.buffer, at), to)
                    for at, to in zip(inputs, offsets, strict=True)
                ]
                quantized = Quantized(self.buffers.quantized, offsets, scales)
            vectors = Vectors(
                source.buffer,
                inputs,
                target.buffer,
                [e.index(target.start + b * target.pitch) for b in lanes],
                quantized,
            )
            self._panels().matvec(matrix, vectors)
            first += tile

    def _state(self, layer: LayerPlan) -> Rows:
        """The layer's h."""
        plan = self.plan
        start = layer.state * plan.batch * plan.outputs
        return Rows(self.buffers.next_states[0], start, plan.outputs)

    def _panels(self) -> PanelKernel:
        return PanelKernel(self.emit, self.schedule, self.constants)
