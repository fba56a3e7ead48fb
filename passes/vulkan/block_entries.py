"""Entries of a table whose fields are bits of its four words (see `blocks`): made, and read.

A lane's is its panel and its number there, of 16 bits, then where its rows' sums go, of 12 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import Entry
from rtmobile_iree.passes.vulkan.values import ROWS
from torch_mlir import ir
from torch_mlir.dialects import arith

WORD_BITS, HALF_BITS, PLACE_BITS = 32, 16, 12
NO_PLACE = (1 << PLACE_BITS) - 1


def lane_entry(panel: int, lane: int, places: np.ndarray) -> Entry:
    """Of a lane; `places`: at most eight."""
    return (lane << HALF_BITS | panel, *packed_places(places, PLACE_BITS)[:3])


def packed_places(places: np.ndarray, bits: int) -> Entry:
    """Four words, the first place in the lowest bits; all ones for padding, which is -1."""
    number, ones = 0, (1 << bits) - 1
    for i, place in enumerate(places.tolist()):
        number |= (place & ones) << (i * bits)
    return tuple((number >> (i * WORD_BITS)) & 0xFFFFFFFF for i in range(ROWS))


def bits_of(e: ThreadEmitter, words: Sequence[ir.Value], first: int, count: int) -> ir.Value:
    """So many bits of words on end, the lowest first (i32)."""
    number, shift = divmod(first, WORD_BITS)
    value = arith.shrui(words[number], e.integer_splat(shift, 1)) if shift else words[number]
    if shift + count == WORD_BITS:
        return value
    if shift + count > WORD_BITS:
        above = arith.shli(words[number + 1], e.integer_splat(WORD_BITS - shift, 1))
        value = arith.ori(value, above)
    return arith.andi(value, e.integer_splat((1 << count) - 1, 1))
