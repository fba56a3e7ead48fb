"""Value types on a GPU: four weights of a lane, or more, in one element of a buffer.

    f32   vector<4xf32>
    f16   vector<4xf16>, which a target must be able to store
    bf16  vector<2xi32>, two in a word
    i8    i32, four in a word
    i4    i32, eight in a word: an element has eight weights

or more of them: four words of 32 or of 64 bits, one load of 16 or 32 bytes.

No buffer holds elements of 8 bits, nor of 16 but f16's. bf16 is a shift or a mask away. Of i8 and
i4 all but the highest integer of a word are stored with a bias, as unsigned ones: one mask then
takes out an integer times a power of two, where two shifts would be needed. The power goes into the
scale of its row, `integer_powers`; the bias out of the sum, `integer_biases` times the sum of the
inputs. Sums are f32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.values import LARGEST, VALUE_BITS

ROWS = 4
BF16_BITS, WORD_BITS = 16, 32
BF16_MASK = -(1 << BF16_BITS)
WORDS = 4  # of an element made of words


def rows_a_load(kind: str, word_bits: int) -> int:
    """Rows whose weights are in an element of a buffer; `word_bits`: of its words, 0: see above."""
    if word_bits:
        return WORDS * word_bits // VALUE_BITS[kind]
    return max(ROWS, WORD_BITS // VALUE_BITS[kind])


def fitting_words(kind: str, rows: int, most: int) -> int:
    """Bits of the words of elements that divide so many rows: 64, 32 or 0, no more than `most`."""
    sizes = [bits for bits in (2 * WORD_BITS, WORD_BITS) if bits <= most]
    return next((bits for bits in sizes if rows % rows_a_load(kind, bits) == 0), 0)


def stored_vectors(kind: str, values: np.ndarray, word_bits: int = 0) -> np.ndarray:
    """[n, rows] stored values as elements of a buffer: [n, 4], [n, 2] or [n]."""
    if kind in LARGEST:
        values = _biased(kind, values)
    if word_bits:
        return np.ascontiguousarray(values).view(f"i{word_bits // 8}")
    if kind in ("f32", "f16"):
        return values
    words = np.ascontiguousarray(values).view(np.int32)  # the first value in the lowest bits
    return words if kind == "bf16" else words.reshape(-1)


def wide_all(e: ThreadEmitter, kind: str, stored: ir.Value, word_bits: int) -> list[ir.Value]:
    """The vector<4xf32> of one element; of i8 and i4 as they are masked."""
    if not word_bits and kind not in LARGEST:
        return [wide(e, kind, stored)]
    words = [word for each in e.lanes(stored) for word in _words(each)] if word_bits else [stored]
    return wide_words(e, kind, words)


def wide_words(e: ThreadEmitter, kind: str, words: Sequence[ir.Value]) -> list[ir.Value]:
    """The vector<4xf32> of words (i32)."""
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
    if kind in LARGEST:
        return _integers(e, kind, word)
    pair = ir.VectorType.get([2], ir.F16Type.get())
    one = vector.broadcast(ir.VectorType.get([1], word.type), word)
    return e.lanes(arith.extf(e.vector_type(2), vector.bitcast(pair, one)))


def wide(e: ThreadEmitter, kind: str, stored: ir.Value) -> ir.Value:
    """vector<4xf32> of one element of floats that is not made of words."""
    if kind == "f32":
        return stored
    if kind == "f16":
        return arith.extf(e.vector_type(4), stored)
    parts = [half for word in e.lanes(stored) for half in _halves(e, word)]
    return vector.from_elements(e.vector_type(4), parts)


def integer_powers(kind: str, rows: int) -> np.ndarray:
    """[rows] what the integers of a lane's rows are multiplied by when they are masked."""
    bits = VALUE_BITS[kind]
    return 2.0 ** (bits * (np.arange(rows) % (WORD_BITS // bits)))


def integer_biases(kind: str, rows: int) -> np.ndarray:
    """[rows] what was added to the integers of a lane's rows, multiplied likewise."""
    bits = VALUE_BITS[kind]
    is_highest = np.arange(rows) % (WORD_BITS // bits) == WORD_BITS // bits - 1
    return np.where(is_highest, 0, 2 ** (bits - 1)) * integer_powers(kind, rows)


def _biased(kind: str, values: np.ndarray) -> np.ndarray:
    """[n, rows] integers as they are stored, two of i4 in a byte."""
    rows = values.shape[1]
    bias = (integer_biases(kind, rows) / integer_powers(kind, rows)).astype(np.int16)
    found = (values + bias).astype(np.uint8)
    if kind == "i4":
        found = found[:, ::2] & 0xF | found[:, 1::2] << VALUE_BITS[kind]
    return found.view(np.int8)


def _integers(e: ThreadEmitter, kind: str, word: ir.Value) -> list[ir.Value]:
    """The integers of a word, masked, in f32."""
    bits = VALUE_BITS[kind]
    ones = (1 << bits) - 1
    masks = [ones << first for first in range(0, WORD_BITS - bits, bits)]
    masks.append(-(1 << (WORD_BITS - bits)))
    return [arith.sitofp(e.f32, arith.andi(word, e.integer_splat(mask, 1))) for mask in masks]


def _halves(e: ThreadEmitter, word: ir.Value) -> list[ir.Value]:
    low = arith.shli(word, e.integer_splat(BF16_BITS, 1))
    high = arith.andi(word, e.integer_splat(BF16_MASK, 1))
    return [arith.bitcast(e.f32, bits) for bits in (low, high)]
