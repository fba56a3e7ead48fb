"""What a workgroup of a step's kernels (see `per_step`) works on, and where vectors lie."""

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
    """Flat memrefs of f32.

    Attributes:
        vectors: h [K + 1, rows, B, P], of which min(T, K) + 1 slots are used: step t reads slot
            t modulo these and writes the next; then x [T, B, I].
        y: [T, B, P].
        cells: other states, [rows, B, H].
        projected: [L, K, B, groups, sums], the sums of W_ih of a chunk of steps; None where K is 1.
    """

    vectors: ir.Value
    y: ir.Value
    cells: Sequence[ir.Value]
    projected: ir.Value | None = None


@dataclass(frozen=True)
class Turn:
    """What a workgroup has to do: index values, but for `is_on`.

    Attributes:
        is_on: whether its layer has a step in this dispatch (i1).
        t: that step.
        layer, entry: its layer and batch entry.
        chunk: steps whose inputs are projected at once, min(T, K).
        old, new: slots of h before and after the step.
    """

    is_on: ir.Value
    t: ir.Value
    layer: ir.Value
    entry: ir.Value
    chunk: ir.Value
    old: ir.Value
    new: ir.Value


def turn(e: ThreadEmitter, plan: StepPlan, steps: ir.Value, number: ir.Value) -> Turn:
    """Reads it off the workgroup, whose second number is layer * B + batch entry."""
    both, batch = e.workgroup(1), e.index(plan.stack.batch)
    layer = arith.divui(both, batch)
    chunk = e.min(steps, e.index(plan.chunk))
    delay = arith.muli(layer, chunk)
    t = e.sub(number, delay)
    is_on = arith.andi(compare("uge", number, delay), compare("ult", t, steps))
    slots = e.add(chunk, 1)
    old, new = (arith.remui(at, slots) for at in (t, e.add(t, 1)))
    return Turn(is_on, t, layer, arith.remui(both, batch), chunk, old, new)


def place_of(e: ThreadEmitter, plan: StepPlan, row: ir.Value, own: Turn, size: int) -> ir.Value:
    """Offset of a row and batch entry in a state tensor [rows, B, size]."""
    return e.mul(e.add(e.mul(row, plan.stack.batch), own.entry), size)


def place_of_h(
    e: ThreadEmitter, plan: StepPlan, row: ir.Value, own: Turn, slot: ir.Value
) -> ir.Value:
    """Offset of a layer's h in a slot."""
    return place_of(e, plan, e.add(e.mul(slot, plan.stack.rows), row), own, plan.stack.outputs)


def place_of_x(
    e: ThreadEmitter, plan: StepPlan, below: ir.Value, own: Turn, later: ir.Value
) -> ir.Value:
    """Offset of what a layer reads in step t + `later`: of x, or of the h of the layer below."""
    stack = plan.stack
    entry = e.add(e.mul(e.add(own.t, later), stack.batch), own.entry)
    x = e.add(e.mul(entry, stack.inputs), stack.rows * stack.batch * stack.outputs * plan.slots)
    if len(stack.layers) == 1:
        return x
    slots, slot = e.add(own.chunk, 1), e.add(own.new, later)
    turned = arith.select(compare("uge", slot, slots), e.sub(slot, slots), slot)
    is_first = compare("eq", own.layer, e.index(0))
    return arith.select(is_first, x, place_of_h(e, plan, below, own, turned))


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
        e.store(value, self.buffers.vectors, e.add(place_of_h(e, plan, self.row, own, own.new), u))
        entry = e.add(e.mul(own.t, plan.stack.batch), own.entry)
        is_last = compare("eq", own.layer, e.index(len(plan.stack.layers) - 1))
        when(is_last, lambda: e.store(value, y, e.add(e.mul(entry, plan.stack.outputs), u)))
