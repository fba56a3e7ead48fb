"""bspc-pack: weights become the arrays of the format; the dense matrix is gone.

Rewrites:
    bspc.matmul %x, %w, %reorder
  ->
    bspc.packed_matmul %x, %reorder, %group_offset, %column_offset, %column_index, %values

and `bspc.gru` likewise. A weight without an encoding becomes one group of all rows and columns.

Assumes: `bspc-reorder` ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.passes.grouping import dense_group
from rtmobile_iree.passes.weights import (
    OPERANDS,
    Weight,
    bspc_ops,
    erase_unused,
    read_weights,
    weight_names,
)
from torch_mlir import ir

from rtmobile_iree.bspc import Group, PackedMatrix, pack
from rtmobile_iree.errors import EncodeError


def pack_weight(weight: Weight, name: str) -> PackedMatrix:
    """The weight in the format.

    Args:
        name: whose it is, for the error.

    Raises:
        EncodeError: its rows are not reordered yet.
    """
    if weight.encoding is None:
        return pack(weight.array, [dense_group(weight.array.shape)])
    if weight.stage == "encoded" or weight.reorder is None:
        raise EncodeError(
            f"bspc-pack: {name} {list(weight.array.shape)}: its rows are not reordered yet; "
            "run bspc-reorder before it"
        )
    original = np.empty_like(weight.array)
    original[weight.reorder] = weight.array
    groups = [Group(weight.reorder[g.rows], g.columns) for g in weight.groups()]
    return pack(original, groups)


@dataclass(frozen=True)
class PackPass:
    """Replaces weights by the arrays of the BSPC format."""

    name: ClassVar[str] = "bspc-pack"

    def run(self, module: ir.Operation) -> None:
        for op in bspc_ops(module):
            _pack_op(op)


def _pack_op(op: ir.Operation) -> None:
    first, count, fixed = OPERANDS[op.name]
    weights = zip(read_weights(op), weight_names(op), strict=True)
    packed = [pack_weight(weight, name) for weight, name in weights]
    operands = list(op.operands)
    attributes = {named: op.attributes[named] for named in op.attributes}
    with op.context, ir.InsertionPoint(op), op.location:
        attributes["row_align"] = ir.Attribute.parse(f"{packed[0].row_align} : i64")
        attributes["weights"] = ir.Attribute.parse(
            "[" + ", ".join(f'"{name}"' for name in weight_names(op)) + "]"
        )
        for shape, matrix in zip(_shape_attributes(count), packed, strict=True):
            attributes[shape] = ir.DenseI64ArrayAttr.get(matrix.shape)
        arrays = [value for matrix in packed for value in _constants(matrix)]
        new = ir.Operation.create(
            op.name.replace("bspc.", "bspc.packed_"),
            results=[result.type for result in op.results],
            operands=[*operands[:first], *arrays, *operands[first + count : fixed]],
            attributes=attributes,
        )
    for before, after in zip(op.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    op.erase()
    erase_unused(operands[first : first + count] + operands[fixed:])


def _shape_attributes(count: int) -> list[str]:
    return ["shape"] if count == 1 else ["shape_ih", "shape_hh"]


def _constants(matrix: PackedMatrix) -> list[ir.Value]:
    return [
        constant(array)
        for array in (
            matrix.reorder,
            matrix.group_offset,
            matrix.column_offset,
            matrix.column_index,
            matrix.values,
        )
    ]
