"""bspc-eliminate-loads: one load of x serves as many rows as can share it.

Rewrites, on reordered weights:
    two groups of nearly equal patterns  ->  one group with the union of their columns
    (also across the gates of a recurrent weight: its rows are one stack of gates)

    %a = bspc.matmul %x, %wa   %b = bspc.matmul %x, %wb      (the same %x, patterns in common)
  ->
    %y = bspc.matmul %x, [%wa; %wb]   %a, %b = slices of %y

when the cost model (passes/grouping.py) says it is cheaper. Loads of x never grow; both counts
stand in the encoding: `loads_before` row by row, `loads_after` as laid out.

Assumes: `bspc-reorder` ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rtmobile_iree.passes.grouping import HALF, MEASURED, PanelCosts, cycles, loads, merge_groups
from rtmobile_iree.passes.kernels.dispatch import dynamic_dims
from rtmobile_iree.passes.weights import (
    Weight,
    bspc_ops,
    erase_unused,
    op_name,
    read_weights,
    write_weights,
)
from torch_mlir import ir
from torch_mlir.dialects import tensor

from rtmobile_iree.bspc import Group


def eliminate_loads(weight: Weight, costs: PanelCosts = MEASURED) -> Weight:
    """The weight with groups of nearly equal patterns merged."""
    if weight.stage != "reordered":
        return weight
    groups = merge_groups(weight.groups(), weight.array.shape[1], costs)
    return weight.arranged(groups, stage="merged", loads_after=loads(groups))


def stack(upper: Weight, lower: Weight) -> Weight:
    """Two reordered weights as one, the rows of `lower` after those of `upper`."""
    assert upper.encoding is not None
    assert lower.encoding is not None
    assert upper.reorder is not None
    assert lower.reorder is not None
    fields = {key: upper.encoding[key] + lower.encoding[key] for key in ("kept", *LOADS)}
    both = Weight(
        np.concatenate([upper.array, lower.array]),
        {**upper.encoding, **fields},
        np.concatenate([upper.reorder, lower.reorder + len(upper.array)]).astype(np.int32),
    )
    shifted = [Group(g.rows + len(upper.array), g.columns) for g in lower.groups()]
    return both.arranged([*upper.groups(), *shifted])


LOADS = ("loads_before", "loads_after")


@dataclass(frozen=True)
class EliminateLoadsPass:
    """Merges groups, and matmuls fed by the same vector, where that saves loads and time.

    Attributes:
        element: "f32", or "f16": what recurrent layers are computed in.
    """

    name: ClassVar[str] = "bspc-eliminate-loads"

    element: str = "f32"

    def run(self, module: ir.Operation) -> None:
        _fuse_matmuls(module)
        for op in bspc_ops(module):
            before = read_weights(op)
            is_half = self.element == "f16" and op.name != "bspc.matmul"
            costs = HALF if is_half else MEASURED
            if any(weight.stage == "reordered" for weight in before):
                write_weights(op, [eliminate_loads(weight, costs) for weight in before])


def _fuse_matmuls(module: ir.Operation) -> None:
    """Fuses pairs of matmuls that read the same x, as long as one gains."""
    earlier: list[ir.Operation] = []
    for op in bspc_ops(module):
        if op.name != "bspc.matmul" or read_weights(op)[0].stage != "reordered":
            continue
        partner = next((e for e in earlier if _shares_loads(e, op)), None)
        if partner is None:
            earlier.append(op)
            continue
        earlier[earlier.index(partner)] = _fuse(partner, op)


def _shares_loads(first: ir.Operation, second: ir.Operation) -> bool:
    """Whether one matmul over both weights is cheaper than two, and loads less."""
    if first.operands[0] != second.operands[0] or first.operation.block != second.operation.block:
        return False
    upper, lower = read_weights(first)[0], read_weights(second)[0]
    columns = upper.array.shape[1]
    both = merge_groups(stack(upper, lower).groups(), columns)
    apart = [g for w in (upper, lower) for g in merge_groups(w.groups(), columns)]
    return loads(both) < loads(apart) and cycles(both) < cycles(apart)


def _fuse(first: ir.Operation, second: ir.Operation) -> ir.Operation:
    """One matmul at the place of the first; both results become slices of its result."""
    weight = stack(read_weights(first)[0], read_weights(second)[0])
    kind = ir.RankedTensorType(first.results[0].type)
    rows = [_outputs(first), _outputs(second)]
    both = [first.results[0], second.results[0]]
    old = list(first.operands)[1:] + list(second.operands)[1:]
    context, at = first.context, ir.InsertionPoint(first)
    with context, at, first.location:
        wide = ir.RankedTensorType.get([*kind.shape[:-1], sum(rows)], kind.element_type)
        names = ir.StringAttr.get(f"{op_name(first)}+{op_name(second)}")
        fused = ir.Operation.create(
            "bspc.matmul",
            results=[wide],
            operands=list(first.operands),
            attributes={"name": names},
        )
        # write_weights gives it the stacked weight; a place holder would not verify meanwhile
        fused = write_weights(fused, [weight])
        start = 0
        for result, count in zip(both, rows, strict=True):
            result.replace_all_uses_with(_columns(fused.results[0], start, count))
            start += count
    first.erase()
    second.erase()
    erase_unused(old)
    return fused


def _outputs(op: ir.Operation) -> int:
    return ir.RankedTensorType(op.results[0].type).shape[-1]


def _columns(value: ir.Value, start: int, count: int) -> ir.Value:
    """value[..., start : start + count]."""
    kind = ir.RankedTensorType(value.type)
    dynamic = ir.ShapedType.get_dynamic_size()
    sizes = [dynamic if kind.is_dynamic_dim(i) else kind.shape[i] for i in range(kind.rank - 1)]
    result = ir.RankedTensorType.get([*sizes, count], kind.element_type)
    return tensor.ExtractSliceOp(
        result,
        value,
        [],
        dynamic_dims(value),
        [],
        static_offsets=[0] * (kind.rank - 1) + [start],
        static_sizes=[*sizes, count],
        static_strides=[1] * kind.rank,
    ).result
