"""Products of the resident scan: a thread's tiles, and the sums of their terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.kept import Load, Part, Registers, Share, halves, shares
from rtmobile_iree.passes.vulkan.resident_plan import (
    WORD_BYTES,
    ResidentPlan,
)
from rtmobile_iree.passes.vulkan.sum_layout import SumClass
from rtmobile_iree.passes.vulkan.tiles import Lengths, TileShape
from rtmobile_iree.passes.vulkan.values import ROWS, integer_biases, wide_all
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
    lengths: Lengths
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
        # sums, and with i8 the sum of the inputs
        found = [e.zero4() for _ in range(rows // ROWS)] + [e.scalar(0.0)] * (self.kind == "i8")
        found = self._add(shared, sources[: self.lengths.short], 0, found)
        long = replace(self.share, count=self.lengths.long)
        rest = sources[self.lengths.short :]
        if rest:
            before = list(found)
            found = long.run(lambda: self._add(shared, rest, columns - len(rest), before), before)
        terms = [lane for each in found[: rows // ROWS] for lane in e.lanes(each)]
        if self.kind == "i8":
            terms = _scaled(e, terms, found[-1], words[first + rows // 2 :])
        for target, term in zip(targets, terms, strict=True):
            e.store(term, shared, target)
        return ()

    def _add(
        self, shared: ir.Value, sources: Sequence[ir.Value], first: int, before: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """What `before` is after the columns from `first` on, whose inputs lie at `sources`."""
        e, quads = self.share.e, self.shape.rows // ROWS
        inputs = [e.load(shared, source) for source in sources]
        sums = list(before[:quads])
        for column, value in enumerate(inputs, first):
            x = e.broadcast4(value)
            for quad, total in enumerate(sums):
                stored = self.weights[column * quads + quad]()
                (weights,) = wide_all(e, self.kind, stored, 0)
                sums[quad] = e.fma(weights, x, total)
        return [*sums, *(_tree([total, *inputs]) for total in before[quads:])]


def _scaled(
    e: ThreadEmitter,
    terms: Sequence[ir.Value],
    total: ir.Value,
    scales: Sequence[ir.Value],
) -> list[ir.Value]:
    """Sums of integers as they are masked (see `values`), without the bias, times their scales.

    Args:
        total: the sum of the inputs.
        scales: their bits.
    """
    found = []
    for term, bias, bits in zip(terms, integer_biases("i8", len(terms)), scales, strict=False):
        corrected = e.fma(total, e.scalar(-float(bias)), term) if bias else term
        found.append(arith.mulf(corrected, arith.bitcast(e.f32, bits)))
    return found


def load_tiles(
    e: ThreadEmitter,
    plan: ResidentPlan,
    buffers: tuple[Part, Part],
) -> list[TileWork]:
    """A thread's tiles, as much of them in registers as it has.

    Args:
        buffers: weights and table.
    """
    tiles = plan.tiles
    if tiles is None:
        return []
    weights, table = buffers
    registers = Registers(plan.tiling.tile_registers)
    shape, kind = tiles.shape, plan.stack.values
    size = np.dtype(STORAGE[kind]).itemsize * ROWS // WORD_BYTES

    def keep(source: Part, number: int, own: ir.Value, words: int) -> Load:
        buffer, first = source
        return registers.keep(
            words, lambda: memref.load(buffer, [e.add(own, first + number * tiles.count)])
        )

    found = [(share, share.piece()) for share in shares(e, tiles.count)]
    tables = [[keep(table, n, own, ROWS) for n in range(plan.tile_entries)] for _, own in found]
    elements = shape.columns * shape.rows // ROWS
    return [
        TileWork(
            share,
            shape,
            tiles.lengths,
            kind,
            words,
            [keep(weights, n, own, size) for n in range(elements)],
        )
        for (share, own), words in zip(found, tables, strict=True)
    ]


def add_terms(e: ThreadEmitter, shared: ir.Value, classes: Sequence[SumClass]) -> bool:
    """Adds the terms of each sum up where its first term was; whether any has several.

    The sums of all classes are shared out one after another, so that few waves see two classes.
    """
    start = 0
    for sums in classes:
        if sums.terms == 1:
            continue
        for share in shares(e, sums.count, start):
            share.run(partial(_add_terms, e, shared, sums, share))
        start += sums.count
    return start > 0


def _add_terms(e: ThreadEmitter, shared: ir.Value, sums: SumClass, share: Share) -> tuple[()]:
    own = e.add(share.number(), sums.first)
    terms = [e.load(shared, e.add(own, number * sums.count)) for number in range(sums.terms)]
    e.store(_tree(terms), shared, own)
    return ()


def _tree(terms: list[ir.Value]) -> ir.Value:
    """Their sum, pair by pair."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [arith.addf(*pair) for pair in pairs] + odd
    return terms[0]
