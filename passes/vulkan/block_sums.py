"""What a thread does with a lane of rows, eight columns at a time (see `blocks`)."""

from __future__ import annotations

from collections.abc import Sequence

from rtmobile_iree.passes.kernels.emit import compare
from rtmobile_iree.passes.vulkan.block_entries import HALF_BITS, PLACE_BITS, WORD_BITS, bits_of
from rtmobile_iree.passes.vulkan.blocks import COLUMNS, ZEROS, BlockConstants, Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.halves import add_halves
from rtmobile_iree.passes.vulkan.lanes import PADDING
from rtmobile_iree.passes.vulkan.products import LaneSums, Place, as_index, lane_sums, scaled
from rtmobile_iree.passes.vulkan.values import ROWS, wide_all
from torch_mlir import ir
from torch_mlir.dialects import arith, memref, vector

from rtmobile_iree.values import LARGEST


def matrix_sums(
    e: ThreadEmitter, constants: Constants, lane: ir.Value, vectors: list[Place]
) -> LaneSums:
    """As `products.lane_sums`, of a lane of either pool."""
    if isinstance(constants, BlockConstants):
        return block_sums(e, constants, lane, vectors)
    return lane_sums(e, constants, lane, vectors)


def block_sums(
    e: ThreadEmitter, constants: BlockConstants, lane: ir.Value, vectors: list[Place]
) -> LaneSums:
    """As `products.lane_sums`."""
    table, kind, quads = constants.table, constants.kind, constants.quads
    at, count = e.mul(lane, constants.entries_a_lane), quads * len(vectors)
    own, *places = e.lanes(memref.load(table, [at]))
    panel, number = (as_index(bits_of(e, [own], first, HALF_BITS)) for first in (0, HALF_BITS))
    entry = e.lanes(memref.load(table, [e.add(panel, constants.panels)]))
    index, groups, weight, lanes = (as_index(each) for each in entry)

    def turn(_: ir.Value, index: ir.Value, at: ir.Value, *totals: ir.Value) -> list[ir.Value]:
        parts = [memref.load(constants.index, [e.add(index, i)]) for i in range(2)]
        columns = [as_index(each) for part in parts for each in e.lanes(part)]
        stored = []
        for _ in range(constants.loads):
            stored.append(memref.load(constants.weights, [at]))
            at = e.add(at, lanes)
        inputs = [[e.load(x, e.add(start, column)) for x, start in vectors] for column in columns]
        if constants.is_half:
            words = [word for each in stored for word in e.lanes(each)]
            found = add_halves(e, kind, words, inputs, totals)
        else:
            found = _add_wide(e, constants, stored, inputs, totals)
        return [e.add(index, COLUMNS // ROWS), at, *found]

    totals = [e.zero4() for _ in range(count)]
    if kind in LARGEST and not constants.is_half:
        totals += [e.scalar(0.0) for _ in vectors]
    _, _, *totals = e.loop(0, groups, 1, [index, e.add(weight, number), *totals], turn)
    if kind in LARGEST:
        scales = [memref.load(table, [e.add(at, 1 + quad)]) for quad in range(quads)]
        if constants.is_half:
            own = [arith.bitcast(e.vector_type(ROWS), each) for each in scales]
            totals = [arith.mulf(total, own[i % quads]) for i, total in enumerate(totals)]
        else:
            totals = scaled(e, kind, scales, totals[:count], totals[count:])
    sums = [totals[i : i + quads] for i in range(0, count, quads)]
    return sums, _rows(e, constants, places, PLACE_BITS, quads)


def _add_wide(
    e: ThreadEmitter,
    constants: BlockConstants,
    stored: Sequence[ir.Value],
    inputs: Sequence[Sequence[ir.Value]],
    totals: Sequence[ir.Value],
) -> list[ir.Value]:
    """The totals and the products of some columns in f32; of i8 and i4 the sums of inputs follow.

    Args:
        inputs: a column each, of all vectors.
    """
    kind, quads, found = constants.kind, constants.quads, list(totals)
    count = quads * len(inputs[0])
    weights = [four for each in stored for four in wide_all(e, kind, each, WORD_BITS)]
    for number, column in enumerate(inputs):
        fours = weights[number * quads : (number + 1) * quads]
        pairs = [(four, x) for x in map(e.broadcast4, column) for four in fours]
        sums = [e.fma(*pair, total) for pair, total in zip(pairs, found[:count], strict=True)]
        rest = zip(column, found[count:], strict=False)
        found = sums + [arith.addf(*pair) for pair in rest]
    return found


def zero_rows(e: ThreadEmitter, constants: BlockConstants, entry: ir.Value) -> list[ir.Value]:
    """Where eight sums without weights go, two vector<4xi32>; `entry`: among the zeros."""
    words = e.lanes(memref.load(constants.table, [e.add(entry, constants.zeros)]))
    return _rows(e, constants, words, HALF_BITS, ZEROS // ROWS)


def _rows(
    e: ThreadEmitter, constants: BlockConstants, words: Sequence[ir.Value], bits: int, quads: int
) -> list[ir.Value]:
    """vector<4xi32> of places of so many bits; PADDING for all ones."""
    ones, padding = (e.integer_splat(number, 1) for number in ((1 << bits) - 1, PADDING))
    found = [bits_of(e, words, i * bits, bits) for i in range(quads * ROWS)]
    if constants.padded:
        found = [arith.select(compare("eq", each, ones), padding, each) for each in found]
    return [
        vector.from_elements(e.integers(ROWS), found[i : i + ROWS])
        for i in range(0, len(found), ROWS)
    ]
