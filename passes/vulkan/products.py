"""What a thread does with a lane: its four sums, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LaneConstants, entries_a_lane
from rtmobile_iree.passes.vulkan.values import wide
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

# memref and offset of a vector
Place = tuple[ir.Value, ir.Value]
# position (index value) and f32
Write = Callable[[ir.Value, ir.Value], None]


def lane_sums(
    e: ThreadEmitter, constants: LaneConstants, lane: ir.Value, vectors: list[Place]
) -> tuple[list[ir.Value], ir.Value]:
    """The products of one lane with some input vectors, which share the loads of its weights.

    Args:
        lane: its number in the table (index value).

    Returns:
        Four sums for each vector, vector<4xf32>, and where they go, vector<4xi32>.
    """
    at = e.mul(lane, entries_a_lane(constants.kind))
    fields = e.lanes(memref.load(constants.table, [at]))
    column, columns, weight, stride = (as_index(each) for each in fields)

    def add(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
        place = as_index(memref.load(constants.index, [e.add(column, k)]))
        stored = memref.load(constants.weights, [arith.addi(weight, arith.muli(k, stride))])
        weights = wide(e, constants.kind, stored)
        values = [e.broadcast4(e.load(x, e.add(start, place))) for x, start in vectors]
        return [e.fma(weights, x, total) for x, total in zip(values, totals, strict=True)]

    def unrolled(k: ir.Value, *totals: ir.Value) -> list[ir.Value]:
        sums = list(totals)
        for i in range(e.unroll):
            sums = add(e.add(k, i), sums)
        return sums

    full = e.sub(columns, arith.remui(columns, e.index(e.unroll)))
    totals = e.loop(0, full, e.unroll, [e.zero4() for _ in vectors], unrolled)
    totals = e.loop(full, columns, 1, totals, lambda k, *sums: add(k, list(sums)))
    if constants.kind == "i8":
        bits = memref.load(constants.table, [e.add(at, 2)])
        scales = arith.bitcast(e.vector_type(4), bits)
        totals = [arith.mulf(total, scales) for total in totals]
    return totals, memref.load(constants.table, [e.add(at, 1)])


def write_lane(
    e: ThreadEmitter, constants: LaneConstants, sums: ir.Value, rows: ir.Value, write: Write
) -> None:
    """write(position, sum) for each row of a lane that is no padding."""
    for value, row in zip(e.lanes(sums), e.lanes(rows), strict=True):
        if not constants.padded:
            write(as_index(row), value)
            continue
        is_there = compare("sge", row, arith.constant(row.type, 0))
        when(is_there, partial(write, as_index(row), value))


def as_index(value: ir.Value) -> ir.Value:
    """An i32 that is not negative as an index value."""
    return arith.index_castui(ir.IndexType.get(), value)
