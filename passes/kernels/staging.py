"""Inputs of integer dot products moved together: the bytes of the columns that a group keeps.

    for group:
        staged[group] = u[columns of the group]        # side by side

Rows of one pattern share them, whatever panels these rows are in. How bytes are moved is the
target's (`IntegerDot.move`), in blocks of 64 columns but for the last:

- `compress` (AVX-512 VBMI2): under a mask of the block's kept columns;
- `lookup` (NEON's TBL): the block stands in four registers for all groups, and an index vector of a
  group picks its columns; a table says how many the group keeps before the block;
- `gather`: one by one, by column number.

Where every group keeps all columns nothing is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from rtmobile_iree.passes.kernels.emit import Emitter, intrinsic
from torch_mlir import ir
from torch_mlir.dialects import arith, math, memref, vector

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import IntegerDot

if TYPE_CHECKING:
    from rtmobile_iree.passes.kernels.plan import ConstantPool

BLOCK = 64  # bytes that one instruction moves together, or picks from
MASK_BITS = 16  # of an entry in the index buffer
REGISTER = 16  # bytes of a 128-bit register
MOST = 256 << 10  # bytes of moved inputs that stay in a cache until they are used
NOTHING = 255  # an index out of the table picks 0
GATHERED = 4  # columns a pass; the index buffer is filled up to that
COMPRESS = "llvm.x86.avx512.mask.compress.v64i8"
LOOKUP = "llvm.aarch64.neon.tbl4.v{}i8"

# (group, vector) -> offset of the staged bytes
Place = Callable[[ir.Value, int], ir.Value]


@dataclass(frozen=True)
class Staging:
    """How the inputs of one matrix are moved together.

    Attributes:
        move: a way of the module docstring; empty where nothing is moved.
        groups: patterns of columns.
        blocks: of 64 columns, the last filled up.
        pitch: bytes set aside for the inputs of a group; the last 64 may be overwritten.
        index: offset in the index buffer of [groups, entries]: masks, numbers of columns before
            each block, or column numbers.
        picks: `lookup`: offset in the i8 buffer of [groups, blocks, picked].
        picked: `lookup`: index bytes of a block; `compress`: bytes stored of one.
    """

    move: str
    groups: int
    blocks: int
    pitch: int
    index: int = 0
    entries: int = 0
    picks: int = 0
    picked: int = 0

    def is_whole(self, vectors: int) -> bool:
        """Whether the inputs of all groups of so many vectors are moved before they are used."""
        return vectors * self.pitch * self.groups <= MOST

    def size(self, vectors: int) -> int:
        """Bytes for the moved inputs of so many vectors: of all groups at once, or of one."""
        if not self.move:
            return 0
        return vectors * self.pitch * (self.groups if self.is_whole(vectors) else 1)


def plan_staging(pool: ConstantPool, packed: PackedMatrix, dot: IntegerDot) -> Staging:
    """Lays out what it takes to move the inputs of [M, N]; group numbers are those of `packed`."""
    length = packed.shape[1]
    bounds = packed.column_offset.tolist()
    index = packed.column_index.astype(np.int64)
    groups = [index[a:b] for a, b in pairwise(bounds)]
    blocks, most = -(-length // BLOCK), max(map(len, groups), default=0)
    pitch = most + -most % BLOCK + BLOCK
    if all(columns.size == length for columns in groups):
        return Staging("", len(groups), blocks, pitch)
    counts = np.array([np.bincount(c // BLOCK, minlength=blocks) for c in groups])
    if dot.move == "compress":
        kept = np.zeros((len(groups), blocks * BLOCK), bool)
        for row, columns in zip(kept, groups, strict=True):
            row[columns] = True
        masks = np.packbits(kept, bitorder="little").view(np.uint16)
        # a store that crosses a cache line costs more: nothing wider than needed is stored
        stored = 1 << (max(int(counts.max()), REGISTER) - 1).bit_length()
        entries = BLOCK // MASK_BITS * blocks
        return Staging("compress", len(groups), blocks, pitch, pool.add_index(masks), entries,
                       picked=stored)  # fmt: skip
    if dot.move == "lookup":
        before = np.cumsum(counts, axis=1) - counts
        picks, picked = _picks(groups, counts)
        return Staging("lookup", len(groups), blocks, pitch, pool.add_index(before), blocks,
                       pool.add_weights(picks.view(np.int8).ravel()), picked)  # fmt: skip
    entries = most + -most % GATHERED
    numbers = np.zeros((len(groups), entries), np.int32)
    for row, columns in zip(numbers, groups, strict=True):
        row[: columns.size] = columns
    return Staging("gather", len(groups), blocks, pitch, pool.add_index(numbers), entries)


def _picks(groups: Sequence[np.ndarray], counts: np.ndarray) -> tuple[np.ndarray, int]:
    """Index vectors [groups, blocks, bytes], and their bytes: half a register, or whole ones."""
    crowded = int(counts.max())
    half = REGISTER // 2
    picked = half if crowded <= half else crowded + -crowded % REGISTER
    picks = np.full((*counts.shape, picked), NOTHING, np.uint8)
    for row, columns in zip(picks, groups, strict=True):
        for block, pick in enumerate(row):
            own = columns[columns // BLOCK == block] % BLOCK
            pick[: own.size] = own
    return picks, picked


@dataclass(frozen=True)
class Stager:
    """Emits the moves of one matrix.

    Attributes:
        index, picks: the index buffer, and the i8 buffer of the constants.
        buffer: i8 memref of the inputs, where they are moved to as well.
    """

    emit: Emitter
    staging: Staging
    index: ir.Value
    picks: ir.Value
    buffer: ir.Value

    def stage(
        self, groups: tuple[ir.Value, ir.Value], sources: Sequence[ir.Value], place: Place
    ) -> None:
        """Moves the inputs of groups [first, stop); `sources`: offset of every vector."""
        if not self.staging.move:
            return
        if self.staging.move == "lookup":
            self._look_up(groups, sources, place)
            return
        one = self._compress if self.staging.move == "compress" else self._gather

        def group(g: ir.Value) -> None:
            for v, source in enumerate(sources):
                one(g, source, place(g, v))

        self.emit.loop(*groups, 1, [], group)

    def _row(self, g: ir.Value) -> ir.Value:
        """Where a group's entries of the index buffer start."""
        return self.emit.add(self.emit.mul(g, self.staging.entries), self.staging.index)

    def _look_up(
        self, groups: tuple[ir.Value, ir.Value], sources: Sequence[ir.Value], place: Place
    ) -> None:
        e, staging, byte = self.emit, self.staging, ir.IntegerType.get_signless(8)
        size = min(staging.picked, REGISTER)
        register, picked = (ir.VectorType.get([n], byte) for n in (REGISTER, size))

        def block(b: ir.Value) -> None:
            starts = [e.add(source, e.mul(b, BLOCK)) for source in sources]
            tables = [
                [vector.load(register, self.buffer, [e.add(start, i)])
                 for i in range(0, BLOCK, REGISTER)]
                for start in starts
            ]  # fmt: skip

            def group(g: ir.Value) -> None:
                before = e.load_index(self.index, e.add(self._row(g), b))
                row = e.add(e.mul(g, staging.blocks), b)
                first = e.add(e.mul(row, staging.picked), staging.picks)
                for part in range(0, staging.picked, size):
                    pick = vector.load(picked, self.picks, [e.add(first, part)])
                    for v, table in enumerate(tables):
                        found = intrinsic(LOOKUP.format(size), picked, [*table, pick])
                        vector.store(found, self.buffer, [e.add(place(g, v), before, part)])

            e.loop(*groups, 1, [], group)

        e.loop(0, staging.blocks, 1, [], block)

    def _compress(self, g: ir.Value, source: ir.Value, target: ir.Value) -> None:
        e, staging = self.emit, self.staging
        whole = ir.VectorType.get([BLOCK], ir.IntegerType.get_signless(8))

        def block(b: ir.Value, at: ir.Value) -> list[ir.Value]:
            mask, count = self._mask(e.add(self._row(g), e.mul(b, BLOCK // MASK_BITS)))
            taken = vector.load(whole, self.buffer, [e.add(source, e.mul(b, BLOCK))])
            packed = intrinsic(COMPRESS, whole, [taken, taken, mask])
            if staging.picked < BLOCK:
                packed = vector.shuffle(packed, packed, list(range(staging.picked)))
            vector.store(packed, self.buffer, [at])
            return [e.add(at, count)]

        e.loop(0, staging.blocks, 1, [target], block)

    def _mask(self, at: ir.Value) -> tuple[ir.Value, ir.Value]:
        """64 mask bits from four entries of the index, and how many are set (index value)."""
        chunks = BLOCK // MASK_BITS
        element = ir.MemRefType(self.index.type).element_type
        loaded = vector.load(ir.VectorType.get([chunks], element), self.index, [at])
        short = ir.VectorType.get([chunks], ir.IntegerType.get_signless(MASK_BITS))
        if loaded.type != short:
            loaded = arith.trunci(short, loaded)
        single = ir.VectorType.get([1], ir.IntegerType.get_signless(BLOCK))
        word = vector.extract(vector.bitcast(single, loaded), [], ir.DenseI64ArrayAttr.get([0]))
        bits = ir.VectorType.get([BLOCK], ir.IntegerType.get_signless(1))
        mask = vector.bitcast(bits, vector.broadcast(single, word))
        return mask, arith.index_cast(ir.IndexType.get(), math.ctpop(word))

    def _gather(self, g: ir.Value, source: ir.Value, target: ir.Value) -> None:
        e, row = self.emit, self._row(g)

        def columns(k: ir.Value) -> None:
            numbers = [e.load_index(self.index, e.add(row, k, i)) for i in range(GATHERED)]
            taken = [memref.load(self.buffer, [e.add(source, number)]) for number in numbers]
            for i, byte in enumerate(taken):
                memref.store(byte, self.buffer, [e.add(target, k, i)])

        e.loop(0, self.staging.entries, GATHERED, [], columns)
