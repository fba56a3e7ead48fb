"""The kernels of sparse training, in Numba: CSR matrices times the utterances of a batch.

Activations are [T, rows, L] f32, L a multiple of 16, a step's rows contiguous. A matrix [M, N] is
its entries, row by row: `bounds` [M + 1] i64, where each row's begin, `columns` [K] i32 and
`values` [K] f32.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.gru_training.lanes import (
    LANES,
    dot,
    load,
    sigmoid,
    splat,
    store,
    times_plus,
    total,
)

__all__ = ["dots", "gru_backward", "gru_forward", "products", "transposed_products"]

JIT: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}
# steps whose inputs stay in the cache while all rows take them
STEPS = 8

Bounds = NDArray[np.int64]
Columns = NDArray[np.int32]
Floats = NDArray[np.float32]


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _row_sum(row, bounds, columns, values, x, pitch, into):  # type: ignore[no-untyped-def]
    """into + a row times x; x is an address, pitch the bytes from one of its rows to the next."""
    at, end = bounds[row], bounds[row + 1]
    a, b = into, splat(np.float32(0))
    while at + 1 < end:
        a = times_plus(values[at], load(x + columns[at] * pitch), a)
        b = times_plus(values[at + 1], load(x + columns[at + 1] * pitch), b)
        at += 2
    if at < end:
        a = times_plus(values[at], load(x + columns[at] * pitch), a)
    return a + b


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def products(
    bounds: Bounds, columns: Columns, values: Floats, start: Floats, x: Floats, out: Floats
) -> None:
    """out = W x + start at every step.

    Args:
        start: [M], x: [T, N, L], out: [T, M, L].
    """
    steps, _, width = x.shape
    pitch, x_pitch, out_pitch = width * 4, x.strides[0], out.strides[0]
    for lane in range(0, width, LANES):
        for first in range(0, steps, STEPS):
            last = min(first + STEPS, steps)
            source, target = x[first, 0, lane:].ctypes.data, out[first, 0, lane:].ctypes.data
            for row in range(len(bounds) - 1):
                into = splat(start[row])
                here, there = source, target + row * pitch
                step = first
                while step + 3 < last:
                    a, b, c, d = into, into, into, into
                    for at in range(bounds[row], bounds[row + 1]):
                        weight, place = values[at], here + columns[at] * pitch
                        a = times_plus(weight, load(place), a)
                        b = times_plus(weight, load(place + x_pitch), b)
                        c = times_plus(weight, load(place + 2 * x_pitch), c)
                        d = times_plus(weight, load(place + 3 * x_pitch), d)
                    store(there, a)
                    store(there + out_pitch, b)
                    store(there + 2 * out_pitch, c)
                    store(there + 3 * out_pitch, d)
                    step += 4
                    here += 4 * x_pitch
                    there += 4 * out_pitch
                while step < last:
                    store(there, _row_sum(row, bounds, columns, values, here, pitch, into))
                    step += 1
                    here += x_pitch
                    there += out_pitch


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _scatter(bounds, columns, values, x, pitch, out):  # type: ignore[no-untyped-def]
    """out += transposed W x; x and out are addresses."""
    for row in range(len(bounds) - 1):
        mine = load(x + row * pitch)
        for at in range(bounds[row], bounds[row + 1]):
            target = out + columns[at] * pitch
            store(target, times_plus(values[at], mine, load(target)))


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def transposed_products(
    bounds: Bounds, columns: Columns, values: Floats, x: Floats, out: Floats
) -> None:
    """out += transposed W x at every step.

    Args:
        x: [T, M, L], out: [T, N, L].
    """
    steps, _, width = x.shape
    for step in range(steps):
        for lane in range(0, width, LANES):
            source, target = x[step, 0, lane:].ctypes.data, out[step, 0, lane:].ctypes.data
            _scatter(bounds, columns, values, source, width * 4, target)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def gru_forward(
    bounds: Bounds, columns: Columns, values: Floats, bias: Floats,
    gates: Floats, heard: Floats, hidden: Floats,
) -> None:  # fmt: skip
    """All steps of a layer; gates in PyTorch's order r, z, n.

    Args:
        bounds, columns, values: W_hh [3H, H].
        bias: [H], b_hn.
        gates: [T, 3H, L], in: W_ih x and the other biases; out: r, z and n.
        heard: [T, H, L], out: W_hn h + b_hn.
        hidden: [T + 1, H, L], in: the state before the first step; out: all others.
    """
    steps, units, width = heard.shape
    pitch = width * 4
    one, two = splat(np.float32(1)), splat(np.float32(2))
    for step in range(steps):
        for lane in range(0, width, LANES):
            h = hidden[step, 0, lane:].ctypes.data
            new = hidden[step + 1, 0, lane:].ctypes.data
            gate = gates[step, 0, lane:].ctypes.data
            listen = heard[step, 0, lane:].ctypes.data
            for unit in range(units):
                at_r = gate + unit * pitch
                at_z, at_n = at_r + units * pitch, at_r + 2 * units * pitch
                r = _row_sum(unit, bounds, columns, values, h, pitch, load(at_r))
                z = _row_sum(units + unit, bounds, columns, values, h, pitch, load(at_z))
                w = splat(bias[unit])
                w = _row_sum(2 * units + unit, bounds, columns, values, h, pitch, w)
                r, z = sigmoid(r), sigmoid(z)
                n = two * sigmoid(two * (load(at_n) + r * w)) - one
                store(at_r, r)
                store(at_z, z)
                store(at_n, n)
                store(listen + unit * pitch, w)
                store(new + unit * pitch, n + z * (load(h + unit * pitch) - n))


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def gru_backward(
    bounds: Bounds, columns: Columns, values: Floats, gates: Floats, heard: Floats, hidden: Floats,
    dy: Floats, dgates: Floats, dn: Floats, dh: Floats,
) -> None:  # fmt: skip
    """Gradients of all steps of a layer, the last one first.

    Args:
        bounds, columns, values: W_hh [3H, H].
        gates, heard, hidden: as `gru_forward` left them.
        dy: [T, H, L], of the outputs.
        dgates: [T, 3H, L], out: of r, z and W_hn h + b_hn, before their functions.
        dn: [T, H, L], out: of n before tanh.
        dh: [H, L], in: of the state after the last step, but for dy; out: before the first.
    """
    steps, units, width = heard.shape
    for step in range(steps - 1, -1, -1):
        for lane in range(0, width, LANES):
            change = dh[0, lane:].ctypes.data
            dgate = dgates[step, 0, lane:].ctypes.data
            gate_gradients(
                gates[step, 0, lane:].ctypes.data, heard[step, 0, lane:].ctypes.data,
                hidden[step, 0, lane:].ctypes.data, dy[step, 0, lane:].ctypes.data, dgate,
                dn[step, 0, lane:].ctypes.data, change, units, width * 4,
            )  # fmt: skip
            _scatter(bounds, columns, values, dgate, width * 4, change)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def gate_gradients(gate, heard, h, dy, dgate, dn, dh, units, pitch):  # type: ignore[no-untyped-def]
    """One step's, of 16 lanes; all addresses. `dh` in: the next step's part; out: times z."""
    one = splat(np.float32(1))
    for row in range(0, units * pitch, pitch):
        at_z, at_n = row + units * pitch, row + 2 * units * pitch
        r, z, n = load(gate + row), load(gate + at_z), load(gate + at_n)
        d = load(dh + row) + load(dy + row)
        before = (one - z) * (one - n * n) * d
        store(dn + row, before)
        store(dgate + at_n, before * r)
        store(dgate + row, before * load(heard + row) * (r - r * r))
        store(dgate + at_z, d * (load(h + row) - n) * (z - z * z))
        store(dh + row, d * z)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def dots(bounds: Bounds, columns: Columns, a: Floats, x: Floats, out: Floats, sums: Floats) -> None:
    """out[k] += sum over steps and lanes of a[:, row of k] x[:, column of k]: the gradient of W.

    Args:
        a: [T, M, L], x: [T, N, L], out: [K].
        sums: [M], to which that of a is added.
    """
    steps, _, width = x.shape
    for lane in range(0, width, LANES):
        for first in range(0, steps, STEPS):
            _dots_of(
                bounds, columns, a[first, 0, lane:].ctypes.data, x[first, 0, lane:].ctypes.data,
                a.strides[0], x.strides[0], width * 4, min(STEPS, steps - first), out, sums,
            )  # fmt: skip


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def _dots_of(bounds, columns, a, x, a_pitch, x_pitch, width, steps, out, sums):  # type: ignore[no-untyped-def]
    """Adds a few steps' part; a and x are addresses, pitches and width bytes."""
    zero = splat(np.float32(0))
    for row in range(len(bounds) - 1):
        mine = a + row * width
        column = zero
        for step in range(steps):
            column = column + load(mine + step * a_pitch)
        sums[row] += total(column)
        for at in range(bounds[row], bounds[row + 1]):
            other = x + columns[at] * width
            even, odd = zero, zero
            if steps == STEPS:  # written out
                for step in range(0, STEPS, 2):
                    here, there = mine + step * a_pitch, other + step * x_pitch
                    even = dot(load(here), load(there), even)
                    odd = dot(load(here + a_pitch), load(there + x_pitch), odd)
            else:
                for step in range(steps):
                    even = dot(load(mine + step * a_pitch), load(other + step * x_pitch), even)
            out[at] += total(even + odd)
