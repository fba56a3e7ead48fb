"""Registers of weights as they are multiplied, whatever they are stored in.

That is f32, or f16 for f16 alone; scales of i8 and i4 come in with the sums.
"""

from __future__ import annotations

from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import NIBBLES, elements_a_lane
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

BF16_SHIFT = 16
BF16_MASK = -(1 << 16)
WORD_BITS, NIBBLE_BITS = 32, 4


def element(kind: str) -> ir.Type:
    """MLIR's element type of the buffer that holds a kind of panel (see `plan`)."""
    if kind == "f32":
        return ir.F32Type.get()
    if kind == "f16":
        return ir.F16Type.get()
    return ir.IntegerType.get_signless(16 if kind == "bf16x2" else 8)


def load_weights(
    e: Emitter, kind: str, source: ir.Value, at: ir.Value, length: int
) -> list[ir.Value]:
    """The weights of `length` rows, as what is computed in, a vector for each column of a lane.

    i8 and i4 come without their scales.
    """
    count = length * elements_a_lane(kind)
    stored = vector.load(ir.VectorType.get([count], element(kind)), source, [at])
    wide = e.vector_type(length)
    if kind in ("f32", e.element):
        return [stored]
    if kind == "f16":
        return [arith.extf(wide, stored)]
    if kind == "i8":
        return [arith.sitofp(wide, stored)]
    if kind == NIBBLES:
        both = arith.extsi(e.integers(length), stored)
        top = e.integer_splat(WORD_BITS - NIBBLE_BITS, length)
        low = arith.shrsi(arith.shli(both, top), top)
        high = arith.shrsi(both, e.integer_splat(NIBBLE_BITS, length))
        return [arith.sitofp(wide, part) for part in (low, high)]
    both = vector.bitcast(e.integers(length), stored)
    low = arith.shli(both, e.integer_splat(BF16_SHIFT, length))
    high = arith.andi(both, e.integer_splat(BF16_MASK, length))
    return [arith.bitcast(wide, low), arith.bitcast(wide, high)]
