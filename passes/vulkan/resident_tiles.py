"""Products of the resident scan: a thread's tiles, and the sums of their terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.halves import add_halves
from rtmobile_iree.passes.vulkan.kept import Load, Part, Registers, Share, halves, shares
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan
from rtmobile_iree.passes.vulkan.sum_layout import SumClass
from rtmobile_iree.passes.vulkan.tiles import Lengths, TileShape
from rtmobile_iree.passes.vulkan.values import (
    ROWS,
    WORD_BITS,
    integer_biases,
    rows_a_load,
    wide_all,
)
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.values import LARGEST, VALUE_BITS

HALF_COLUMNS = 8  # whose products are added up in f16


@dataclass(frozen=True)
class TileWork:
    """One tile of a thread.

    Attributes:
        is_half: whether products are f16, see `halves`.
        words: loads of the entries of its table.
        weights: loads of its weights, column by column.
    """

    share: Share
    shape: TileShape
    lengths: Lengths
    kind: str
    is_half: bool
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
        is_scaled = self.kind in LARGEST
        # sums, and of integers in f32 the sum of the inputs
        found = [e.zero4() for _ in range(rows // ROWS)]
        found += [e.scalar(0.0)] * (is_scaled and not self.is_half)
        found = self._add(shared, sources[: self.lengths.short], 0, found)
        long = replace(self.share, count=self.lengths.long)
        rest = sources[self.lengths.short :]
        if rest:
            before = list(found)
            found = long.run(lambda: self._add(shared, rest, columns - len(rest), before), before)
        terms = [lane for each in found[: rows // ROWS] for lane in e.lanes(each)]
        if is_scaled and not self.is_half:
            terms = _unbiased(e, self.kind, terms, found[-1])
        if is_scaled:
            scales = [arith.bitcast(e.f32, bits) for bits in words[first + rows // 2 :][:rows]]
            terms = [arith.mulf(*pair) for pair in zip(terms, scales, strict=True)]
        for target, term in zip(targets, terms, strict=True):
            e.store(term, shared, target)
        return ()

    def _add(
        self, shared: ir.Value, sources: Sequence[ir.Value], first: int, before: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """What `before` is after the columns from `first` on, whose inputs lie at `sources`."""
        e, quads = self.share.e, self.shape.rows // ROWS
        inputs = [e.load(shared, source) for source in sources]
        if self.is_half:
            return self._add_halves(inputs, first, before)
        sums = list(before[:quads])
        for column, value in enumerate(inputs, first):
            x = e.broadcast4(value)
            fours = [f for each in self._column(column) for f in wide_all(e, self.kind, each, 0)]
            sums = [e.fma(four, x, total) for four, total in zip(fours, sums, strict=True)]
        return [*sums, *(_tree([total, *inputs]) for total in before[quads:])]

    def _add_halves(
        self, inputs: Sequence[ir.Value], first: int, before: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """The same in f16, eight columns at a time."""
        e, sums = self.share.e, list(before)
        for start in range(0, len(inputs), HALF_COLUMNS):
            own = [[x] for x in inputs[start : start + HALF_COLUMNS]]
            columns = range(first + start, first + start + len(own))
            stored = [each for column in columns for each in self._column(column)]
            words = [word for each in stored for word in words_of_element(e, each)]
            sums = add_halves(e, self.kind, words, own, sums)
        return sums

    def _column(self, column: int) -> list[ir.Value]:
        """The elements of a column's weights."""
        loads = self.shape.rows // rows_a_load(self.kind, 0)
        return [load() for load in self.weights[column * loads : (column + 1) * loads]]


def words_of_element(e: ThreadEmitter, stored: ir.Value) -> list[ir.Value]:
    """The words (i32) of an element of weights."""
    return e.lanes(stored) if isinstance(stored.type, ir.VectorType) else [stored]


def _unbiased(
    e: ThreadEmitter, kind: str, terms: Sequence[ir.Value], total: ir.Value
) -> list[ir.Value]:
    """Sums of integers as they are masked (see `values`), without the bias; `total`: the sum of the
    inputs."""
    biases = integer_biases(kind, len(terms))
    return [
        e.fma(total, e.scalar(-float(bias)), term) if bias else term
        for term, bias in zip(terms, biases, strict=True)
    ]


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
    a_load = rows_a_load(kind, 0)
    size = a_load * VALUE_BITS[kind] // WORD_BITS

    def keep(source: Part, number: int, own: ir.Value, words: int) -> Load:
        buffer, first = source
        return registers.keep(
            words, lambda: memref.load(buffer, [e.add(own, first + number * tiles.count)])
        )

    found = [(share, share.piece()) for share in shares(e, tiles.count)]
    tables = [[keep(table, n, own, ROWS) for n in range(plan.tile_entries)] for _, own in found]
    elements = shape.columns * shape.rows // a_load
    return [
        TileWork(
            share,
            shape,
            tiles.lengths,
            kind,
            plan.is_half,
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
