"""Sigmoid, tanh and the cells' state updates in f16: each gate a fraction, divided by an estimate.

    tanh(x) = x (u + a) / ((u + b) u + c),   u = x^2 / K,   |x| at most 4.25

is tanh within 4e-4; a sigmoid is half a tanh of half its argument, and a half. All of a, b, c are
positive, so nothing cancels, no power of x leaves f16, and rounding adds about as much again. That
takes half the operations of an exponential (`activation`), whose exponent and fraction f16 has no
room for in one number. NaN stays NaN; infinities end at the limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import arith

# tanh(x) = x (P0 + P1 x^2) / (1 + Q1 x^2 + Q2 x^4) on [0, LIMIT]: least squares on Chebyshev nodes,
# reweighted by the errors until they were even (Lawson). 3.9e-4 there, and 1 - tanh(LIMIT) = 4.1e-4
LIMIT = 4.25
P0, P1, Q1, Q2 = 0.99841172, 0.07984546, 0.40923218, 0.00609684
K = P1 / Q2
A, B, C = P0 / (P1 * K), Q1 / (Q2 * K), 1 / (Q2 * K * K)


@dataclass(frozen=True)
class Fraction:
    """top / bottom; the bottom is positive."""

    top: ir.Value
    bottom: ir.Value

    def factors(self, e: Emitter) -> tuple[ir.Value, ir.Value]:
        """Two whose product it is; the second, near 1, takes longer."""
        estimate, step = e.reciprocal(self.bottom)
        return arith.mulf(self.top, estimate), step

    def value(self, e: Emitter) -> ir.Value:
        """The quotient."""
        return arith.mulf(*self.factors(e))


def tanh_fraction(e: Emitter, x: ir.Value, length: int, scale: float = 1.0) -> Fraction:
    """scale * tanh(scale * x).

    Args:
        scale: a power of two. With y = scale * x, u and the constants of the module docstring are
            multiplied by 1 / scale^2, so that x stands where y would.
    """
    bound, grown = LIMIT / scale, 1 / scale**2
    x = arith.minimumf(e.maximum(x, e.splat(-bound, length)), e.splat(bound, length))
    u = arith.mulf(x, arith.mulf(x, e.splat(1 / K, length)))
    top = arith.mulf(x, arith.addf(u, e.splat(A * grown, length)))
    middle = arith.addf(u, e.splat(B * grown, length))
    return Fraction(top, e.fma(middle, u, e.splat(C * grown**2, length)))


def half_tanh(e: Emitter, x: ir.Value, length: int) -> Fraction:
    """sigmoid(x) - 1/2."""
    return tanh_fraction(e, x, length, 0.5)


def sigmoid(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """1 / (1 + exp(-x))."""
    return e.fma(*half_tanh(e, x, length).factors(e), e.splat(0.5, length))


def tanh(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """tanh(x)."""
    return tanh_fraction(e, x, length).value(e)


def gru_blend(e: Emitter, z: ir.Value, n: ir.Value, h: ir.Value, length: int) -> ir.Value:
    """(1 - sigmoid(z)) * tanh(n) + sigmoid(z) * h, over one common denominator.

    With sigmoid(z) = 1/2 + p / q and tanh(n) = s / t:
    ((q / 2 - p) s + (q / 2 + p) t h) / (q t).
    """
    gate, new = half_tanh(e, z, length), tanh_fraction(e, n, length)
    half = arith.mulf(gate.bottom, e.splat(0.5, length))
    kept = arith.mulf(arith.addf(half, gate.top), arith.mulf(new.bottom, h))
    top = e.fma(arith.subf(half, gate.top), new.top, kept)
    return Fraction(top, arith.mulf(gate.bottom, new.bottom)).value(e)


def gated_tanh(e: Emitter, gate: ir.Value, x: ir.Value, length: int) -> ir.Value:
    """sigmoid(gate) * tanh(x), over one common denominator."""
    opened, new = half_tanh(e, gate, length), tanh_fraction(e, x, length)
    half = arith.mulf(opened.bottom, e.splat(0.5, length))
    top = arith.mulf(arith.addf(half, opened.top), new.top)
    return Fraction(top, arith.mulf(opened.bottom, new.bottom)).value(e)


def lstm_cell(
    e: Emitter, gates: tuple[ir.Value, ir.Value, ir.Value], c: ir.Value, length: int
) -> ir.Value:
    """sigmoid(f) * c + sigmoid(i) * tanh(g) of gates (i, f, g)."""
    i, f, g = gates
    return e.fma(sigmoid(e, f, length), c, gated_tanh(e, i, g, length))
