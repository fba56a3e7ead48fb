"""Everything static about a stack kernel: constants in the pool, buffers in scratch.

Scratch holds what all workers share, the sums gi and gh, then a part of its own for each worker,
then what layers hand on in a wavefront. The parts have a fixed share and one that grows with the
steps of a chunk (`slots`), so that a streaming call of one step does not pay for the memory of
eight. Within a part:

    offset of a buffer = fixed + slots * per_slot
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from rtmobile_iree.passes.kernels.cells import Cell, Layer, PlanCell, Scratch
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.expand import Expansion, plan_rows
from rtmobile_iree.passes.kernels.plan import LINE, ConstantPool, MatrixPlan, plan_matrix
from rtmobile_iree.passes.kernels.sharing import Sharing, plan_sharing
from rtmobile_iree.passes.kernels.tall import MOST_COLUMNS, moved_columns
from rtmobile_iree.passes.kernels.wavefront import RING
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import IntegerDot, Schedule


@dataclass(frozen=True)
class Turns:
    """Shared sums of a step: so many buffers of a size, from `start` on, that steps take in turn.

    A team has two: while one worker still reads a step's sums another may write the next step's.
    """

    start: int
    size: int
    count: int

    def at(self, e: Emitter, t: ir.Value) -> ir.Value:
        """Offset of the buffer of step t (index value)."""
        turn = e.index(0) if self.count == 1 else arith.remui(t, e.index(self.count))
        return e.add(e.mul(turn, self.size), self.start)


@dataclass(frozen=True)
class Projection:
    """The matrix W_hr [P, H] after a cell.

    Attributes:
        start: offset in values of zeros for pruned rows; None when all are written.
        units: own offset of its inputs [B, H].
        outputs: its outputs [B, P].
    """

    matrix: MatrixPlan
    start: int | None
    units: int
    outputs: Turns


@dataclass(frozen=True)
class LayerPlan:
    """One layer.

    Attributes:
        state: which row of the states the layer owns.
        hh_from: offset in the states of what the columns of hh are counted from.
        ih_rows, hh_rows: how the outputs of ih and hh are read; None where they have no gaps.
        ih_start, hh_start: offsets in values: outputs of pruned rows; None when all are written.
        gi: shared per slot where the projected inputs [slots, B, outputs of ih] start.
        gh: the recurrent sums [B, outputs of hh].
        projection: None where the units are the outputs.
        to_and_fro: whether hh is walked from its last panels to its first at every other step.
        half_cell: whether the cell is computed in f16, between sums and states of f32.
    """

    state: int
    hh_from: int
    ih: MatrixPlan
    hh: MatrixPlan
    ih_rows: Expansion | None
    hh_rows: Expansion | None
    ih_start: int | None
    hh_start: int | None
    gi: int
    gh: Turns
    cell: Cell
    projection: Projection | None
    to_and_fro: bool
    half_cell: bool


@dataclass(frozen=True)
class StackPlan:
    """A stack of layers.

    Attributes:
        batch, inputs, hidden, outputs: B, I of the first layer, H, P (H without a projection).
        state_rows: L of the state tensors.
        state_sizes: last dimension of each state tensor: of h, and of c where there is one.
        sequence: own per slot where [slots, B, P] between layers starts.
        input_scales: own per slot of the scales [slots, B] of quantized inputs.
        states: own offsets of the state tensors, where a team's members have their own.
        narrow_input: own per slot where the first layer's input [slots, B, I] stands in f16; None
            where it is read as it comes.
        shared, own: how large those parts are.
        sharing: who runs what.
        byte_pitch: bytes a quantized input takes in [slots, B, byte_pitch]; 0 when none is.
        staging: bytes before those, for the moved inputs of a step; see `staging.py`.
        slot_staging: bytes per slot after those, for the moved inputs of a chunk.
        time_chunk: most slots there are.
    """

    batch: int
    inputs: int
    hidden: int
    outputs: int
    state_rows: int
    state_sizes: tuple[int, ...]
    layers: tuple[LayerPlan, ...]
    sequence: int
    input_scales: int
    states: tuple[int, ...]
    narrow_input: int | None
    shared: Scratch
    own: Scratch
    sharing: Sharing
    byte_pitch: int
    staging: int
    slot_staging: int
    time_chunk: int

    def state_elements(self, number: int) -> int:
        """Elements of a whole state tensor [L, B, .]."""
        return self.state_rows * self.batch * self.state_sizes[number]

    def slots(self, e: Emitter, steps: ir.Value) -> ir.Value:
        """Slots of a call of `steps` steps (index values)."""
        return e.min(steps, e.index(self.time_chunk))

    def scratch_elements(self, e: Emitter, slots: ir.Value) -> ir.Value:
        """Elements of scratch (index value)."""
        per_slot, fixed = self.most_scratch()
        return e.add(e.mul(slots, per_slot), fixed)

    def ring(self, e: Emitter, slots: ir.Value, layer: int) -> tuple[ir.Value, ir.Value]:
        """Offset in scratch of the outputs of a layer, `RING` chunks, and the size of one."""
        chunk = e.mul(slots, self.batch * self.outputs)
        parts = e.add(self.shared.elements(e, slots), self._all_own(e, slots))
        return e.add(parts, e.mul(chunk, layer * RING)), chunk

    def _all_own(self, e: Emitter, slots: ir.Value) -> ir.Value:
        return e.mul(self.own.elements(e, slots), self.sharing.workers)

    def byte_elements(self, e: Emitter, slots: ir.Value) -> ir.Value:
        """Bytes of one worker's quantized inputs (index value)."""
        per_slot, fixed = self.most_bytes()
        return e.add(e.mul(slots, per_slot), fixed)

    def most_bytes(self) -> tuple[int, int]:
        """Bytes of one worker's quantized inputs: a slot, and besides."""
        return self.batch * self.byte_pitch + self.slot_staging, self.staging

    def slot_area(self, e: Emitter, slots: ir.Value) -> ir.Value:
        """Offset of `slot_staging`."""
        return e.add(e.mul(slots, self.batch * self.byte_pitch), self.staging)

    def most_scratch(self) -> tuple[int, int]:
        """Elements of scratch: a slot, and besides."""
        own, shared, workers = self.own, self.shared, self.sharing.workers
        rings = RING * (len(self.layers) - 1) if self.sharing.is_wavefront else 0
        per_slot = shared.per_slot + workers * own.per_slot + rings * self.batch * self.outputs
        return per_slot, shared.fixed + workers * own.fixed


