"""Products of the resident scan: a thread's tiles, and the sums of their terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.kept import Load, Registers, Share, halves, shares
from rtmobile_iree.passes.vulkan.resident_plan import WORD_BYTES, ResidentPlan, SumClass
from rtmobile_iree.passes.vulkan.tiles import TileShape
from rtmobile_iree.passes.vulkan.values import ROWS, wide
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.values import STORAGE


@dataclass(frozen=True)
class TileWork:
    """One tile of a thread.

    Attributes:
        words: loads of the entries of its table.
        weights: loads of its weights, column by column.
    """

    share: Share
    shape: TileShape
    kind: str
    words: Sequence[Load]
    weights: Sequence[Load]

    def multiply(self, shared: ir.Value) -> None:
        """Leaves its terms in shared memory."""
        self.share.run(lambda: self._multiply(shared))

    def _multiply(self, shared: ir.Value) -> tuple[()]:
        e, rows, columns = self.share.e, self.shape.rows, self.shape.columns
        words = [word for load in self.words for word in e.lanes(load())]
        first = -(-columns // 2)
        sources, targets = halves(words[:first], columns), halves(words[first:], rows)
        sums = [e.zero4() for _ in range(rows // ROWS)]
        for column, source in enumerate(sources):
            x = e.broadcast4(e.load(shared, source))
            for quad, total in enumerate(sums):
                weights = self.weights[column * len(sums) + quad]()
                sums[quad] = e.fma(wide(e, self.kind, weights), x, total)
        terms = [lane for each in sums for lane in e.lanes(each)]
        if self.kind == "i8":
            scales = words[first + rows // 2 :]
            pairs = zip(terms, scales, strict=False)
            terms = [arith.mulf(term, arith.bitcast(e.f32, scale)) for term, scale in pairs]
        for target, term in zip(targets, terms, strict=True):
            e.store(term, shared, target)
        return ()


def load_tiles(
    e: ThreadEmitter,
    plan: ResidentPlan,
    buffers: tuple[ir.Value, ir.Value],
    registers: Registers,
) -> list[TileWork]:
    """A thread's tiles, as much of them in registers as it has.

    Args:
        buffers: weights and table.
    """
    tiles = plan.tiles
    if tiles is None:
        return []
    weights, table = buffers
    shape, kind = tiles.shape, plan.stack.values
    size = np.dtype(STORAGE[kind]).itemsize * ROWS // WORD_BYTES

    def keep(source: ir.Value, number: int, own: ir.Value, words: int) -> Load:
        return registers.keep(
            words, lambda: memref.load(source, [e.add(own, number * tiles.count)])
        )

    found = [(share, share.piece()) for share in shares(e, tiles.count)]
    tables = [[keep(table, n, own, ROWS) for n in range(plan.tile_entries)] for _, own in found]
    elements = shape.columns * shape.rows // ROWS
    return [
        TileWork(share, shape, kind, words, [keep(weights, n, own, size) for n in range(elements)])
        for (share, own), words in zip(found, tables, strict=True)
    ]


def add_terms(e: ThreadEmitter, shared: ir.Value, sums: SumClass) -> None:
    """Adds the terms of each sum up where its first term was."""
    for share in shares(e, sums.count):
        share.run(lambda share=share: _add_terms(e, shared, sums, share))  # type: ignore[misc]


def _add_terms(e: ThreadEmitter, shared: ir.Value, sums: SumClass, share: Share) -> tuple[()]:
    own = e.add(e.thread(), sums.first + share.turn * e.workgroup_size)
    terms = [e.load(shared, e.add(own, number * sums.count)) for number in range(sums.terms)]
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [arith.addf(*pair) for pair in pairs] + odd
    e.store(terms[0], shared, own)
    return ()
