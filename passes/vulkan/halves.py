"""Products in f16, two rows at once: `activations="f16"` (see `blocks` and `resident_tiles`).

A word of weights becomes pairs of f16. Integers are stored with a bias here, all of them, as
unsigned ones; a mask takes two out of a word, 16 bits apart, a conversion makes them exact: q, or
16 q, where `powers` says so, and the bias. That is subtracted, or, where a weight has one product
alone, sums begin with less by the bias times the sum of their inputs, which makes no sum greater.
Eight products of a row are added up in f16, and their sum to an f32 one. From 63 on, an input's
products with integers leave f16's range; with weights of f16, sums of eight over 65,504 do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.values import ROWS, integer_biases, integer_powers
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.values import LARGEST, VALUE_BITS

VALUES = ("f16", "i8", "i4")
WORD_BITS, HALF_BITS, BYTE_BITS = 32, 16, 8


def powers(kind: str, rows: int) -> np.ndarray:
    """[rows] what the integers of a lane's rows are multiplied by."""
    bits = VALUE_BITS[kind]
    return 2.0 ** (bits * np.arange(rows) % BYTE_BITS)


def bias(kind: str) -> int:
    """What is added to an integer as it is stored."""
    return 1 << (VALUE_BITS[kind] - 1)


def all_biased(kind: str, values: np.ndarray) -> np.ndarray:
    """[n, rows] as `values.stored_vectors` takes them, so that all integers end up with a bias."""
    if kind not in LARGEST:
        return values
    rows = values.shape[1]
    has = integer_biases(kind, rows) / integer_powers(kind, rows)
    return values.astype(np.int16) + (bias(kind) - has).astype(np.int16)


def add_halves(
    e: ThreadEmitter,
    kind: str,
    words: Sequence[ir.Value],
    inputs: Sequence[Sequence[ir.Value]],
    totals: Sequence[ir.Value],
) -> list[ir.Value]:
    """The totals and the products of some columns.

    Args:
        words: of a lane's weights, column by column.
        inputs: a column each, of all vectors (f32).
        totals: vector<4xf32>, of each vector for all rows of the lane.
    """
    a_column, biases = len(words) // len(inputs), _pair_biases(kind)
    is_alone = kind in LARGEST and len(inputs[0]) == 1
    sums: list[list[ir.Value]] = [[] for _ in inputs[0]]
    if is_alone:
        total = _twice(reduce(arith.addf, [x for (x,) in inputs]))
        sums = [[arith.mulf(_splat(-bias), total) for bias in biases] * a_column]
    for number, column in enumerate(inputs):
        own = words[number * a_column : (number + 1) * a_column]
        weights = [pair for word in own for pair in _pairs(e, kind, word)]
        if kind in LARGEST and not is_alone:
            each_bias = map(_splat, biases * a_column)
            weights = [arith.subf(*both) for both in zip(weights, each_bias, strict=True)]
        for each, x in enumerate(map(_twice, column)):
            before = sums[each]
            sums[each] = [
                e.fma(weight, x, before[i]) if before else arith.mulf(weight, x)
                for i, weight in enumerate(weights)
            ]
    fours = [four for each in sums for four in _rows(e, kind, each)]
    return [arith.addf(*pair) for pair in zip(totals, fours, strict=True)]


def _pairs(e: ThreadEmitter, kind: str, word: ir.Value) -> list[ir.Value]:
    """The weights in a word, with the biases of `_pair_biases`; pair i has row i and the row half a
    word further."""
    if kind not in LARGEST:
        return [_bits_of(word, ir.F16Type.get())]
    bits = VALUE_BITS[kind]
    ones = (1 << bits) - 1
    found = []
    for first in range(0, HALF_BITS, BYTE_BITS):
        moved = arith.shrui(word, e.integer_splat(first, 1)) if first else word
        for low in range(0, BYTE_BITS, bits):
            mask = e.integer_splat((ones << HALF_BITS | ones) << low, 1)
            both = _bits_of(arith.andi(moved, mask), ir.IntegerType.get_signless(HALF_BITS))
            found.append(arith.uitofp(_pair(), both))
    return found


def _pair_biases(kind: str) -> list[float]:
    """What is added to the pairs of a word; none of floats."""
    if kind not in LARGEST:
        return []
    bits = VALUE_BITS[kind]
    lows = [low for _ in range(0, HALF_BITS, BYTE_BITS) for low in range(0, BYTE_BITS, bits)]
    return [float(bias(kind) << low) for low in lows]


def _rows(e: ThreadEmitter, kind: str, pairs: Sequence[ir.Value]) -> list[ir.Value]:
    """vector<4xf32> of pairs in the order of their rows."""
    wide = [e.lanes(arith.extf(e.vector_type(2), pair)) for pair in pairs]
    a_word = HALF_BITS // VALUE_BITS[kind]
    rows = [
        pair[half]
        for at in range(0, len(wide), a_word)
        for half in range(2)
        for pair in wide[at : at + a_word]
    ]
    return [
        vector.from_elements(e.vector_type(ROWS), rows[i : i + ROWS])
        for i in range(0, len(rows), ROWS)
    ]


def _bits_of(word: ir.Value, element: ir.Type) -> ir.Value:
    """A word as two elements of 16 bits."""
    one = vector.broadcast(ir.VectorType.get([1], word.type), word)
    return vector.bitcast(ir.VectorType.get([2], element), one)


def _twice(x: ir.Value) -> ir.Value:
    """An f32 as a pair."""
    return vector.broadcast(_pair(), arith.truncf(ir.F16Type.get(), x))


def _splat(value: float) -> ir.Value:
    number = ir.FloatAttr.get(ir.F16Type.get(), value)
    return arith.constant(_pair(), ir.DenseElementsAttr.get_splat(_pair(), number))


def _pair() -> ir.VectorType:
    return ir.VectorType.get([2], ir.F16Type.get())