def plan_stack(
    pool: ConstantPool,
    layers: list[Layer],
    cell: PlanCell,
    state_shapes: list[tuple[int, int, int]],
    schedule: Schedule,
) -> StackPlan:
    """Lays out a stack of layers, first layer first.

    Args:
        cell: plans a layer's cell.
        state_shapes: [L, B, .] of each state: [L, B, P] of h, then [L, B, H] of c.
    """
    sharing = plan_sharing([_bytes_a_step(layer) for layer in layers], schedule.workers)
    buffers = Buffers(Scratch(), Scratch(), sharing)
    rows, batch, outputs = state_shapes[0]
    hidden = outputs if layers[0].w_hr is None else layers[0].w_hr.shape[1]
    plans = tuple(_plan_layer(pool, buffers, layer, cell, batch, schedule) for layer in layers)
    own = buffers.own
    sequence = own.take_per_slot(batch * outputs)
    byte_pitch = max(_quantized_columns(plan) for plan in plans)
    input_scales = own.take_per_slot(batch) if byte_pitch else 0
    chunk = _time_chunk(layers, schedule)
    staging = max(_staging(plan, min(batch, schedule.vector_tile)) for plan in plans)
    slot_staging = max(_slot_staging(plan, batch, chunk) for plan in plans)
    in_own = state_shapes if sharing.stripes else []
    states = tuple(own.take(math.prod(shape)) for shape in in_own)
    inputs = layers[0].w_ih.shape[1]
    narrow_input = own.take_per_slot(batch * inputs) if schedule.element == "f16" else None
    return StackPlan(
        batch, inputs, hidden, outputs, rows,
        tuple(shape[2] for shape in state_shapes), plans, sequence, input_scales, states,
        narrow_input, buffers.shared, own, sharing, byte_pitch, staging, slot_staging,
        chunk,
    )  # fmt: skip


@dataclass(frozen=True)
class Buffers:
    """Scratch while it is being handed out.

    A worker alone runs one layer after another, and the sums of all stand in the same place, unless
    pruned rows need theirs to stay: the less memory a call takes, the more of it is in cache, and
    an allocator that gives large blocks back to the system has pages to clear in every call.

    Attributes:
        reused: where sums of so many elements stand already.
    """

    shared: Scratch
    own: Scratch
    sharing: Sharing
    reused: dict[tuple[str, int], int] = field(default_factory=dict)

    def take_gi(self, elements: int, stays: bool) -> int:
        """Sums of a chunk, per slot of the shared part."""
        return self._take("gi", self.shared.take_per_slot, elements, stays)

    def take_turns(self, elements: int, stays: bool) -> Turns:
        """Sums of a step, in the shared part."""
        if not self.sharing.stripes:
            return Turns(self._take("gh", self.shared.take, elements, stays), 0, 1)
        first, second = (self.shared.take(elements) for _ in range(2))
        return Turns(first, second - first, 2)

    def _take(self, name: str, take: Callable[[int], int], elements: int, stays: bool) -> int:
        if stays or self.sharing.workers > 1:
            return take(elements)
        if (name, elements) not in self.reused:
            self.reused[name, elements] = take(elements)
        return self.reused[name, elements]


