"""SciPy's compressed rows, in a GRU written with NumPy; one thread, whatever is asked.

Layer by layer: the input weights times the frames of a whole chunk, then one product with the
recurrent weights a step.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task

Layer = tuple[csr_array, csr_array, np.ndarray, np.ndarray]


class ScipyCsrPeer(FastestCall):
    """`scipy.sparse.csr_array`."""

    def __init__(self, task: Task) -> None:
        gru = gru_task(task)
        layers = [(csr_array(w), csr_array(u), b, c) for w, u, b, c in gru.model.layers()]
        linear = gru.model.linear()

        def run() -> list[np.ndarray]:
            y, last = gru.frames, []
            for layer, state in zip(layers, gru.state, strict=True):
                y = _scan(layer, y, state)
                last.append(y[-1])
            if linear is not None:
                weight, bias = linear
                y = y @ weight.T + bias
            return gru.shaped(y, np.array(last))

        super().__init__([Configuration("CSR, NumPy gates", run, run)])


def _scan(layer: Layer, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """x [T, I] and h [H] -> [T, H]."""
    w_ih, w_hh, b_ih, b_hh = layer
    inputs = (w_ih @ x[0])[None] if len(x) == 1 else np.ascontiguousarray((w_ih @ x.T).T)
    inputs += b_ih
    hidden = len(h)
    hs = np.empty((len(x), hidden), np.float32)
    for step, row in enumerate(inputs):
        product = w_hh @ h
        product += b_hh
        row[: 2 * hidden] += product[: 2 * hidden]
        gates = expit(row[: 2 * hidden])
        product[2 * hidden :] *= gates[:hidden]
        product[2 * hidden :] += row[2 * hidden :]
        n = np.tanh(product[2 * hidden :])
        h = n + gates[hidden:] * (h - n)
        hs[step] = h
    return hs
