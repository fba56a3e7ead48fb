"""The cell of a plain recurrent layer: h = activation(gi + gh). Source: PyTorch's `nn.RNN`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.activation import tanh
from rtmobile_iree.passes.kernels.cells import (
    Cell,
    GateRows,
    Layer,
    PlanCell,
    Scratch,
    StepVectors,
    every_row,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import ConstantPool
from torch_mlir import ir
from torch_mlir.dialects import arith

Activation = Callable[[Emitter, ir.Value, int], ir.Value]


def relu(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """max(0, x); a NaN stays a NaN."""
    return e.maximum(x, e.splat(0.0, length))


@dataclass(frozen=True)
class RNNCell(Cell):
    """One gate a unit."""

    activation: Activation

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The next state of units [unit, unit + size)."""
        return self.activation(e, arith.addf(*step.gates(e, unit, size)), size)


def plan_rnn(activation: Activation) -> PlanCell:
    """Plans cells with this activation."""

    def plan(
        pool: ConstantPool, scratch: Scratch, layer: Layer, width: int
    ) -> tuple[GateRows, Cell]:
        return every_row(layer, np.ones(layer.b_hh.size, bool), 1, width), RNNCell(activation)

    return plan


plan_rnn_tanh, plan_rnn_relu = plan_rnn(tanh), plan_rnn(relu)
