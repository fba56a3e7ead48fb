"""The kernel of a linear layer: y[v] = W x[v], a thread a lane of four rows.

Workgroups along x share the lanes, along y the vectors v. Rows that are not stored have lanes
without columns, which write zeros.
"""

from __future__ import annotations

import numpy as np
from rtmobile_iree.passes.kernels.dispatch import Count
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import (
    LaneConstants,
    LanePool,
    Lanes,
    lane_sums,
    write_lane,
)
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.bspc import PackedMatrix

# Vectors that have workgroups of their own; more are taken in turn. A workgroup for each would
# need the count, which no driver takes above 65,535.
VECTORS_AT_ONCE = 1024


def plan_matmul(pool: LanePool, packed: PackedMatrix) -> Lanes:
    """Lays out [M, N] weights of a linear layer."""
    return pool.add_matrix(packed, np.arange(packed.shape[0], dtype=np.int32), is_complete=True)


def workgroups(lanes: Lanes, workgroup_size: int) -> Count:
    """How many run for so many vectors."""

    def count(vectors: ir.Value) -> tuple[ir.Value, ir.Value]:
        index = ir.IndexType.get()
        most = arith.constant(index, VECTORS_AT_ONCE)
        return arith.constant(index, -(-lanes.count // workgroup_size)), arith.minui(vectors, most)

    return count


def emit_matmul(
    e: ThreadEmitter,
    lanes: Lanes,
    outputs: int,
    constants: LaneConstants,
    buffers: tuple[ir.Value, ir.Value],
    vectors: ir.Value,
) -> None:
    """Emits the kernel; `buffers`: x [vectors * N] and y [vectors * M], flat f32 memrefs."""
    x, y = buffers
    lane = e.add(e.mul(e.workgroup(0), e.workgroup_size), e.thread())

    def one(v: ir.Value) -> None:
        target = e.mul(v, outputs)
        sums, rows = lane_sums(e, constants, lanes, lane, (x, e.mul(v, lanes.inputs)))
        write_lane(e, lanes, sums, rows, lambda row, s: e.store(s, y, e.add(target, row)))

    def all_vectors() -> None:
        e.loop(e.workgroup(1), vectors, VECTORS_AT_ONCE, [], one)

    when(compare("ult", lane, e.index(lanes.count)), all_vectors)
