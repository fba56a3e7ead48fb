"""Value types on a GPU: four weights of a lane in one element of a buffer.

    f32   vector<4xf32>
    f16   vector<4xf16>, which a target must be able to store
    bf16  vector<2xi32>, two in a word
    i8    i32, four in a word

or more of them: four words of 32 or of 64 bits, one load of 16 or 32 bytes.

Words are taken apart by shifts: no buffer holds elements of 8 bits, nor of 16 but f16's. Sums are
f32; i8's scales come in with them.
"""

from __future__ import annotations

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.values import STORAGE

ROWS = 4
BF16_BITS, I8_BITS, WORD_BITS = 16, 8, 32
BF16_MASK = -(1 << BF16_BITS)
WORDS = 4  # of an element made of words


def rows_a_load(kind: str, word_bits: int) -> int:
    """Rows whose weights are in one element of a buffer; `word_bits`: of its words, if any."""
    value_bits = 8 * np.dtype(STORAGE[kind]).itemsize
    return WORDS * word_bits // value_bits if word_bits else ROWS


def fitting_words(kind: str, rows: int, most: int) -> int:
    """Bits of the words of elements that divide so many rows: 64, 32 or 0, no more than `most`."""
    sizes = [bits for bits in (2 * WORD_BITS, WORD_BITS) if bits <= most]
    return next((bits for bits in sizes if rows % rows_a_load(kind, bits) == 0), 0)


def stored_vectors(kind: str, values: np.ndarray, word_bits: int = 0) -> np.ndarray:
    """[n, rows] stored values as elements of a buffer: [n, 4], [n, 2] or [n]."""
    if word_bits:
        return np.ascontiguousarray(values).view(f"i{word_bits // 8}")
    if kind in ("f32", "f16"):
        return values
    words = np.ascontiguousarray(values).view(np.int32)  # the first value in the lowest bits
    return words if kind == "bf16" else words.reshape(-1)


def wide_words(e: ThreadEmitter, kind: str, stored: ir.Value) -> list[ir.Value]:
    """The vector<4xf32> of an element made of words; i8 without its scales."""
    words = [word for each in e.lanes(stored) for word in _words(each)]
    found = [value for word in words for value in _word(e, kind, word)]
    return [
        vector.from_elements(e.vector_type(ROWS), found[i : i + ROWS])
        for i in range(0, len(found), ROWS)
    ]


def _words(word: ir.Value) -> list[ir.Value]:
    """A word of 64 bits as two, the lower first; one of 32 as it is."""
    short, long = (ir.IntegerType.get_signless(bits) for bits in (WORD_BITS, 2 * WORD_BITS))
    if word.type != long:
        return [word]
    high = arith.shrui(word, arith.constant(long, WORD_BITS))
    return [arith.trunci(short, each) for each in (word, high)]


def _word(e: ThreadEmitter, kind: str, word: ir.Value) -> list[ir.Value]:
    """The f32 values of a word of 32 bits."""
    if kind == "f32":
        return [arith.bitcast(e.f32, word)]
    if kind == "bf16":
        return _halves(e, word)
    if kind == "i8":
        return [_byte(e, word, number) for number in range(ROWS)]
    pair = ir.VectorType.get([2], ir.F16Type.get())
    one = vector.broadcast(ir.VectorType.get([1], word.type), word)
    return e.lanes(arith.extf(e.vector_type(2), vector.bitcast(pair, one)))


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
