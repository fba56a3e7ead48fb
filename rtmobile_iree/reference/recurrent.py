"""bspc: the ops by the loop nests in dialects/bspc.py, the packed ones through `bspc.matvec`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from rtmobile_iree.bspc import matvec
from rtmobile_iree.dialects.verify import packed_matrix
from rtmobile_iree.reference.values import Environment, Step, operands

Floats = NDArray[np.float32]
Product = Callable[[Floats], Floats]
"""[B, N] -> [B, M]: x @ w.T for some weight."""


def gru(
    x: Floats, state: Floats, layer: int, input_product: Product, state_product: Product
) -> list[Floats]:
    """One layer over all steps.

    Args:
        x: [T, B, I]. state: [L, B, H].
        input_product, state_product: the two matrix products with their biases, [B, 3H].

    Returns:
        y [T, B, H], and the state with row `layer` replaced.
    """
    h = state[layer]
    y = np.empty((x.shape[0], *h.shape), np.float32)
    for t, step in enumerate(x):
        i_r, i_z, i_n = np.split(input_product(step), 3, axis=-1)
        g_r, g_z, g_n = np.split(state_product(h), 3, axis=-1)
        r, z = sigmoid(i_r + g_r), sigmoid(i_z + g_z)
        n = np.tanh(i_n + r * g_n)
        h = (1 - z) * n + z * h
        y[t] = h
    after = state.copy()
    after[layer] = h
    return [y, after]


def sigmoid(a: Floats) -> Floats:
    """1 / (1 + exp(-a)); an overflow of exp is a result of 0."""
    with np.errstate(over="ignore"):
        return np.reciprocal(1 + np.exp(-a))


def _original(w: Floats, rows: int, reorder: NDArray[np.int32] | None) -> Floats:
    """The weight with its rows in their original places."""
    if reorder is None:
        return w
    original = np.zeros((rows, w.shape[1]), w.dtype)
    original[reorder] = w
    return original


def _matmul(op: ir.Operation, values: Environment) -> list[Any]:
    x, w, *reorder = operands(op, values)
    rows = ir.RankedTensorType(op.results[0].type).shape[-1]
    return [x @ _original(w, rows, *(reorder or [None])).T]


def _gru(op: ir.Operation, values: Environment) -> list[Any]:
    x, state, w_ih, w_hh, b_ih, b_hh, *reorder = operands(op, values)
    reorder_ih, reorder_hh = reorder or (None, None)
    w_ih = _original(w_ih, b_ih.size, reorder_ih)
    w_hh = _original(w_hh, b_hh.size, reorder_hh)
    return gru(x, state, _layer(op), lambda a: a @ w_ih.T + b_ih, lambda a: a @ w_hh.T + b_hh)


def _packed_matmul(op: ir.Operation, values: Environment) -> list[Any]:
    x, *arrays = operands(op, values)
    p = packed_matrix(op, "shape", arrays)
    y = matvec(p, np.ascontiguousarray(x.reshape(-1, x.shape[-1])))
    return [y.reshape(*x.shape[:-1], p.shape[0])]


def _packed_gru(op: ir.Operation, values: Environment) -> list[Any]:
    x, state, *arrays, b_ih, b_hh = operands(op, values)
    ih = packed_matrix(op, "shape_ih", arrays[:5])
    hh = packed_matrix(op, "shape_hh", arrays[5:])
    return gru(x, state, _layer(op), lambda a: matvec(ih, a) + b_ih, lambda a: matvec(hh, a) + b_hh)


def _layer(op: ir.Operation) -> int:
    return int(op.attributes["layer"].value)


STEPS: dict[str, Step] = {
    "bspc.matmul": _matmul,
    "bspc.gru": _gru,
    "bspc.packed_matmul": _packed_matmul,
    "bspc.packed_gru": _packed_gru,
}
