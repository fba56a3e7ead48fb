"""Registers of weights as they are multiplied, whatever they are stored in.

That is f32, or f16 for f16 alone; i8's scales come in with the sums.
"""

from __future__ import annotations

from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import COLUMNS_A_LANE
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

BF16_SHIFT = 16
BF16_MASK = -(1 << 16)


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

    i8 comes without its scales.
    """
    columns = COLUMNS_A_LANE.get(kind, 1)
    stored = vector.load(ir.VectorType.get([length * columns], element(kind)), source, [at])
    wide = e.vector_type(length)
    if kind in ("f32", e.element):
        return [stored]
    if kind == "f16":
        return [arith.extf(wide, stored)]
    if kind == "i8":
        return [arith.sitofp(wide, stored)]
    both = vector.bitcast(e.integers(length), stored)
    low = arith.shli(both, e.integer_splat(BF16_SHIFT, length))
    high = arith.andi(both, e.integer_splat(BF16_MASK, length))
    return [arith.bitcast(wide, low), arith.bitcast(wide, high)]
