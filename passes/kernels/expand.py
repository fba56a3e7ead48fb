"""Vectors stored without their gaps and read with them.

Row pruning leaves gaps among the outputs of a matrix. Rather than send every result to its place,
the kernel writes the results one after another, and the reader opens the gaps: for each block of
a register's width there is a mask of the entries that are stored and the place of the first.

    for block:
        out[block] = expand(stored[first[block] ..], mask[block], where it is 0: defaults[block])

That is one instruction a register where the target expands under a mask (AVX-512's VEXPANDPS), in
place of a load, an extraction and a store an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rtmobile_iree.passes.kernels.emit import Emitter, intrinsic
from rtmobile_iree.passes.kernels.plan import ConstantPool, MatrixPlan, plan_matrix
from rtmobile_iree.passes.kernels.sums import Constants
from rtmobile_iree.passes.kernels.tall import padded_places
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import IntegerDot

TBX = "llvm.aarch64.neon.tbx1.v16i8"
REGISTER_BYTES = 16
BYTES = "i8"  # the pool's buffer that holds the tables


class Expansion(Protocol):
    """One expansion, planned."""

    def load(
        self, e: Emitter, constants: Constants, stored: tuple[ir.Value, ir.Value], at: ir.Value
    ) -> ir.Value:
        """Entries [at, at + a register's), `at` a multiple of that.

        Args:
            stored: memref and offset of the vector without gaps.
        """


@dataclass(frozen=True)
class MaskedExpansion(Expansion):
    """An expansion under masks.

    Attributes:
        width: entries of a block.
        blocks: offset in the index buffer: mask and place of the first entry, a block.
        defaults: offset in values: [length] what the gaps hold.
    """

    width: int
    blocks: int
    defaults: int

    def load(
        self, e: Emitter, constants: Constants, stored: tuple[ir.Value, ir.Value], at: ir.Value
    ) -> ir.Value:
        """See `Expansion`."""
        index, values = constants.index, constants.values
        pair = e.add(e.mul(arith.divui(at, e.index(self.width)), 2), self.blocks)
        first = e.load_index(index, e.add(pair, 1))
        gaps = e.vload(values, e.add(at, self.defaults), self.width)
        return e.expand(stored[0], e.add(stored[1], first), e.load(index, pair), gaps)


@dataclass(frozen=True)
class TableExpansion(Expansion):
    """An expansion of f16 by tables of bytes.

    Attributes:
        firsts: offset in the index buffer: place of the first entry, a block.
        tables: offset in the bytes: of each byte of a block, where it stands from there on, or -1.
        defaults: offset in values: [length] what the gaps hold.
    """

    firsts: int
    tables: int
    defaults: int

    def load(
        self, e: Emitter, constants: Constants, stored: tuple[ir.Value, ir.Value], at: ir.Value
    ) -> ir.Value:
        """See `Expansion`."""
        block = arith.divui(at, e.index(e.width))
        first = e.load_index(constants.index, e.add(block, self.firsts))
        place = e.add(e.mul(block, REGISTER_BYTES), self.tables)
        register = ir.VectorType.get([REGISTER_BYTES], ir.IntegerType.get_signless(8))
        table = vector.load(register, constants.weights(BYTES), [place])
        gaps = e.vload(constants.values, e.add(at, self.defaults), e.width)
        found = e.vload(stored[0], e.add(stored[1], first), e.width)
        operands = [vector.bitcast(register, gaps), vector.bitcast(register, found), table]
        return vector.bitcast(gaps.type, intrinsic(TBX, register, operands))


def plan_expansion(
    pool: ConstantPool, places: np.ndarray, defaults: np.ndarray, width: int
) -> Expansion | None:
    """Plans the expansion of a vector; None where entries of a block are not stored in a run.

    Args:
        places: [length] where each entry is stored; -1 for a gap. A multiple of `width`.
        defaults: [length] f32.
    """
    blocks = places.reshape(-1, width)
    is_half = pool.element == "f16"
    tables = np.full((len(blocks), width, 2), -1, np.int8)
    pairs = np.zeros((len(blocks), 2), np.int32)
    for pair, table, block in zip(pairs, tables, blocks, strict=True):
        there = block >= 0
        run = block[there]
        if (np.diff(run) != 1).any():
            return None
        table[there] = np.arange(2 * run.size).reshape(-1, 2)
        pair[:] = int((1 << np.flatnonzero(there)).sum()), run[0] if run.size else 0
    if is_half:
        firsts, bytes_ = pool.add_index(pairs[:, 1]), pool.add_weights(tables.ravel())
        return TableExpansion(firsts, bytes_, pool.add_values(defaults))
    return MaskedExpansion(width, pool.add_index(pairs), pool.add_values(defaults))


def stored_places(pool: ConstantPool, packed: PackedMatrix, width: int) -> tuple[np.ndarray, int]:
    """Where the sums of a matrix stand without gaps, for an expansion of blocks of `width`.

    Returns:
        [M] the place of each row's sum, -1 where it has none; and how many places there are.
    """
    order, count = np.arange(packed.reorder.size, dtype=np.int32), packed.reorder.size
    if pool.element == "f16":
        order, count = padded_places(packed, width)
    stored = np.full(packed.shape[0], -1, np.int32)
    stored[packed.reorder] = order
    return stored, count


def plan_rows(
    pool: ConstantPool,
    packed: PackedMatrix,
    bias: np.ndarray,
    positions: np.ndarray,
    count: int,
    dot: IntegerDot | None,
    width: int,
) -> tuple[MatrixPlan, Expansion | None]:
    """Lays out a matrix whose outputs [count] are read in blocks.

    Args:
        bias, positions: [M], as in `plan_matrix`.
        width: entries of a block; 0 where the target does not expand.

    Returns:
        The matrix, and how its outputs are read; None when they stand where they belong.
    """
    if width:
        kept = positions >= 0
        defaults = np.zeros(count, np.float32)
        defaults[positions[kept]] = bias[kept]
        stored, stored_count = stored_places(pool, packed, width)
        places = np.full(count, -1, np.int32)
        places[positions[kept]] = stored[kept]
        in_place = np.array_equal(places, np.arange(count))
        expansion = None if in_place else plan_expansion(pool, places, defaults, width)
        if expansion is not None:
            matrix = plan_matrix(pool, packed, bias, stored, stored_count, dot, masked=True)
            return matrix, expansion
    return plan_matrix(pool, packed, bias, positions, count, dot), None
