"""bspc: the ops by the loop nests in dialects/bspc.py, the packed ones through `bspc.matvec`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from rtmobile_iree.bspc import matvec
from rtmobile_iree.dialects.verify import PACKED_ARRAYS, packed_matrix
from rtmobile_iree.kinds import KINDS, Kind
from rtmobile_iree.reference.values import Environment, Step, operands

Floats = NDArray[np.float32]
Product = Callable[[Floats], Floats]
"""[B, N] -> [B, M]: x @ w.T for some weight."""


Cell = Callable[..., tuple[Floats, ...]]
"""(W_ih x + b_ih, W_hh h + b_hh, h, other states) -> the states after a step, h unprojected."""


def scan(
    cell: Cell, x: Floats, states: list[Floats], layer: int, products: list[Product]
) -> list[Floats]:
    """One layer over all steps.

    Args:
        x: [T, B, I]. states: [L, B, P], and [L, B, H] of a second one.
        products: with W_ih and W_hh, and their biases; and with W_hr where there is one.

    Returns:
        y [T, B, P], and the states with row `layer` replaced.
    """
    input_product, state_product, *project = products
    now = [state[layer] for state in states]
    y = np.empty((x.shape[0], *now[0].shape), np.float32)
    for t, step in enumerate(x):
        h, *others = cell(input_product(step), state_product(now[0]), *now)
        now = [project[0](h) if project else h, *others]
        y[t] = now[0]
    after = [state.copy() for state in states]
    for state, last in zip(after, now, strict=True):
        state[layer] = last
    return [y, *after]


def gru(i: Floats, g: Floats, h: Floats) -> tuple[Floats]:
    """Gates r, z, n."""
    i_r, i_z, i_n = np.split(i, 3, axis=-1)
    g_r, g_z, g_n = np.split(g, 3, axis=-1)
    r, z = sigmoid(i_r + g_r), sigmoid(i_z + g_z)
    n = np.tanh(i_n + r * g_n)
    return ((1 - z) * n + z * h,)


def lstm(i: Floats, g: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Gates i, f, g, o."""
    a_i, a_f, a_g, a_o = np.split(i + g, 4, axis=-1)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return sigmoid(a_o) * np.tanh(c), c


def rnn_tanh(i: Floats, g: Floats, h: Floats) -> tuple[Floats]:
    """One gate."""
    return (np.tanh(i + g),)


def rnn_relu(i: Floats, g: Floats, h: Floats) -> tuple[Floats]:
    """One gate."""
    return (np.maximum(i + g, 0),)


CELLS: dict[str, Cell] = {
    "gru": gru,
    "lstm": lstm,
    "lstmp": lstm,
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
}


def sigmoid(a: Floats) -> Floats:
    """1 / (1 + exp(-a)); an overflow of exp is a result of 0."""
    with np.errstate(over="ignore"):
        return np.reciprocal(1 + np.exp(-a))


def _rows(weights: list[Floats], rows: list[int], reorder: list[NDArray[np.int32]]) -> list[Floats]:
    """Weights with their rows in their original places; `reorder`: one for all, or none."""
    if not reorder:
        return weights
    parts = np.split(reorder[0], np.cumsum([len(w) for w in weights])[:-1])
    originals = [np.zeros((m, w.shape[1]), w.dtype) for m, w in zip(rows, weights, strict=True)]
    for original, part, weight in zip(originals, parts, weights, strict=True):
        original[part] = weight
    return originals


def _matmul(op: ir.Operation, values: Environment) -> list[Any]:
    x, w, *reorder = operands(op, values)
    rows = ir.RankedTensorType(op.results[0].type).shape[-1]
    return [x @ _rows([w], [rows], reorder)[0].T]


def _packed_matmul(op: ir.Operation, values: Environment) -> list[Any]:
    x, *arrays = operands(op, values)
    p = packed_matrix(op, "shape", arrays)
    y = matvec(p, np.ascontiguousarray(x.reshape(-1, x.shape[-1])))
    return [y.reshape(*x.shape[:-1], p.shape[0])]


def _product(w: Floats, a: Floats) -> Floats:
    return a @ w.T


def _layer(kind: Kind) -> Step:
    """The step of `bspc.<kind>`."""
    first, count = kind.first_weight, len(kind.weights)

    def step(op: ir.Operation, values: Environment) -> list[Any]:
        given = operands(op, values)
        biases, reorder = given[first + count : first + count + 2], given[first + count + 2 :]
        rows = [biases[0].size, biases[1].size, given[1].shape[-1]][:count]
        weights = _rows(given[first : first + count], rows, reorder)
        return _scan(op, kind, given, biases, [partial(_product, w) for w in weights])

    return step


def _packed_layer(kind: Kind) -> Step:
    """The step of `bspc.packed_<kind>`."""
    first, arrays = kind.first_weight, len(PACKED_ARRAYS)

    def step(op: ir.Operation, values: Environment) -> list[Any]:
        given = operands(op, values)
        matrices = [
            packed_matrix(op, f"shape_{part}", given[first + i * arrays :][:arrays])
            for i, part in enumerate(kind.weights)
        ]
        return _scan(op, kind, given, given[-2:], [partial(matvec, p) for p in matrices])

    return step


def _scan(
    op: ir.Operation, kind: Kind, given: list[Any], biases: list[Floats], products: list[Product]
) -> list[Any]:
    ih, hh, *project = products
    with_biases: list[Product] = [lambda a: ih(a) + biases[0], lambda a: hh(a) + biases[1]]
    x, *states = given[: kind.first_weight]
    layer = int(op.attributes["layer"].value)
    return scan(CELLS[kind.name], x, states, layer, [*with_biases, *project])


STEPS: dict[str, Step] = {
    "bspc.matmul": _matmul,
    "bspc.packed_matmul": _packed_matmul,
    **{f"bspc.{kind.name}": _layer(kind) for kind in KINDS.values()},
    **{f"bspc.packed_{kind.name}": _packed_layer(kind) for kind in KINDS.values()},
}
