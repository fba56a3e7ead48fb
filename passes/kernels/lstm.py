"""The LSTM cell, with or without a projection after it.

    a = gi + gh, in gates i, f, g, o
    c = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)
    h = sigmoid(a_o) * tanh(c)

Source: PyTorch's `nn.LSTM`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.activation import lstm_cell, lstm_output
from rtmobile_iree.passes.kernels.cells import (
    Cell,
    GateRows,
    Layer,
    Scratch,
    StepVectors,
    every_row,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import ConstantPool
from torch_mlir import ir
from torch_mlir.dialects import arith

GATES = 4


def plan_lstm(
    pool: ConstantPool, scratch: Scratch, layer: Layer, width: int
) -> tuple[GateRows, Cell]:
    """All rows of an LSTM layer, and its cell."""
    rows = every_row(layer, np.ones(layer.b_hh.size, bool), GATES, width)
    return rows, LSTMCell(rows.count // GATES)


@dataclass(frozen=True)
class LSTMCell(Cell):
    """Every gate of every unit."""

    hidden: int

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The output of units [unit, unit + size); their c is replaced."""
        i, f, g, o = (
            arith.addf(*step.gates(e, e.add(unit, gate * self.hidden), size))
            for gate in range(GATES)
        )
        c = lstm_cell(e, (i, f, g), step.state(e, 1, unit, size), size)
        buffer, offset = step.states[1]
        e.vstore(c, buffer, e.add(offset, unit))
        return lstm_output(e, o, c, size)
