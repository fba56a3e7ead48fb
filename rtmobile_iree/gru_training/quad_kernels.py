"""`row_kernels` for matrices whose rows share their columns four by four, as in BSP's stripes.

A weight's activations are loaded once for four rows. `bounds` [M / 4 + 1] and `columns` [E] are
those of the first of four rows, `values` [E, 4] has all four's. Everything else is as there.
"""

from __future__ import annotations

import numba
import numpy as np

from rtmobile_iree.gru_training.lanes import (
    LANES,
    dot,
    load,
    sigmoid,
    splat,
    store,
    times_plus,
    total,
)  # fmt: skip
from rtmobile_iree.gru_training.row_kernels import (
    JIT,
    STEPS,
    Bounds,
    Columns,
    Floats,
    gate_gradients,
)  # fmt: skip

__all__ = ["dots", "gru_backward", "gru_forward", "products", "transposed_products"]


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _sums(quad, bounds, columns, values, x, pitch, a, b, c, d):  # type: ignore[no-untyped-def]
    """Four rows times x, added to a, b, c and d; x is an address."""
    for at in range(bounds[quad], bounds[quad + 1]):
        taken = load(x + columns[at] * pitch)
        a = times_plus(values[at, 0], taken, a)
        b = times_plus(values[at, 1], taken, b)
        c = times_plus(values[at, 2], taken, c)
        d = times_plus(values[at, 3], taken, d)
    return a, b, c, d


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def products(
    bounds: Bounds, columns: Columns, values: Floats, start: Floats, x: Floats, out: Floats
) -> None:
    """out = W x + start at every step."""
    steps, _, width = x.shape
    pitch, x_pitch, out_pitch = width * 4, x.strides[0], out.strides[0]
    for lane in range(0, width, LANES):
        for first in range(0, steps, STEPS):
            last = min(first + STEPS, steps)
            source, target = x[first, 0, lane:].ctypes.data, out[first, 0, lane:].ctypes.data
            for quad in range(len(bounds) - 1):
                a0, b0 = splat(start[4 * quad]), splat(start[4 * quad + 1])
                c0, d0 = splat(start[4 * quad + 2]), splat(start[4 * quad + 3])
                here, there = source, target + 4 * quad * pitch
                step = first
                while step + 1 < last:
                    a, b, c, d, e, f, g, h = a0, b0, c0, d0, a0, b0, c0, d0
                    for at in range(bounds[quad], bounds[quad + 1]):
                        place = here + columns[at] * pitch
                        taken, other = load(place), load(place + x_pitch)
                        a = times_plus(values[at, 0], taken, a)
                        b = times_plus(values[at, 1], taken, b)
                        c = times_plus(values[at, 2], taken, c)
                        d = times_plus(values[at, 3], taken, d)
                        e = times_plus(values[at, 0], other, e)
                        f = times_plus(values[at, 1], other, f)
                        g = times_plus(values[at, 2], other, g)
                        h = times_plus(values[at, 3], other, h)
                    _store4(there, pitch, a, b, c, d)
                    _store4(there + out_pitch, pitch, e, f, g, h)
                    step += 2
                    here += 2 * x_pitch
                    there += 2 * out_pitch
                if step < last:
                    a, b, c, d = _sums(quad, bounds, columns, values, here, pitch, a0, b0, c0, d0)
                    _store4(there, pitch, a, b, c, d)


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _store4(address, pitch, a, b, c, d):  # type: ignore[no-untyped-def]
    store(address, a)
    store(address + pitch, b)
    store(address + 2 * pitch, c)
    store(address + 3 * pitch, d)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def gru_forward(
    bounds: Bounds, columns: Columns, values: Floats, bias: Floats,
    gates: Floats, heard: Floats, hidden: Floats,
) -> None:  # fmt: skip
    """All steps of a layer of 4 n units."""
    steps, units, width = heard.shape
    pitch, quads = width * 4, units // 4
    for step in range(steps):
        for lane in range(0, width, LANES):
            h = hidden[step, 0, lane:].ctypes.data
            new = hidden[step + 1, 0, lane:].ctypes.data
            gate = gates[step, 0, lane:].ctypes.data
            listen = heard[step, 0, lane:].ctypes.data
            for quad in range(quads):
                row = 4 * quad * pitch
                for part in range(2):
                    at = gate + row + part * units * pitch
                    a, b, c, d = _sums(
                        part * quads + quad, bounds, columns, values, h, pitch,
                        load(at), load(at + pitch), load(at + 2 * pitch), load(at + 3 * pitch),
                    )  # fmt: skip
                    _store4(at, pitch, sigmoid(a), sigmoid(b), sigmoid(c), sigmoid(d))
                a, b, c, d = _sums(
                    2 * quads + quad, bounds, columns, values, h, pitch,
                    splat(bias[4 * quad]), splat(bias[4 * quad + 1]),
                    splat(bias[4 * quad + 2]), splat(bias[4 * quad + 3]),
                )  # fmt: skip
                _store4(listen + row, pitch, a, b, c, d)
                for unit in range(4):
                    _new_state(gate, listen, h, new, row + unit * pitch, units * pitch)


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _new_state(gate, listen, h, new, row, part):  # type: ignore[no-untyped-def]
    """The candidate and the state of the unit at an offset; `part` bytes lie between gates."""
    two = splat(np.float32(2))
    heard = load(gate + row + 2 * part) + load(gate + row) * load(listen + row)
    n = two * sigmoid(two * heard) - splat(np.float32(1))
    store(gate + row + 2 * part, n)
    store(new + row, n + load(gate + row + part) * (load(h + row) - n))


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _scatter(bounds, columns, values, x, pitch, out):  # type: ignore[no-untyped-def]
    """out += transposed W x; x and out are addresses."""
    for quad in range(len(bounds) - 1):
        place = x + 4 * quad * pitch
        a, b = load(place), load(place + pitch)
        c, d = load(place + 2 * pitch), load(place + 3 * pitch)
        for at in range(bounds[quad], bounds[quad + 1]):
            target = out + columns[at] * pitch
            into = times_plus(values[at, 0], a, load(target))
            other = times_plus(values[at, 2], c, splat(values[at, 1]) * b)
            store(target, times_plus(values[at, 3], d, into) + other)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def transposed_products(
    bounds: Bounds, columns: Columns, values: Floats, x: Floats, out: Floats
) -> None:
    """out += transposed W x at every step."""
    steps, _, width = x.shape
    for step in range(steps):
        for lane in range(0, width, LANES):
            source, target = x[step, 0, lane:].ctypes.data, out[step, 0, lane:].ctypes.data
            _scatter(bounds, columns, values, source, width * 4, target)


