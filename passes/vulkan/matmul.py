"""The kernel of a linear layer: y[v] = W x[v], a thread a lane of rows.

Workgroups along x share the lanes, along y the vectors v, of which a few share the loads of the
weights. Rows that are not stored have lanes without columns, which write zeros, or are listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.dispatch import Count
from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.block_sums import matrix_sums, zero_rows
from rtmobile_iree.passes.vulkan.blocks import BlockConstants, Constants
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.lanes import LanePool, Lanes
from rtmobile_iree.passes.vulkan.products import Place, write_lane
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.bspc import PackedMatrix

# Groups of vectors that have workgroups of their own; more are taken in turn. A workgroup for each
# would need the count, which no driver takes above 65,535.
GROUPS_AT_ONCE = 1024


def plan_matmul(pool: LanePool, packed: PackedMatrix) -> Lanes:
    """Lays out [M, N] weights of a linear layer."""
    return pool.add_matrix(packed, np.arange(packed.shape[0], dtype=np.int32), is_complete=True)


def workgroups(lanes: Lanes, workgroup_size: int, vector_tile: int) -> Count:
    """How many run for so many vectors."""

    def count(vectors: ir.Value) -> tuple[ir.Value, ir.Value]:
        index = ir.IndexType.get()
        tile, most = (arith.constant(index, n) for n in (vector_tile, GROUPS_AT_ONCE))
        groups = arith.minui(arith.ceildivui(vectors, tile), most)
        return arith.constant(index, -(-lanes.count // workgroup_size)), groups

    return count


@dataclass(frozen=True)
class MatmulKernel:
    """Emits the kernel of the module docstring.

    Attributes:
        outputs: M.
        x, y: [vectors * N] and [vectors * M], in flat f32 memrefs.
        vectors: how many (index value).
        vector_tile: vectors that share the loads of the weights.
    """

    emit: ThreadEmitter
    lanes: Lanes
    outputs: int
    constants: Constants
    x: Place
    y: Place
    vectors: ir.Value
    vector_tile: int

    def body(self) -> None:
        """The whole kernel."""
        e = self.emit
        lane = e.add(e.mul(e.workgroup(0), e.workgroup_size), e.thread())
        first, stride = e.mul(e.workgroup(1), self.vector_tile), GROUPS_AT_ONCE * self.vector_tile

        def all_vectors() -> None:
            e.loop(first, self.vectors, stride, [], lambda v: self.group(lane, v))

        when(compare("ult", lane, e.index(self.lanes.count)), all_vectors)

    def group(self, lane: ir.Value, v: ir.Value) -> None:
        """The vectors from v on: all at once where there are enough, else one by one."""
        e, tile = self.emit, self.vector_tile
        end = e.min(e.add(v, tile), self.vectors)
        is_full = compare("eq", e.sub(end, v), e.index(tile))
        when(is_full, lambda: self._vectors(lane, [e.add(v, i) for i in range(tile)]))
        rest = arith.select(is_full, end, v)
        e.loop(rest, end, 1, [], lambda one: self._vectors(lane, [one]))

    def zeros(self, entry: ir.Value, v: ir.Value) -> None:
        """Listed rows of the vectors from v on."""
        e, constants = self.emit, self.constants
        assert isinstance(constants, BlockConstants)
        rows = zero_rows(e, constants, e.add(entry, self.lanes.first_zeros))
        end = e.min(e.add(v, self.vector_tile), self.vectors)
        sums = [e.zero4() for _ in rows]
        e.loop(v, end, 1, [], lambda one: self._write(e.mul(one, self.outputs), sums, rows))

    def _vectors(self, lane: ir.Value, vectors: list[ir.Value]) -> None:
        e, lanes = self.emit, self.lanes
        x, first = self.x
        places = [(x, e.add(first, e.mul(v, lanes.inputs))) for v in vectors]
        totals, rows = matrix_sums(e, self.constants, e.add(lane, lanes.start), places)
        for v, sums in zip(vectors, totals, strict=True):
            self._write(e.mul(v, self.outputs), sums, rows)

    def _write(self, start: ir.Value, sums: list[ir.Value], rows: list[ir.Value]) -> None:
        e, (y, first) = self.emit, self.y

        def write(row: ir.Value, value: ir.Value) -> None:
            e.store(value, y, e.add(first, start, row))

        write_lane(e, self.constants, sums, rows, write)
