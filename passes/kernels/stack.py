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
their outputs hold the bias from the start and are never written. gi, gh and the sequence between
layers stand in scratch. Who runs the chunks, and where the states live meanwhile, is `workers`'s.
Source: the fused scan is RTMobile's (arXiv 2002.11474, IV-B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rtmobile_iree.passes.kernels.cells import StepVectors
from rtmobile_iree.passes.kernels.dots import Quantized, quantize
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.panels import PanelKernel
from rtmobile_iree.passes.kernels.plan import MatrixPlan
from rtmobile_iree.passes.kernels.stack_plan import LayerPlan, StackPlan, Turns
from rtmobile_iree.passes.kernels.sums import Constants, Vectors
from rtmobile_iree.passes.kernels.team import Team
from torch_mlir import ir

from rtmobile_iree.schedule import Schedule

# Units whose gates are computed side by side, where a register holds fewer: their chains of
# operations wait less for each other. By llvm-mca for Cortex-A76 (`rtmobile inspect --cycles`) 8
# units of a GRU in f32 take 83 cycles so, twice 4 take 107, and 16 gain nothing more; 16 in f16
# take 60, twice 8 take 67. In f32's elements.
UNITS_TOGETHER = 8


@dataclass(frozen=True)
class StackBuffers:
    """Flat memrefs of one worker, of what is computed in; x, y and the last may differ.

    Attributes:
        x: [steps of a chunk, B, I], the first layer's input.
        states: [L, B, .] each, replaced step by step.
        sums: the shared part of scratch, gi and gh.
        own: this worker's part of scratch.
        y: [steps of a chunk, B, P], the last layer's output; None where it stays in `own`, in the
            sequence.
        quantized: i8 scratch [slots, B, byte_pitch], where some inputs are quantized.
    """

    x: ir.Value
    states: tuple[ir.Value, ...]
    sums: ir.Value
    own: ir.Value
    y: ir.Value | None
    quantized: ir.Value | None = None


@dataclass(frozen=True)
class Rows:
    """One vector a batch entry: [B, pitch] from an offset of a flat memref."""

    buffer: ir.Value
    start: ir.Value | int
    pitch: int


# vector of the output sequence -> (memref, offset) it goes to
Target = Callable[[ir.Value], tuple[ir.Value, ir.Value]]


