"""What a thread keeps in registers from before a loop, and how it takes part in work of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import compare
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.products import as_index
from torch_mlir import ir
from torch_mlir.dialects import arith, scf

LOW_HALF, HALF_BITS = 0xFFFF, 16
Load = Callable[[], ir.Value]
Values = Sequence[ir.Value]
# a memref, and where what is meant begins in it
Part = tuple[ir.Value, int]


@dataclass
class Registers:
    """Hands out so many 32-bit registers of a thread."""

    left: int

    def keep(self, words: int, load: Load) -> Load:
        """Loads now, while there are registers, or else each time the result is called."""
        if words > self.left:
            return load
        self.left -= words
        value = load()
        return lambda: value


@dataclass(frozen=True)
class Share:
    """A thread's part, one piece or none, of `count` pieces of work that all threads share.

    Attributes:
        first: the piece of thread 0, below 0 where later threads begin.
    """

    e: ThreadEmitter
    first: int
    count: int

    @property
    def is_full(self) -> bool:
        """Whether there is a piece for every thread."""
        return self.first >= 0 and self.first + self.e.workgroup_size <= self.count

    def number(self) -> ir.Value:
        """The thread's piece."""
        return self.e.add(self.e.thread(), self.first)

    def piece(self) -> ir.Value:
        """The same, or the last one for threads without one; where `first` is not below 0."""
        own = self.number()
        return own if self.is_full else self.e.min(own, self.e.index(self.count - 1))

    def run(self, body: Callable[[], Values], otherwise: Values = ()) -> list[ir.Value]:
        """body() where the thread has a piece."""
        if self.is_full:
            return list(body())
        own = compare("ult", self.number(), self.e.index(self.count))
        choice = scf.IfOp(own, [value.type for value in otherwise], has_else=bool(otherwise))
        with ir.InsertionPoint(choice.then_block):
            scf.yield_(list(body()))
        if otherwise:
            with ir.InsertionPoint(choice.else_block):
                scf.yield_(list(otherwise))
        return list(choice.results_)


def shares(e: ThreadEmitter, count: int, start: int = 0) -> list[Share]:
    """All turns of so many pieces, the first of them for thread `start`, counted over all turns."""
    size = e.workgroup_size
    turns = range(start // size, -(-(start + count) // size))
    return [Share(e, turn * size - start, count) for turn in turns]


def low(word: ir.Value) -> ir.Value:
    """The lower half of an i32, as an index."""
    return as_index(arith.andi(word, arith.constant(word.type, LOW_HALF)))


def high(word: ir.Value) -> ir.Value:
    return as_index(arith.shrui(word, arith.constant(word.type, HALF_BITS)))


def halves(words: Sequence[ir.Value], count: int) -> list[ir.Value]:
    """The first so many halves of words, as indices."""
    return [half(word) for word in words for half in (low, high)][:count]
