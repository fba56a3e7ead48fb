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
from torch_mlir.dialects import arith

# sums of a unit, one a block; its states; -> h, and c where there is one
Step = Callable[[Emitter, Sequence[ir.Value], Sequence[ir.Value]], tuple[ir.Value, ...]]
# [blocks, n] sums that are the same in all steps -> [k, n] what `rest_step` takes in their place
RestGates = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class UnitCell:
    """A cell.

    Attributes:
        blocks: of H sums each.
        ih_blocks, hh_blocks: the block that each gate's rows are added to.
        reads_h: whether a unit's next state depends on its last h by itself.
        step: computes a unit's next state.
        rest_gates, rest_step: the same in two parts, for a unit whose rows are all pruned.
    """

    blocks: int
    ih_blocks: tuple[int, ...]
    hh_blocks: tuple[int, ...]
    reads_h: bool
    step: Step
    rest_gates: RestGates
    rest_step: Step

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


def _gru_gates(sums: np.ndarray) -> np.ndarray:
    """z, and (1 - z) n."""
    r, z, n_i, n_h = sums
    z = _sigmoid(z)
    return np.stack([z, (1 - z) * np.tanh(n_i + _sigmoid(r) * n_h)])


def _gru_rest(
    e: Emitter, gates: Sequence[ir.Value], states: Sequence[ir.Value]
) -> tuple[ir.Value, ...]:
    return (e.fma(gates[0], states[0], gates[1]),)


def _lstm(e: Emitter, sums: Sequence[ir.Value], states: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    i, f, g, o = sums
    c = lstm_cell(e, (i, f, g), states[-1], 1)
    return lstm_output(e, o, c, 1), c


def _lstm_gates(sums: np.ndarray) -> np.ndarray:
    """f, i g, o."""
    i, f, g, o = sums
    return np.stack([_sigmoid(f), _sigmoid(i) * np.tanh(g), _sigmoid(o)])


def _lstm_rest(
    e: Emitter, gates: Sequence[ir.Value], states: Sequence[ir.Value]
) -> tuple[ir.Value, ...]:
    f, added, o = gates
    c = e.fma(f, states[-1], added)
    return arith.mulf(o, tanh(e, c, 1)), c


def _rnn(activation: Callable[[Emitter, ir.Value, int], ir.Value]) -> Step:
    def step(
        e: Emitter, sums: Sequence[ir.Value], states: Sequence[ir.Value]
    ) -> tuple[ir.Value, ...]:
        return (activation(e, sums[0], 1),)

    return step


def _rnn_rest(
    e: Emitter, gates: Sequence[ir.Value], states: Sequence[ir.Value]
) -> tuple[ir.Value, ...]:
    return (gates[0],)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(x / 2)  # type: ignore[no-any-return]


_FOUR = (0, 1, 2, 3)
_LSTM = UnitCell(4, _FOUR, _FOUR, False, _lstm, _lstm_gates, _lstm_rest)
CELLS = {
    "gru": UnitCell(4, (0, 1, 2), (0, 1, 3), True, _gru, _gru_gates, _gru_rest),
    "lstm": _LSTM,
    "lstmp": _LSTM,
    "rnn_tanh": UnitCell(1, (0,), (0,), False, _rnn(tanh), np.tanh, _rnn_rest),
    "rnn_relu": UnitCell(
        1, (0,), (0,), False, _rnn(relu), lambda sums: np.maximum(sums, 0), _rnn_rest
    ),
}
