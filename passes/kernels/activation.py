"""Sigmoid, tanh and the GRU's state update on f32 vectors, with the fewest divisions.

exp is Cephes' expf (S. L. Moshier): x = n ln 2 + f, a polynomial in f, times 2^n put in the
exponent bits. A GRU unit takes three exponentials and two divisions: z and the tanh of n share one.
Absolute error of sigmoid, tanh and the update: below 5e-7 (tests/kernels/test_activation.py).
"""

from __future__ import annotations

from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import arith

LOG2_E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # exact in few bits, and the rest of ln 2
POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
              4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)  # fmt: skip
ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer, held in the low mantissa bits
ROUND_BITS = 0x4B400000
# exp(-40) < 5e-18 is nothing beside 1, and exp(40)^2 is still finite: products need no care.
LIMIT = 40.0


def exp(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """exp(x), x clamped to [-LIMIT, LIMIT]."""
    x = arith.minimumf(arith.maximumf(x, e.splat(-LIMIT, length)), e.splat(LIMIT, length))
    shifted = e.fma(x, e.splat(LOG2_E, length), e.splat(ROUND, length))
    whole = arith.subf(shifted, e.splat(ROUND, length))
    f = e.fma(whole, e.splat(-LN2_HIGH, length), x)
    f = e.fma(whole, e.splat(-LN2_LOW, length), f)
    p = e.splat(POLYNOMIAL[0], length)
    for coefficient in POLYNOMIAL[1:]:
        p = e.fma(p, f, e.splat(coefficient, length))
    p = arith.addf(e.fma(p, arith.mulf(f, f), f), e.splat(1.0, length))
    return _times_power_of_two(p, shifted, length)


def _times_power_of_two(p: ir.Value, shifted: ir.Value, length: int) -> ir.Value:
    """p * 2^n, n in the low bits of `shifted`: added to p's exponent field."""
    bits = ir.VectorType.get([length], ir.IntegerType.get_signless(32))

    def constant(value: int) -> ir.Value:
        number = ir.IntegerAttr.get(bits.element_type, value)
        return arith.constant(bits, ir.DenseElementsAttr.get_splat(bits, number))

    n = arith.subi(arith.bitcast(bits, shifted), constant(ROUND_BITS))
    scaled = arith.addi(arith.bitcast(bits, p), arith.shli(n, constant(23)))
    return arith.bitcast(p.type, scaled)


def sigmoid(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """1 / (1 + exp(-x))."""
    one = e.splat(1.0, length)
    return arith.divf(one, arith.addf(one, exp(e, arith.negf(x), length)))


def tanh(e: Emitter, x: ir.Value, length: int) -> ir.Value:
    """(1 - q) / (1 + q), q = exp(-2x)."""
    one = e.splat(1.0, length)
    q = exp(e, arith.mulf(x, e.splat(-2.0, length)), length)
    return arith.divf(arith.subf(one, q), arith.addf(one, q))


def gru_blend(e: Emitter, z: ir.Value, n: ir.Value, h: ir.Value, length: int) -> ir.Value:
    """(1 - sigmoid(z)) * tanh(n) + sigmoid(z) * h, over one common denominator.

    With p = exp(-z), q = exp(-2n): (p (1 - q) + h (1 + q)) / ((1 + p) (1 + q)).
    """
    one = e.splat(1.0, length)
    p = exp(e, arith.negf(z), length)
    q = exp(e, arith.mulf(n, e.splat(-2.0, length)), length)
    above = arith.addf(one, q)
    top = e.fma(h, above, arith.mulf(p, arith.subf(one, q)))
    return arith.divf(top, arith.mulf(arith.addf(one, p), above))
