"""What a workgroup of a step's kernels (see `per_step`) works on, and where states lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import compare, when
from rtmobile_iree.passes.vulkan.emit import ThreadEmitter
from rtmobile_iree.passes.vulkan.step_plan import StepPlan
from torch_mlir import ir
from torch_mlir.dialects import arith


@dataclass(frozen=True)
class StepBuffers:
    """Flat memrefs.

    Attributes:
        x, y: [T, B, I] and [T, B, P].
        h: [2, rows, B, P]; step t reads slot t % 2 and writes the other.
        cells: other states, [rows, B, H].
        units: [rows, B, H] where there is a projection, else None.
    """

    x: ir.Value
    h: ir.Value
    y: ir.Value
    cells: Sequence[ir.Value]
    units: ir.Value | None


@dataclass(frozen=True)
class Turn:
    """What a workgroup has to do: index values, but for `is_on`.

    Attributes:
        is_on: whether its layer has a step in this dispatch (i1).
        t: that step.
        layer, entry: its layer and batch entry.
        old, new: slots of h before and after the step.
    """

    is_on: ir.Value
    t: ir.Value
    layer: ir.Value
    entry: ir.Value
    old: ir.Value
    new: ir.Value


def turn(e: ThreadEmitter, batch: int, steps: ir.Value, number: ir.Value) -> Turn:
    """Reads it off the workgroup, whose second number is layer * B + batch entry."""
    both = e.workgroup(1)
    layer = arith.divui(both, e.index(batch))
    t = e.sub(number, layer)
    is_on = arith.andi(compare("uge", number, layer), compare("ult", t, steps))
    old = arith.remui(t, e.index(2))
    return Turn(is_on, t, layer, arith.remui(both, e.index(batch)), old, e.sub(e.index(1), old))


def place_of(e: ThreadEmitter, plan: StepPlan, row: ir.Value, own: Turn, size: int) -> ir.Value:
    """Offset of a row and batch entry in a state tensor [rows, B, size]."""
    return e.mul(e.add(e.mul(row, plan.stack.batch), own.entry), size)


def place_of_h(
    e: ThreadEmitter, plan: StepPlan, row: ir.Value, own: Turn, slot: ir.Value
) -> ir.Value:
    """Offset of a layer's h in a slot."""
    return place_of(e, plan, e.add(e.mul(slot, plan.stack.rows), row), own, plan.stack.outputs)


@dataclass(frozen=True)
class Output:
    """Where a step's outputs go: the new h and, of the last layer, y."""

    emit: ThreadEmitter
    plan: StepPlan
    buffers: StepBuffers
    own: Turn
    row: ir.Value

    def write(self, u: ir.Value, value: ir.Value) -> None:
        """Output u."""
        e, plan, own, y = self.emit, self.plan, self.own, self.buffers.y
        e.store(value, self.buffers.h, e.add(place_of_h(e, plan, self.row, own, own.new), u))
        entry = e.add(e.mul(own.t, plan.stack.batch), own.entry)
        is_last = compare("eq", own.layer, e.index(len(plan.stack.layers) - 1))
        when(is_last, lambda: e.store(value, y, e.add(e.mul(entry, plan.stack.outputs), u)))
