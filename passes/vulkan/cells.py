"""Cells for a GPU thread: from the sums of one unit to its next state.

The rows of both matrices are added up in one vector of blocks of H, wherever a cell only ever adds
them: that halves the shared memory of the gates. A GRU's n keeps the part that r multiplies apart:

    GRU   r, z, n of W_ih x, n of W_hh h        LSTM   i, f, g, o        RNN   one block

Source: PyTorch's `nn.GRU`, `nn.LSTM`, `nn.RNN`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.activation import (
    gru_blend,
    lstm_cell,
    lstm_output,
    sigmoid,
    tanh,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.rnn import relu
from torch_mlir import ir

# sums of a unit, one a block; its states; -> h, and c where there is one
Step = Callable[[Emitter, Sequence[ir.Value], Sequence[ir.Value]], tuple[ir.Value, ...]]


@dataclass(frozen=True)
class UnitCell:
    """A cell.

    Attributes:
        blocks: of H sums each.
        ih_blocks, hh_blocks: the block that each gate's rows are added to.
        reads_h: whether a unit's next state depends on its last h by itself.
        step: computes a unit's next state.
    """

    blocks: int
    ih_blocks: tuple[int, ...]
    hh_blocks: tuple[int, ...]
    reads_h: bool
    step: Step

    def positions(self, blocks: tuple[int, ...], hidden: int) -> np.ndarray:
        """[G H] where each row's result goes in the sums."""
        starts = np.array(blocks, np.int32)[:, None] * hidden
        return (starts + np.arange(hidden, dtype=np.int32)).ravel()

    def starts(self, b_ih: np.ndarray, b_hh: np.ndarray) -> np.ndarray:
        """[blocks H] what the sums start from; biases [G H] f32."""
        hidden = b_ih.size // len(self.ih_blocks)
        start = np.zeros(self.blocks * hidden, np.float32)
        start[self.positions(self.ih_blocks, hidden)] += b_ih
        start[self.positions(self.hh_blocks, hidden)] += b_hh
        return start


def _gru(e: Emitter, sums: Sequence[ir.Value], states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    r, z, n_i, n_h = sums
    n = e.fma(sigmoid(e, r, 1), n_h, n_i)
    return (gru_blend(e, z, n, states[0], 1),)


def _lstm(e: Emitter, sums: Sequence[ir.Value], states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    i, f, g, o = sums
    c = lstm_cell(e, (i, f, g), states[-1], 1)
    return lstm_output(e, o, c, 1), c


def _rnn(activation: Callable[[Emitter, ir.Value, int], ir.Value]) -> Step:
    def step(
        e: Emitter, sums: Sequence[ir.Value], states: Sequence[ir.Value]
    ) -> tuple[ir.Value, ...]:
        return (activation(e, sums[0], 1),)

    return step


_FOUR = (0, 1, 2, 3)
CELLS = {
    "gru": UnitCell(4, (0, 1, 2), (0, 1, 3), True, _gru),
    "lstm": UnitCell(4, _FOUR, _FOUR, False, _lstm),
    "lstmp": UnitCell(4, _FOUR, _FOUR, False, _lstm),
    "rnn_tanh": UnitCell(1, (0,), (0,), False, _rnn(tanh)),
    "rnn_relu": UnitCell(1, (0,), (0,), False, _rnn(relu)),
}
