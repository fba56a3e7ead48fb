"""What the stack kernel asks of a cell: its rows of the weights, and its step.

The stack kernel (stack.py) computes gi = W_ih x + b_ih and gh = W_hh h + b_hh as vectors of gates;
a cell turns them and the state into the next state, a vector of units at a time. A cell is planned
once a layer, from the layer's weights: it says which rows it wants computed, where they go and
which biases they start from, and may put constants into the pool and buffers of its own in scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.expand import Expansion
from rtmobile_iree.passes.kernels.plan import ALIGN, ConstantPool
from rtmobile_iree.passes.kernels.sums import Constants
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's weights, G gates of H units stacked in the rows.

    Attributes:
        state: which row of the states [L, B, .] the layer owns.
        b_ih, b_hh: [G H] f32.
        w_ih, w_hh: [G H, I] and [G H, P] in BSPC.
        w_hr: [P, H] in BSPC: projects the units to the outputs; None where P = H and there is none.
    """

    state: int
    b_ih: np.ndarray
    b_hh: np.ndarray
    w_ih: PackedMatrix
    w_hh: PackedMatrix
    w_hr: PackedMatrix | None = None


@dataclass
class Scratch:
    """Hands out scratch: a fixed part, and a part for every slot (step of a chunk)."""

    fixed: int = 0
    per_slot: int = 0

    def take(self, elements: int) -> int:
        start = self.fixed
        self.fixed += elements + -elements % ALIGN
        return start

    def take_per_slot(self, elements: int) -> int:
        start = self.per_slot
        self.per_slot += elements + -elements % ALIGN
        return start

    def at_slots(self, e: Emitter, slots: ir.Value, start: int) -> ir.Value:
        """Offset of what `take_per_slot` returned, when there are so many slots (index value)."""
        return e.add(e.mul(slots, start), self.fixed)

    def elements(self, e: Emitter, slots: ir.Value) -> ir.Value:
        """Size of it all (index value)."""
        return self.at_slots(e, slots, self.per_slot)


@dataclass(frozen=True, eq=False)
class GateRows:
    """The vectors gi and gh of a layer.

    Attributes:
        count: length of both.
        positions: [G H] where the result of a row of the weights goes; -1 for a row not computed.
        ih_bias, hh_bias: [G H] f32, what each result starts from.
        block: results are read in blocks of so many from multiples of it on; 0 where they are not.
    """

    count: int
    positions: np.ndarray
    ih_bias: np.ndarray
    hh_bias: np.ndarray
    block: int = 0

    def starts(self, bias: np.ndarray) -> np.ndarray:
        """[count] what the results start from."""
        kept = self.positions >= 0
        start = np.zeros(self.count, np.float32)
        start[self.positions[kept]] = bias[kept]
        return start


@dataclass(frozen=True)
class StepVectors:
    """Where one step of one batch entry finds its vectors: flat memrefs and offsets (index values).

    Attributes:
        sums: where gi and gh stand.
        gi, gh: offsets in it.
        scratch: where the cell's own buffers stand.
        states: (memref, offset) of each state: the layer's h, then its c where it has one. The
            stack kernel writes h; everything else is the cell's.
        ih, hh: how gi and gh are read; None where they have no gaps.
    """

    constants: Constants
    sums: ir.Value
    gi: ir.Value
    gh: ir.Value
    scratch: ir.Value
    states: tuple[tuple[ir.Value, ir.Value], ...]
    ih: Expansion | None
    hh: Expansion | None

    def gates(self, e: Emitter, at: ir.Value, size: int) -> tuple[ir.Value, ir.Value]:
        """gi and gh of gates [at, at + size)."""
        gi = self.read(e, self.ih, (self.sums, self.gi), at, size)
        return gi, self.read(e, self.hh, (self.sums, self.gh), at, size)

    def read(
        self,
        e: Emitter,
        expansion: Expansion | None,
        vector: tuple[ir.Value, ir.Value],
        at: ir.Value,
        size: int,
    ) -> ir.Value:
        """Entries [at, at + size) of a vector (memref and offset)."""
        if expansion is None:
            return e.vload(vector[0], e.add(vector[1], at), size)
        starts = [e.add(at, start) for start in range(0, size, e.width)]
        return e.joined([expansion.load(e, self.constants, vector, each) for each in starts])

    def state(self, e: Emitter, number: int, unit: ir.Value, size: int) -> ir.Value:
        """Units [unit, unit + size) of a state."""
        buffer, offset = self.states[number]
        return e.vload(buffer, e.add(offset, unit), size)


class Cell(Protocol):
    """A cell of one layer, planned."""

    def prepare(self, e: Emitter, constants: Constants, scratch: ir.Value) -> None:
        """Fills the cell's own buffers, once a dispatch; most have none."""
        return

    def begin(self, e: Emitter, step: StepVectors) -> None:
        """Does what one step of one batch entry needs before its units; most need nothing."""
        return

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The output of units [unit, unit + size): the next h, before any projection."""


# The last argument: entries of a register where the target expands under a mask, else 0.
PlanCell = Callable[[ConstantPool, Scratch, Layer, int], tuple[GateRows, Cell]]


def every_row(layer: Layer, folded: np.ndarray, gates: int, width: int) -> GateRows:
    """All rows in their order.

    Args:
        folded: [G H] bool: gates in which gi and gh are only ever added. There the bias of W_hh
            joins that of W_ih, so that W_hh starts from zero.
        gates: G.
        width: as for `PlanCell`.
    """
    rows = np.arange(layer.b_ih.size, dtype=np.int32)
    moved = np.where(folded, layer.b_hh, np.float32(0))
    block = 0 if width and rows.size // gates % width else width
    return GateRows(rows.size, rows, layer.b_ih + moved, layer.b_hh - moved, block)
