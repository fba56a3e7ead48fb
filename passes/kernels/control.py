"""Words that the workers of a kernel share: atomic additions, and waiting for a value.

The words are an i32 buffer that is zero before the dispatch, each in a cache line of its own.
Additions are atomic and order the stores before them (LLVM's acq_rel), and so are reads, which add
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import Emitter, bit
from torch_mlir import ir
from torch_mlir.dialects import arith, memref, scf

LINE = 16  # i32 elements from one word to the next
ARRIVALS = 0  # the first word: how many workers have arrived


@dataclass(frozen=True)
class Control:
    """The words; `buffer`: flat i32 memref."""

    emit: Emitter
    buffer: ir.Value

    def add(self, word: int, value: int) -> ir.Value:
        """Adds to a word; returns what it was."""
        return self._atomic(arith.AtomicRMWKind.addi, word, self.constant(value))

    def read(self, word: int) -> ir.Value:
        """What a word is now."""
        return self.add(word, 0)

    def write(self, word: int, value: ir.Value) -> ir.Value:
        """Replaces a word; returns what it was."""
        return self._atomic(arith.AtomicRMWKind.assign, word, value)

    def wait(
        self, word: int, is_there: Callable[[ir.Value], ir.Value]
    ) -> tuple[ir.Value, ir.Value]:
        """Reads a word until is_there(value) is true; returns it, and how often it was read."""
        loop = scf.WhileOp([self.i32, self.i32], [self.constant(1)])
        before = loop.before.blocks.append(self.i32)
        after = loop.after.blocks.append(self.i32, self.i32)
        with ir.InsertionPoint(before):
            value = self.read(word)
            again = arith.xori(is_there(value), arith.constant(bit(), 1))
            scf.ConditionOp(again, [value, before.arguments[0]])
        with ir.InsertionPoint(after):
            scf.yield_([arith.addi(after.arguments[1], self.constant(1))])
        return loop.results[0], loop.results[1]

    def constant(self, value: int) -> ir.Value:
        return arith.constant(self.i32, value)

    def arrive(self) -> ir.Value:
        """This worker's rank (index value), 0 for the first to arrive."""
        return arith.index_cast(ir.IndexType.get(), self.add(ARRIVALS, 1))

    @property
    def i32(self) -> ir.Type:
        return ir.IntegerType.get_signless(32)

    def _atomic(self, kind: arith.AtomicRMWKind, word: int, value: ir.Value) -> ir.Value:
        attribute = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), int(kind))
        return memref.atomic_rmw(attribute, value, self.buffer, [self.emit.index(word * LINE)])