@numba.njit(**JIT)  # type: ignore[untyped-decorator]
def gru_backward(
    bounds: Bounds, columns: Columns, values: Floats, gates: Floats, heard: Floats, hidden: Floats,
    dy: Floats, dgates: Floats, dn: Floats, dh: Floats,
) -> None:  # fmt: skip
    """Gradients of all steps of a layer."""
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
def dots(bounds: Bounds, columns: Columns, a: Floats, x: Floats, out: Floats, sums: Floats) -> None:
    """out[e, i] += sum over steps and lanes of a[:, row i of e] x[:, column of e]; sums: + a's."""
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
    for quad in range(len(bounds) - 1):
        mine = a + 4 * quad * width
        p, q, r, s = zero, zero, zero, zero
        for step in range(steps):
            row = mine + step * a_pitch
            p = p + load(row)
            q = q + load(row + width)
            r = r + load(row + 2 * width)
            s = s + load(row + 3 * width)
        _add_totals(sums[4 * quad : 4 * quad + 4], p, q, r, s)
        for at in range(bounds[quad], bounds[quad + 1]):
            other = x + columns[at] * width
            p, q, r, s = zero, zero, zero, zero
            for step in range(steps):
                row, taken = mine + step * a_pitch, load(other + step * x_pitch)
                p = dot(load(row), taken, p)
                q = dot(load(row + width), taken, q)
                r = dot(load(row + 2 * width), taken, r)
                s = dot(load(row + 3 * width), taken, s)
            _add_totals(out[at], p, q, r, s)


@numba.njit(inline="always", **JIT)  # type: ignore[untyped-decorator]
def _add_totals(out, p, q, r, s):  # type: ignore[no-untyped-def]
    out[0] += total(p)
    out[1] += total(q)
    out[2] += total(r)
    out[3] += total(s)
