"""Everything static about a stack kernel: constants in the pool, buffers in scratch (NumPy only).

Scratch holds a fixed part, then a part that grows with the steps of a chunk (`slots`), so that a
streaming call of one step does not pay for the memory of sixteen:

    offset of a buffer = fixed + slots * per_slot
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Cell, Layer, PlanCell, Scratch
from rtmobile_iree.passes.kernels.expand import Expansion, plan_rows
from rtmobile_iree.passes.kernels.plan import LINE, ConstantPool, MatrixPlan, plan_matrix

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import IntegerDot, Schedule


@dataclass(frozen=True)
class Projection:
    """The matrix W_hr [P, H] after a cell.

    Attributes:
        start: offset in values of zeros for pruned rows; None when all are written.
        units, outputs: scratch offsets of its inputs [B, H] and outputs [B, P].
    """

    matrix: MatrixPlan
    start: int | None
    units: int
    outputs: int


@dataclass(frozen=True)
class LayerPlan:
    """One layer.

    Attributes:
        state: which row of the states the layer owns.
        ih_rows, hh_rows: how the outputs of ih and hh are read; None where they have no gaps.
        ih_start, hh_start: offsets in values: outputs of pruned rows; None when all are written.
        gi: scratch per slot where the projected inputs [slots, B, outputs of ih] start.
        gh: scratch offset of the recurrent sums [B, outputs of hh].
        projection: None where the units are the outputs.
    """

    state: int
    ih: MatrixPlan
    hh: MatrixPlan
    ih_rows: Expansion | None
    hh_rows: Expansion | None
    ih_start: int | None
    hh_start: int | None
    gi: int
    gh: int
    cell: Cell
    projection: Projection | None


@dataclass(frozen=True)
class StackPlan:
    """A stack of layers.

    Attributes:
        batch, inputs, hidden, outputs: B, I of the first layer, H, P (H without a projection).
        state_rows: L of the state tensors.
        state_sizes: last dimension of each state tensor: of h, and of c where there is one.
        sequence: scratch per slot where [slots, B, P] between layers starts.
        input_scales: scratch per slot of the scales [slots, B] of quantized inputs.
        fixed, per_slot: size of scratch in f32 elements: fixed + slots * per_slot.
        byte_pitch: bytes a quantized input takes in [slots, B, byte_pitch]; 0 when none is.
        staging: bytes before those, for the inputs of panels moved together.
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
    fixed: int
    per_slot: int
    byte_pitch: int
    staging: int
    time_chunk: int

    def state_elements(self, number: int) -> int:
        """Elements of a whole state tensor [L, B, .]."""
        return self.state_rows * self.batch * self.state_sizes[number]


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
    scratch = Scratch()
    rows, batch, outputs = state_shapes[0]
    hidden = outputs if layers[0].w_hr is None else layers[0].w_hr.shape[1]
    plans = tuple(_plan_layer(pool, scratch, layer, cell, batch, schedule) for layer in layers)
    sequence = scratch.take_per_slot(batch * outputs)
    byte_pitch = max(_quantized_columns(plan) for plan in plans)
    input_scales = scratch.take_per_slot(batch) if byte_pitch else 0
    staging = max(_staging(plan, batch, schedule) for plan in plans)
    return StackPlan(
        batch, layers[0].w_ih.shape[1], hidden, outputs, rows,
        tuple(shape[2] for shape in state_shapes), plans, sequence, input_scales,
        scratch.fixed, scratch.per_slot, byte_pitch, staging, schedule.time_chunk,
    )  # fmt: skip


def _matrices(layer: LayerPlan) -> list[MatrixPlan]:
    return [layer.ih, layer.hh, *([layer.projection.matrix] if layer.projection else [])]


def _quantized_columns(layer: LayerPlan) -> int:
    """Columns of the widest matrix of a layer that takes its input as bytes, in cache lines."""
    widest = max((m.inputs for m in _matrices(layer) if m.quantized_input), default=0)
    return widest + -widest % LINE


def _staging(layer: LayerPlan, batch: int, schedule: Schedule) -> int:
    """Bytes for moved inputs: a panel's for all vectors of a chunk, or all panels' of a step."""
    chunk, tile = schedule.time_chunk * batch, min(batch, schedule.vector_tile)
    return max(
        layer.ih.staging(chunk, whole_class=False),
        *(matrix.staging(tile, whole_class=True) for matrix in _matrices(layer)[1:]),
    )


def _plan_layer(
    pool: ConstantPool,
    scratch: Scratch,
    layer: Layer,
    plan_cell: PlanCell,
    batch: int,
    schedule: Schedule,
) -> LayerPlan:
    width = schedule.vector_width if schedule.expand else 0
    rows, cell = plan_cell(pool, scratch, layer, width)
    where, dot = (rows.positions, rows.count, schedule.dot, rows.block), schedule.dot
    ih, ih_rows = plan_rows(pool, layer.w_ih, rows.ih_bias, *where)
    hh, hh_rows = plan_rows(pool, layer.w_hh, rows.hh_bias, *where)
    return LayerPlan(
        layer.state,
        ih,
        hh,
        ih_rows,
        hh_rows,
        None if ih.complete else pool.add_values(rows.starts(rows.ih_bias)),
        None if hh.complete else pool.add_values(rows.starts(rows.hh_bias)),
        scratch.take_per_slot(batch * ih.outputs),
        scratch.take(batch * hh.outputs),
        cell,
        None if layer.w_hr is None else _plan_projection(pool, scratch, layer.w_hr, batch, dot),
    )


def _plan_projection(
    pool: ConstantPool,
    scratch: Scratch,
    w_hr: PackedMatrix,
    batch: int,
    dot: IntegerDot | None,
) -> Projection:
    matrix = plan_matrix(pool, w_hr, dot=dot)
    start = None if matrix.complete else pool.add_values(np.zeros(matrix.outputs, np.float32))
    units, outputs = scratch.take(batch * matrix.inputs), scratch.take(batch * matrix.outputs)
    return Projection(matrix, start, units, outputs)