def _bytes_a_step(layer: Layer) -> float:
    """Weights a layer reads a step; those of its input are read once for several."""
    recurrent = layer.w_hh.value_bytes + (layer.w_hr.value_bytes if layer.w_hr else 0)
    return recurrent + layer.w_ih.value_bytes / 2


def _matrices(layer: LayerPlan) -> list[MatrixPlan]:
    return [layer.ih, layer.hh, *([layer.projection.matrix] if layer.projection else [])]


def _quantized_columns(layer: LayerPlan) -> int:
    """Columns of the widest matrix of a layer that takes its input as bytes, in cache lines."""
    widest = max((m.inputs for m in _matrices(layer) if m.quantized_input), default=0)
    return widest + -widest % LINE


def _staging(layer: LayerPlan, vectors: int) -> int:
    """Bytes for the moved inputs of a step's products."""
    each_step = [m.staging for m in _matrices(layer)[1:] if m.staging is not None]
    return max((staging.size(vectors) for staging in each_step), default=0)


def _slot_staging(layer: LayerPlan, batch: int, chunk: int) -> int:
    """Bytes for a step's share of the moved inputs of a chunk."""
    staging = layer.ih.staging
    return 0 if staging is None else -(-staging.size(chunk * batch) // chunk)


def _time_chunk(layers: list[Layer], schedule: Schedule) -> int:
    """Steps of a chunk."""
    w_ih, w_hh = (max(m.value_bytes for m in each) for each in
                  zip(*((layer.w_ih, layer.w_hh) for layer in layers), strict=True))  # fmt: skip
    return schedule.steps_together(w_ih, w_hh)


def _plan_layer(
    pool: ConstantPool,
    buffers: Buffers,
    layer: Layer,
    plan_cell: PlanCell,
    batch: int,
    schedule: Schedule,
) -> LayerPlan:
    is_half = schedule.element == "f16"
    width = schedule.vector_width if schedule.expand or is_half else 0
    rows, cell = plan_cell(pool, buffers.own, layer, width)
    where, dot = (rows.positions, rows.count), schedule.dot
    chunk_dot = dot if layer.w_ih.is_i4 else schedule.chunk_dot or dot
    ih, ih_rows = plan_rows(pool, layer.w_ih, rows.ih_bias, *where, chunk_dot, rows.block)
    w_hh, hh_from = layer.w_hh, layer.state * batch * layer.w_hh.shape[1]
    if is_half and hh_from + w_hh.shape[1] <= MOST_COLUMNS:
        w_hh, hh_from = moved_columns(w_hh, hh_from), 0
    hh, hh_rows = plan_rows(pool, w_hh, rows.hh_bias, *where, dot, rows.block)
    return LayerPlan(
        layer.state,
        hh_from,
        ih,
        hh,
        ih_rows,
        hh_rows,
        None if ih.complete else pool.add_values(rows.starts(rows.ih_bias)),
        None if hh.complete else pool.add_values(rows.starts(rows.hh_bias)),
        buffers.take_gi(batch * ih.outputs, stays=not ih.complete),
        buffers.take_turns(batch * hh.outputs, stays=not hh.complete),
        cell,
        None if layer.w_hr is None else _plan_projection(pool, buffers, layer.w_hr, batch, dot),
        schedule.is_large(layer.w_hh.value_bytes),
        schedule.half_cells and dot is not None and layer.w_hh.value_type in ("i8", "i4"),
    )


def _plan_projection(
    pool: ConstantPool,
    buffers: Buffers,
    w_hr: PackedMatrix,
    batch: int,
    dot: IntegerDot | None,
) -> Projection:
    matrix = plan_matrix(pool, w_hr, dot=dot)
    start = None if matrix.complete else pool.add_values(np.zeros(matrix.outputs, np.float32))
    units = buffers.own.take(batch * matrix.inputs)
    outputs = buffers.take_turns(batch * matrix.outputs, stays=start is not None)
    return Projection(matrix, start, units, outputs)
