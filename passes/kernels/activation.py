"""Sigmoid, tanh and the cells' state updates, on f32 vectors as accurate as asked, few divisions.

    exp(s x) = 2^n p(f),   s x log2(e) = n + f,   n whole, |f| <= 1/2

p has the least degree that keeps the absolute error of every function here within the asked one,
for all f32 x, infinities included; NaN stays NaN. 2^n goes into the exponent bits. Fractions that
are multiplied or added share one division: a GRU unit takes three exponentials and two divisions,
an LSTM unit five and two.

Source of the scheme: W. J. Cody, W. Waite, Software Manual for the Elementary Functions (1980),
chapter 6. The coefficients are fitted here (`polynomial`) and their error is measured, not assumed.

f16 vectors go another way (`fractions`), with the error that f16 has.
"""

from __future__ import annotations

import functools

import numpy as np
from rtmobile_iree.passes.kernels import fractions
from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import arith, math

from rtmobile_iree.schedule import check_activation_error

LOG2_E = 1.44269504088896341
ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer, held in the low mantissa bits
MANTISSA_BITS = 23
# exp(-28) < 1e-12 is nothing beside 1, and exp(28)^3 is still finite: products need no care.
LIMIT = 28.0
# A relative error d of every exponential moves sigmoid by at most d / 4, tanh by d / 2; with
# t = tanh, s = sigmoid of their gates and states within [-1, 1]
#     gru_blend by    ((1 + |t|) s (1 - s) + (1 - s) (1 - t^2) / 2) d             at most 0.6 d
#     lstm_output by  (|t| s (1 - s) + s (1 - t^2) / 2) d, lstm_cell by d / 4 more: at most 0.8 d
AMPLIFICATION = 0.8
# The rest of the chain in f32: about five roundings of 6e-8 each, halved by the slopes above.
ROUNDING = 3e-7
DEGREES = range(1, 8)
FIT_POINTS = 4001  # Chebyshev nodes: a least-squares fit on them is nearly minimax


@functools.cache
def polynomial(error: float) -> tuple[float, ...]:
    """Coefficients of p, highest power first, f32; the last is 1, so that tanh(0) is 0.

    Args:
        error: greatest absolute error of every function here, states within [-1, 1].

    Raises:
        InputError: smaller than f32 arithmetic allows, or too large to be of use.
    """
    check_activation_error(error)
    for degree in DEGREES:
        coefficients = fit(degree)
        if AMPLIFICATION * relative_error(coefficients) + ROUNDING <= error:
            return coefficients
    raise AssertionError(f"no polynomial for an error of {error}")


def fit(degree: int) -> tuple[float, ...]:
    """A polynomial for 2^f, |f| <= 1/2, of near least relative error, as `polynomial` has it."""
    f = np.cos(np.pi * (np.arange(FIT_POINTS) + 0.5) / FIT_POINTS) / 2
    exact = np.exp2(f)
    powers = np.stack([f**k for k in range(1, degree + 1)], axis=1)
    solved, *_ = np.linalg.lstsq(powers / exact[:, None], (exact - 1) / exact, rcond=None)
    return (*(float(c) for c in solved[::-1].astype(np.float32)), 1.0)


def relative_error(coefficients: tuple[float, ...]) -> float:
    """Greatest relative error of p against 2^f, in exact arithmetic."""
    f = np.linspace(-0.5, 0.5, 100_001)
    return float(np.abs(np.polyval(coefficients, f) / np.exp2(f) - 1).max())


