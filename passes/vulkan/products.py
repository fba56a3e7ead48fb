"""What a thread does with a lane: its four sums, and where they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.blocks import Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, entries_a_lane
from rtmobile_iree.passes.vulkan.values import ROWS, integer_biases, wide_all
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.values import LARGEST

# memref and offset of a vector
Place = tuple[ir.Value, ir.Value]
# of each vector its sums, vector<4xf32>; and where they go, vector<4xi32>
LaneSums = tuple[list[list[ir.Value]], list[ir.Value]]
# position (index value) and f32, or four of them
Write = Callable[[ir.Value, ir.Value], None]


def lane_sums(
    e: ThreadEmitter, constants: LaneConstants, lane: ir.Value, vectors: list[Place]
) -> LaneSums:
    """The products of one lane with some input vectors, which share the loads of its weights.

    Args:
        lane: its number in the table (index value).

    Returns:
        For each vector its sums, `quads` vector<4xf32>, and where they go, vector<4xi32>.
    """
    quads = constants.quads
    at = e.mul(lane, entries_a_lane(constants.kind, quads))
    fields = e.lanes(memref.load(constants.table, [at]))
    column, columns, weight, stride = (as_index(each) for each in fields)

    kind, count = constants.kind, quads * len(vectors)

    def add(place: ir.Value, first: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
        place = as_index(memref.load(constants.index, [place]))
        loads = range(constants.loads)
        stored = [memref.load(constants.weights, [e.add(first, number)]) for number in loads]
        weights = [four for each in stored for four in wide_all(e, kind, each, constants.word_bits)]
        inputs = [e.load(x, e.add(start, place)) for x, start in vectors]
        pairs = [(w, x) for x in map(e.broadcast4, inputs) for w in weights]
        found = [e.fma(*pair, total) for pair, total in zip(pairs, totals[:count], strict=True)]
        return found + [arith.addf(*pair) for pair in zip(inputs, totals[count:], strict=False)]

    def taken(size: int, k: ir.Value, totals: Sequence[ir.Value]) -> list[ir.Value]:
        sums, place, first = list(totals), e.add(column, k), e.add(weight, arith.muli(k, stride))
        for i in range(size):
            sums = add(e.add(place, i), first, sums)
            first = e.add(first, stride)
        return sums

    totals = [e.zero4() for _ in range(count)]
    if kind in LARGEST:
        totals += [e.scalar(0.0) for _ in vectors]
    full = e.sub(columns, arith.remui(columns, e.index(e.unroll)))
    totals = e.loop(0, full, e.unroll, totals, lambda k, *sums: taken(e.unroll, k, sums))
    totals = e.loop(full, columns, 1, totals, lambda k, *sums: taken(1, k, sums))
    if kind in LARGEST:
        scales = [memref.load(constants.table, [e.add(at, 1 + quads + q)]) for q in range(quads)]
        totals = scaled(e, constants.kind, scales, totals[:count], totals[count:])
    rows = [memref.load(constants.table, [e.add(at, 1 + q)]) for q in range(quads)]
    return [totals[i : i + quads] for i in range(0, len(totals), quads)], rows


def scaled(
    e: ThreadEmitter,
    kind: str,
    scales: Sequence[ir.Value],
    totals: Sequence[ir.Value],
    inputs: Sequence[ir.Value],
) -> list[ir.Value]:
    """Sums of integers as they are masked (see `values`), without the bias, times their scales.

    Args:
        scales: the bits of those of four rows each, of `quads` fours.
        totals: of each vector, `quads` vector<4xf32>.
        inputs: of each vector, the sum of its inputs (f32).
    """
    quads = len(scales)
    biases = integer_biases(kind, ROWS * quads).reshape(quads, ROWS)
    four, found = e.vector_type(ROWS), []
    for number, total in enumerate(totals):
        vector, quad = divmod(number, quads)
        bias = arith.constant(
            four, ir.DenseElementsAttr.get(-biases[quad].astype(np.float32), type=four)
        )
        corrected = e.fma(e.broadcast4(inputs[vector]), bias, total)
        found.append(arith.mulf(corrected, arith.bitcast(four, scales[quad])))
    return found


def write_lane(
    e: ThreadEmitter,
    constants: Constants,
    sums: Sequence[ir.Value],
    rows: Sequence[ir.Value],
    write: Write,
) -> None:
    """write(position, sum) for each row of a lane that is no padding."""
    values = [value for each in sums for value in e.lanes(each)]
    places = [row for each in rows for row in e.lanes(each)]
    for value, row in zip(values, places, strict=True):
        _write_there(constants, row, value, write)


def write_quads(
    e: ThreadEmitter,
    constants: Constants,
    sums: Sequence[ir.Value],
    rows: Sequence[ir.Value],
    write: Write,
) -> None:
    """write(position of the first, four sums) for fours that are aligned, but those of padding."""
    for value, row in zip(sums, rows, strict=True):
        _write_there(constants, e.lane(row, 0), value, write)


def _write_there(constants: Constants, row: ir.Value, value: ir.Value, write: Write) -> None:
    """write(row, value) unless the row is padding."""
    if not constants.padded:
        write(as_index(row), value)
        return
    is_there = compare("sge", row, arith.constant(row.type, 0))
    when(is_there, partial(write, as_index(row), value))


def as_index(value: ir.Value) -> ir.Value:
    """An i32 that is not negative as an index value."""
    return arith.index_castui(ir.IndexType.get(), value)