@dataclass(frozen=True)
class StackKernel:
    """Emits the loop nest of the module docstring for some layers of a stack plan.

    Attributes:
        layers: those it runs, in order.
        steps: T (index value).
        team: those who share the work of a chunk; None where this worker is alone.
    """

    emit: Emitter
    schedule: Schedule
    plan: StackPlan
    layers: Sequence[LayerPlan]
    constants: Constants
    buffers: StackBuffers
    steps: ir.Value
    team: Team | None = None

    def prepare_sums(self) -> None:
        """Writes what gi and gh hold of pruned rows: once a dispatch, no panel will."""
        e, plan = self.emit, self.plan
        for layer in self.layers:
            if layer.ih_start is not None:
                vectors = e.mul(self._slots(), plan.batch)
                self._fill(layer.ih_start, self._gi(layer), vectors, layer.ih.outputs)
            if layer.hh_start is not None:
                self._fill_turns(layer.hh_start, layer.gh, layer.hh.outputs)
            projection = layer.projection
            if projection is not None and projection.start is not None:
                self._fill_turns(projection.start, projection.outputs, plan.outputs)

    def prepare_own(self) -> None:
        """Writes what the cells need in this worker's scratch, once a dispatch."""
        for layer in self.layers:
            layer.cell.prepare(self.emit, self.constants, self.buffers.own)

    def chunk(self, count: ir.Value) -> None:
        """So many steps of its layers."""
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            if "project" in self.schedule.parts:
                self._project(layer, number == 0, count)
            self._scan(layer, number == last, count)

    def _slots(self) -> ir.Value:
        return self.plan.slots(self.emit, self.steps)

    def _gi(self, layer: LayerPlan) -> ir.Value:
        return self.plan.shared.at_slots(self.emit, self._slots(), layer.gi)

    def sequence(self) -> ir.Value:
        return self.plan.own.at_slots(self.emit, self._slots(), self.plan.sequence)

    def _input_scales(self) -> ir.Value:
        return self.plan.own.at_slots(self.emit, self._slots(), self.plan.input_scales)

    def _fill_turns(self, start: int, target: Turns, length: int) -> None:
        batch = self.emit.index(self.plan.batch)
        for turn in range(target.count):
            self._fill(start, self.emit.index(target.start + turn * target.size), batch, length)

    def _fill(self, start: int, target: ir.Value, count: ir.Value, length: int) -> None:
        e = self.emit

        def one(i: ir.Value) -> None:
            to = e.add(target, e.mul(i, length))
            e.copy(self.constants.values, e.index(start), self.buffers.sums, to, length)

        e.loop(0, count, 1, [], one)

    def _project(self, layer: LayerPlan, is_first: bool, count: ir.Value) -> None:
        """gi[t, b] = W_ih x[t, b] + bias for the chunk's steps."""
        e, plan = self.emit, self.plan
        source = self.buffers.x if is_first else self.buffers.own
        pitch = layer.ih.inputs
        origin = e.index(0) if is_first else self.sequence()
        target = self._gi(layer)
        vectors = e.mul(count, plan.batch)
        if layer is plan.layers[0] and plan.narrow_input is not None:
            source, origin = self.buffers.own, self._narrow(plan.narrow_input, vectors)
        quantized = layer.ih.quantized_input
        if quantized:
            self._quantize_all(layer.ih, (source, origin, pitch), vectors)

        def vectors_at(vector: ir.Value, tile: int) -> Vectors:
            lanes = [e.add(vector, v) for v in range(tile)]
            return Vectors(
                source,
                [e.add(origin, e.mul(lane, pitch)) for lane in lanes],
                self.buffers.sums,
                [e.add(target, e.mul(lane, layer.ih.outputs)) for lane in lanes],
                self._quantized(lanes) if quantized else None,
            )

        most = plan.time_chunk * plan.batch
        self._panels().matmul(layer.ih, vectors, most, vectors_at)

    def _narrow(self, start: int, vectors: ir.Value) -> ir.Value:
        """Copies x to this worker's scratch in what is computed in; returns where it begins."""
        e, pitch = self.emit, self.plan.inputs
        target = self.plan.own.at_slots(e, self._slots(), start)

        def one(v: ir.Value) -> None:
            at = e.mul(v, pitch)
            e.copy(self.buffers.x, at, self.buffers.own, e.add(target, at), pitch)

        e.loop(0, vectors, 1, [], one)
        return target

    def _quantize_all(
        self, matrix: MatrixPlan, source: tuple[ir.Value, ir.Value, int], vectors: ir.Value
    ) -> None:
        """Quantizes inputs; `source`: memref, offset of the first vector, and their pitch."""
        e = self.emit
        buffer, origin, pitch = source
        scales = self._input_scales()

        def one(v: ir.Value) -> None:
            at = e.add(origin, e.mul(v, pitch))
            scale = self._quantize(matrix, (buffer, at), self._bytes_at(v))
            e.store(scale, self.buffers.own, e.add(scales, v))

        e.loop(0, vectors, 1, [], one)

    def _quantize(
        self, matrix: MatrixPlan, source: tuple[ir.Value, ir.Value], at: ir.Value
    ) -> ir.Value:
        """Quantizes one input of a matrix to the byte scratch at `at`; returns its scale."""
        assert self.schedule.dot is not None
        target = (self.buffers.quantized, at)
        return quantize(self.emit, self.schedule.dot, source, target, matrix.inputs)

    def _bytes_at(self, vector: ir.Value) -> ir.Value:
        """Where a quantized vector stands, after the moved inputs of a step."""
        return self.emit.add(self.emit.mul(vector, self.plan.byte_pitch), self.plan.staging)

    def _quantized(self, lanes: Sequence[ir.Value]) -> Quantized:
        """What `_quantize_all` wrote for these vectors."""
        e, scales = self.emit, self._input_scales()
        return Quantized(
            self.buffers.quantized,
            [self._bytes_at(lane) for lane in lanes],
            [e.load(self.buffers.own, e.add(scales, lane)) for lane in lanes],
            self.plan.slot_area(e, self._slots()),
        )

    def _scan(self, layer: LayerPlan, is_last: bool, count: ir.Value) -> None:
        e, plan, projection = self.emit, self.plan, layer.projection
        target, origin = self.buffers.own, self.sequence()
        if is_last and self.buffers.y is not None:
            target, origin = self.buffers.y, e.index(0)
        gi, sums = self._gi(layer), self.buffers.sums

        def step(t: ir.Value) -> None:
            gh = Rows(sums, layer.gh.at(e, t), layer.hh.outputs)
            if "recur" in self.schedule.parts:
                state = replace(self._state(layer), start=layer.hh_from)
                self._times(layer.hh, state, gh, t if layer.to_and_fro else None)

            def output(b: ir.Value) -> tuple[ir.Value, ir.Value]:
                vector = e.add(e.mul(t, plan.batch), b)
                return target, e.add(origin, e.mul(vector, plan.outputs))

            def entry(b: ir.Value) -> None:
                vector = e.add(e.mul(t, plan.batch), b)
                own_gi = e.add(gi, e.mul(vector, layer.ih.outputs))
                self._cell(layer, b, (own_gi, e.add(e.mul(b, gh.pitch), gh.start)), output)

            if "gates" in self.schedule.parts:
                e.loop(0, plan.batch, 1, [], entry)
            if projection is not None and "recur" in self.schedule.parts:
                outputs = Rows(sums, projection.outputs.at(e, t), plan.outputs)
                self._project_units(layer, projection.matrix, outputs, output)

        e.loop(0, count, 1, [], step)

    def _cell_emitter(self, layer: LayerPlan) -> Emitter:
        """Of f16, where the layer's inputs were rounded to bytes and the target computes in it."""
        e = self.emit
        if e.is_half or not layer.half_cell:
            return e
        return replace(e, width=2 * e.width, element="f16")

    def _cell(
        self, layer: LayerPlan, b: ir.Value, gates: tuple[ir.Value, ir.Value], output: Target
    ) -> None:
        """One step of one batch entry: gates and states, and where nothing follows, the output."""
        e, plan = self._cell_emitter(layer), self.plan
        entry = e.add(b, layer.state * plan.batch)
        sizes = zip(self.buffers.states, plan.state_sizes, strict=True)
        step = StepVectors(
            self.constants,
            self.buffers.sums,
            *gates,
            self.buffers.own,
            tuple((buffer, e.mul(entry, size)) for buffer, size in sizes),
            layer.ih_rows,
            layer.hh_rows,
        )
        layer.cell.begin(e, step)
        if layer.projection is None:
            targets = [step.states[0], output(b)]
        else:
            units = e.add(e.mul(b, plan.hidden), layer.projection.units)
            targets = [(self.buffers.own, units)]

        def units_at(u: ir.Value, size: int) -> None:
            h = layer.cell.units(e, step, u, size)
            for buffer, offset in targets:
                e.vstore(h, buffer, e.add(offset, u))

        units = UNITS_TOGETHER * (2 if e.is_half else 1)
        e.pieces(plan.hidden, units_at, max(1, units // e.width))

    def _project_units(
        self, layer: LayerPlan, matrix: MatrixPlan, outputs: Rows, output: Target
    ) -> None:
        """h[b] = W_hr units[b], to the state and the output."""
        e, plan = self.emit, self.plan
        assert layer.projection is not None
        self._times(matrix, Rows(self.buffers.own, layer.projection.units, plan.hidden), outputs)
        state = self._state(layer)

        def entry(b: ir.Value) -> None:
            source = e.add(e.mul(b, plan.outputs), outputs.start)
            own = (state.buffer, e.add(e.mul(b, plan.outputs), state.start))
            for buffer, offset in (own, output(b)):
                e.copy(outputs.buffer, source, buffer, offset, plan.outputs)

        e.loop(0, plan.batch, 1, [], entry)

    def _times(
        self, matrix: MatrixPlan, source: Rows, target: Rows, t: ir.Value | None = None
    ) -> None:
        """target[b] = matrix source[b] + bias, weights loaded once for a tile of batch entries.

        A team shares the work, and meets once all of it is done.

        Args:
            t: step (index value) of a matrix that is walked to and fro: what the last walk read
                last is read first by the next one, while it is in cache.
        """
        e, tiles = self.emit, self._tiles()
        for number, lanes in enumerate(tiles):
            turn = None if t is None else e.add(e.mul(t, len(tiles)), number)
            self._times_tile(matrix, source, target, lanes, turn)
        if self.team is not None:
            self.team.meet()

    def _tiles(self) -> list[range]:
        """Batch entries that share a load of a weight."""
        tiles: list[range] = []
        first, batch = 0, self.plan.batch
        while first < batch:
            tile = self.schedule.vector_tile
            while tile > batch - first:
                tile //= 2
            tiles.append(range(first, first + tile))
            first += tile
        return tiles

    def _times_tile(
        self,
        matrix: MatrixPlan,
        source: Rows,
        target: Rows,
        lanes: range,
        turn: ir.Value | None,
    ) -> None:
        e = self.emit
        inputs = [e.add(source.start, b * source.pitch) for b in lanes]
        quantized = None
        if matrix.quantized_input:
            offsets = [self._bytes_at(e.index(b)) for b in lanes]
            scales = [
                self._quantize(matrix, (source.buffer, at), to)
                for at, to in zip(inputs, offsets, strict=True)
            ]
            quantized = Quantized(self.buffers.quantized, offsets, scales, e.index(0))
        outputs = [e.add(target.start, b * target.pitch) for b in lanes]
        vectors = Vectors(source.buffer, inputs, target.buffer, outputs, quantized)
        self._panels().matvec(matrix, vectors, turn)

    def _state(self, layer: LayerPlan) -> Rows:
        """The layer's h."""
        plan = self.plan
        start = layer.state * plan.batch * plan.outputs
        return Rows(self.buffers.states[0], start, plan.outputs)

    def _panels(self) -> PanelKernel:
        return PanelKernel(self.emit, self.schedule, self.constants, self.team)
