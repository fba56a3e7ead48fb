"""The kernel of a linear layer: y[v] = W x[v] for every leading index v, in one dispatch.

for panel in W:
    for tile of vectors v:
        y[v, rows of panel] = sum_k x[v, column[k]] * values[k, :]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.panels import PanelKernel
from rtmobile_iree.passes.kernels.plan import ConstantPool, MatrixPlan, plan_matrix
from rtmobile_iree.passes.kernels.sums import Constants, Vectors
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class MatmulPlan:
    """One matrix laid out; `start`: constants offset of zeros for pruned rows, None without any."""

    matrix: MatrixPlan
    start: int | None


def plan_matmul(pool: ConstantPool, packed: PackedMatrix) -> MatmulPlan:
    """Lays out [M, N] weights of a linear layer."""
    matrix = plan_matrix(pool, packed)
    zeros = np.zeros(matrix.outputs, np.float32)
    return MatmulPlan(matrix, None if matrix.complete else pool.add_values(zeros))


def emit_matmul(
    emit: Emitter,
    schedule: Schedule,
    plan: MatmulPlan,
    constants: Constants,
    buffers: tuple[ir.Value, ir.Value],
    count: ir.Value,
) -> None:
    """Emits the kernel; `buffers`: x [count * N] and y [count * M], flat f32 memrefs."""
    x, y = buffers
    outputs, inputs = plan.matrix.outputs, plan.matrix.inputs
    if plan.start is not None:
        zeros = emit.index(plan.start)

        def clear(v: ir.Value) -> None:
            emit.copy(constants.values, zeros, y, emit.mul(v, outputs), outputs)

        emit.loop(0, count, 1, [], clear)

    def vectors_at(vector: ir.Value, tile: int) -> Vectors:
        lanes = [emit.add(vector, v) for v in range(tile)]
        return Vectors(
            x, [emit.mul(lane, inputs) for lane in lanes],
            y, [emit.mul(lane, outputs) for lane in lanes],
        )  # fmt: skip

    PanelKernel(emit, schedule, constants).matmul(plan.matrix, count, 1, vectors_at)