def exp(e: Emitter, x: ir.Value, length: int, scale: float = 1.0) -> ir.Value:
    """exp(scale * x), its argument clamped to [-LIMIT, LIMIT]; scale: a power of two or minus one.

    The reduced argument is rounded once, in the fma: it is off by 2^-25 of s x log2(e) at most.
    """
    bound = LIMIT / abs(scale)
    x = arith.minimumf(arith.maximumf(x, e.splat(-bound, length)), e.splat(bound, length))
    if e.native_exp:
        return math.exp(arith.mulf(x, e.splat(scale, length)))
    factor = e.splat(scale * LOG2_E, length)
    shifted = e.fma(x, factor, e.splat(ROUND, length))
    minus_whole = arith.subf(e.splat(ROUND, length), shifted)
    f = e.fma(x, factor, minus_whole)
    highest, *rest = polynomial(e.activation_error)
    p = e.splat(highest, length)
    for coefficient in rest:
        p = e.fma(p, f, e.splat(coefficient, length))
    return _times_power_of_two(e, p, shifted, length)


def _times_power_of_two(e: Emitter, p: ir.Value, shifted: ir.Value, length: int) -> ir.Value:
    """p * 2^n, n in the low bits of `shifted`: added to p's exponent field.

    The shift drops the bits of ROUND, which are all above the lowest 9.
    """
    bits = e.integers(length)
    n = arith.shli(arith.bitcast(bits, shifted), e.integer_splat(MANTISSA_BITS, length))
    return arith.bitcast(p.type, arith.addi(arith.bitcast(bits, p), n))


def sigmoid(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """1 / (1 + exp(-x))."""
    if e.is_half:
        return fractions.sigmoid(e, x, length)
    one = e.splat(1.0, length)
    return arith.divf(one, arith.addf(one, exp(e, x, length, -1.0)))


def tanh(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """(1 - q) / (1 + q), q = exp(-2x)."""
    if e.is_half:
        return fractions.tanh(e, x, length)
    one = e.splat(1.0, length)
    q = exp(e, x, length, -2.0)
    return arith.divf(arith.subf(one, q), arith.addf(one, q))


def gru_blend(e: Emitter, z: ir.Value, n: ir.Value, h: ir.Value, length: int) -> ir.Value:
    """(1 - sigmoid(z)) * tanh(n) + sigmoid(z) * h, over one common denominator.

    With p = exp(-z), q = exp(-2n): (p (1 - q) + h (1 + q)) / ((1 + p) (1 + q)).
    """
    if e.is_half:
        return fractions.gru_blend(e, z, n, h, length)
    one = e.splat(1.0, length)
    p = exp(e, z, length, -1.0)
    q = exp(e, n, length, -2.0)
    above = arith.addf(one, q)
    top = e.fma(h, above, arith.mulf(p, arith.subf(one, q)))
    return arith.divf(top, arith.mulf(arith.addf(one, p), above))


def lstm_cell(
    e: Emitter, gates: tuple[ir.Value, ir.Value, ir.Value], c: ir.Value, length: int
) -> ir.Value:
    """sigmoid(f) * c + sigmoid(i) * tanh(g) of gates (i, f, g), over one common denominator.

    With p = exp(-i), s = exp(-f), q = exp(-2g):
    (c (1 + p) (1 + q) + (1 - q) (1 + s)) / ((1 + s) (1 + p) (1 + q)).
    """
    if e.is_half:
        return fractions.lstm_cell(e, gates, c, length)
    one = e.splat(1.0, length)
    i, f, g = gates
    p = arith.addf(one, exp(e, i, length, -1.0))
    s = arith.addf(one, exp(e, f, length, -1.0))
    q = exp(e, g, length, -2.0)
    both = arith.mulf(p, arith.addf(one, q))
    top = e.fma(c, both, arith.mulf(arith.subf(one, q), s))
    return arith.divf(top, arith.mulf(s, both))


def lstm_output(e: Emitter, o: ir.Value, c: ir.Value, length: int) -> ir.Value:
    """sigmoid(o) * tanh(c), over one common denominator: (1 - q) / ((1 + p) (1 + q))."""
    if e.is_half:
        return fractions.gated_tanh(e, o, c, length)
    one = e.splat(1.0, length)
    p = exp(e, o, length, -1.0)
    q = exp(e, c, length, -2.0)
    return arith.divf(arith.subf(one, q), arith.mulf(arith.addf(one, p), arith.addf(one, q)))
