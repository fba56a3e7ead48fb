"""Everything static about a stack kernel: constants in the pool, buffers in scratch (NumPy only).

Scratch holds a fixed part, then a part that grows with the steps of a chunk (`slots`), so that a
streaming call of one step does not pay for the memory of sixteen:

    offset of a buffer = fixed + slots * per_slot
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.cells import Cell, Layer, PlanCell, Scratch
from rtmobile_iree.passes.kernels.plan import ConstantPool, MatrixPlan, plan_matrix

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import Schedule


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
        gates: length of a vector of gates.
        ih_start, hh_start: offsets in values: outputs of pruned rows; None when all are written.
        gi: scratch per slot where the projected inputs [slots, B, gates] start.
        gh: scratch offset of the recurrent sums [B, gates].
        projection: None where the units are the outputs.
    """

    state: int
    ih: MatrixPlan
    hh: MatrixPlan
    gates: int
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
        fixed, per_slot: size of scratch in f32 elements: fixed + slots * per_slot.
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
    fixed: int
    per_slot: int
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
    plans = tuple(_plan_layer(pool, scratch, layer, cell, batch) for layer in layers)
    sequence = scratch.take_per_slot(batch * outputs)
    return StackPlan(
        batch, layers[0].w_ih.shape[1], hidden, outputs, rows,
        tuple(shape[2] for shape in state_shapes), plans, sequence,
        scratch.fixed, scratch.per_slot, schedule.time_chunk,
    )  # fmt: skip


def _plan_layer(
    pool: ConstantPool, scratch: Scratch, layer: Layer, plan_cell: PlanCell, batch: int
) -> LayerPlan:
    rows, cell = plan_cell(pool, scratch, layer)
    ih = plan_matrix(pool, layer.w_ih, rows.ih_bias, rows.positions, rows.count)
    hh = plan_matrix(pool, layer.w_hh, rows.hh_bias, rows.positions, rows.count)
    kept = rows.positions >= 0
    return LayerPlan(
        layer.state,
        ih,
        hh,
        rows.count,
        None if ih.complete else pool.add_values(rows.ih_bias[kept]),
        None if hh.complete else pool.add_values(rows.hh_bias[kept]),
        scratch.take_per_slot(batch * rows.count),
        scratch.take(batch * rows.count),
        cell,
        None if layer.w_hr is None else _plan_projection(pool, scratch, layer.w_hr, batch),
    )


def _plan_projection(
    pool: ConstantPool, scratch: Scratch, w_hr: PackedMatrix, batch: int
) -> Projection:
    matrix = plan_matrix(pool, w_hr)
    start = None if matrix.complete else pool.add_values(np.zeros(matrix.outputs, np.float32))
    units, outputs = scratch.take(batch * matrix.inputs), scratch.take(batch * matrix.outputs)
    return Projection(matrix, start, units, outputs)
