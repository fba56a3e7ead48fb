"""Value types on a GPU: four weights of a lane in one element of a buffer.

    f32   vector<4xf32>
    f16   vector<4xf16>, which a target must be able to store
    bf16  vector<2xi32>, two in a word
    i8    i32, four in a word

Words are taken apart by shifts: no buffer holds elements of 8 bits, nor of 16 but f16's. Sums are
f32; i8's scales come in with them.
"""

from __future__ import annotations

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

ROWS = 4
BF16_BITS, I8_BITS, WORD_BITS = 16, 8, 32
BF16_MASK = -(1 << BF16_BITS)


def stored_vectors(kind: str, values: np.ndarray) -> np.ndarray:
    """[n, 4] stored values as elements of a buffer: [n, 4], [n, 2] or [n]."""
    if kind in ("f32", "f16"):
        return values
    words = np.ascontiguousarray(values).view(np.int32)  # the first value in the lowest bits
    return words if kind == "bf16" else words.reshape(-1)


def wide(e: ThreadEmitter, kind: str, stored: ir.Value) -> ir.Value:
    """vector<4xf32> of one element; i8 without its scales."""
    if kind == "f32":
        return stored
    if kind == "f16":
        return arith.extf(e.vector_type(4), stored)
    if kind == "i8":
        parts = [_byte(e, stored, number) for number in range(ROWS)]
    else:
        parts = [half for word in e.lanes(stored) for half in _halves(e, word)]
    return vector.from_elements(e.vector_type(4), parts)


def _byte(e: ThreadEmitter, word: ir.Value, number: int) -> ir.Value:
    top = WORD_BITS - I8_BITS
    moved = arith.shli(word, e.integer_splat(top - I8_BITS * number, 1))
    return arith.sitofp(e.f32, arith.shrsi(moved, e.integer_splat(top, 1)))


def _halves(e: ThreadEmitter, word: ir.Value) -> list[ir.Value]:
    low = arith.shli(word, e.integer_splat(BF16_BITS, 1))
    high = arith.andi(word, e.integer_splat(BF16_MASK, 1))
    return [arith.bitcast(e.f32, bits) for bits in (low, high)]
