"""Products of the resident scan: a thread's tiles, and the sums of their terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.halves import add_halves
from rtmobile_iree.passes.vulkan.kept import Load, Part, Registers, Share, halves, shares
from rtmobile_iree.passes.vulkan.products import as_index
from rtmobile_iree.passes.vulkan.resident_plan import ResidentPlan
from rtmobile_iree.passes.vulkan.sum_layout import SumClass
from rtmobile_iree.passes.vulkan.tiles import Lengths, TileShape
from rtmobile_iree.passes.vulkan.tiling import table_words, weight_words
from rtmobile_iree.passes.vulkan.values import ROWS, WORD_BITS, integer_biases, wide_words
from torch_mlir import ir
from torch_mlir.dialects import arith, memref

from rtmobile_iree.values import LARGEST, VALUE_BITS

HALF_COLUMNS = 8  # whose products are added up in f16


@dataclass(frozen=True)
class TileWork:
    """One tile of a thread.

    Attributes:
        is_half: whether products are f16, see `halves`.
        table, weights, sources: loads of its entries: of the table, of its weights, and of where
            its inputs lie.
    """

    share: Share
    shape: TileShape
    lengths: Lengths
    kind: str
    is_half: bool
    table: Sequence[Load]
    weights: Sequence[Load]
    sources: Sequence[Load]

    def multiply(self, shared: ir.Value) -> None:
        """Leaves its terms in shared memory."""
        self.share.run(lambda: self._multiply(shared))

    def _multiply(self, shared: ir.Value) -> tuple[()]:
        e, rows, columns = self.share.e, self.shape.rows, self.shape.columns
        sources = halves(_words(e, self.sources), columns)
        is_scaled = self.kind in LARGEST
        # sums, and of integers in f32 the sum of the inputs
        found = [e.zero4() for _ in range(rows // ROWS)]
        found += [e.scalar(0.0)] * (is_scaled and not self.is_half)
        add = partial(self._add, shared, cache(lambda entry: e.lanes(self.weights[entry]())))
        found = add(sources[: self.lengths.short], 0, found)
        long = replace(self.share, count=self.lengths.long)
        rest = sources[self.lengths.short :]
        if rest:
            before = list(found)
            found = long.run(lambda: add(rest, columns - len(rest), before), before)
        terms = [lane for each in found[: rows // ROWS] for lane in e.lanes(each)]
        if is_scaled and not self.is_half:
            terms = _unbiased(e, self.kind, terms, found[-1])
        _, *words = _words(e, self.table)
        if is_scaled:
            scales = [arith.bitcast(e.f32, bits) for bits in words[rows // 2 :][:rows]]
            terms = [arith.mulf(*pair) for pair in zip(terms, scales, strict=True)]
        for target, term in zip(halves(words, rows), terms, strict=True):
            e.store(term, shared, target)
        return ()

    def _add(
        self,
        shared: ir.Value,
        entry: Callable[[int], list[ir.Value]],
        sources: Sequence[ir.Value],
        first: int,
        before: Sequence[ir.Value],
    ) -> list[ir.Value]:
        """What `before` is after the columns from `first` on, whose inputs lie at `sources`.

        Args:
            entry: the words of an entry of weights.
        """
        e, quads = self.share.e, self.shape.rows // ROWS
        inputs = [e.load(shared, source) for source in sources]
        a_column = self.shape.rows * VALUE_BITS[self.kind] // WORD_BITS
        sums = list(before)
        # as many columns as are added up in f16
        for start in range(0, len(inputs), HALF_COLUMNS):
            own = inputs[start : start + HALF_COLUMNS]
            places = range((first + start) * a_column, (first + start + len(own)) * a_column)
            words = [entry(place // ROWS)[place % ROWS] for place in places]
            if self.is_half:
                sums = add_halves(e, self.kind, words, [[x] for x in own], sums)
                continue
            fours = wide_words(e, self.kind, words)
            for number, x in enumerate(map(e.broadcast4, own)):
                column = fours[number * quads : (number + 1) * quads]
                found = [e.fma(four, x, sum) for four, sum in zip(column, sums, strict=False)]
                sums = [*found, *sums[quads:]]
        if self.is_half:
            return sums
        return [*sums[:quads], *(add_all([total, *inputs]) for total in sums[quads:])]


def _words(e: ThreadEmitter, loads: Sequence[Load]) -> list[ir.Value]:
    """All words of entries."""
    return [word for load in loads for word in e.lanes(load())]


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
    """A thread's tiles, as much of them in registers as it has: first what no other tile has.

    Args:
        buffers: weights and table.
    """
    tiles = plan.tiles
    if tiles is None:
        return []
    (weights, first_weight), (table, first_entry) = buffers
    registers = Registers(plan.tiling.tile_registers)
    shape, kind = tiles.shape, plan.stack.values

    def keep(buffer: ir.Value, size: int, at: Callable[[int], ir.Value]) -> list[Load]:
        """Entries of so many words; `at`: where number n is."""
        loads = [lambda n=n: memref.load(buffer, [at(n)]) for n in range(-(-size // ROWS))]
        return [registers.keep(min(ROWS, size - n * ROWS), load) for n, load in enumerate(loads)]

    def own(piece: ir.Value, first: int) -> Callable[[int], ir.Value]:
        return lambda n: e.add(piece, first + n * tiles.count)

    def run(entry: Load) -> Callable[[int], ir.Value]:
        return lambda n: e.add(as_index(e.lane(entry(), 0)), first_entry + n)

    found, sizes = shares(e, tiles.count), (table_words(shape, kind), weight_words(shape, kind))
    pieces = [share.piece() for share in found]
    tables = [keep(table, sizes[0], own(piece, first_entry)) for piece in pieces]
    values = [keep(weights, sizes[1], own(piece, first_weight)) for piece in pieces]
    sources = [keep(table, -(-shape.columns // 2), run(each[0])) for each in tables]
    return [
        TileWork(share, shape, tiles.lengths, kind, plan.is_half, *parts)
        for share, *parts in zip(found, tables, values, sources, strict=True)
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
    e.store(add_all(terms), shared, own)
    return ()


def add_all(terms: list[ir.Value]) -> ir.Value:
    """Their sum, pair by pair."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [arith.addf(*pair) for pair in pairs] + odd
    return terms[0]
