"""bspc-pack: weights become the arrays of the format; the dense matrix is gone.

Rewrites:
    bspc.matmul %x, %w, %reorder
  ->
    bspc.packed_matmul %x, %reorder, %group_offset, %column_offset, %column_index, %values

and `bspc.gru` likewise. A weight without an encoding becomes one group of all rows and columns.
Values are stored in the type that the option `values` gives the weight's name (see
rtmobile_iree/values.py). What rounding loses is in the attribute `value_errors`, a relative error a
weight; the scales of i8 and i4 are in `scales`, `scales_ih` or `scales_hh`; where values are i4,
`bits`, `bits_ih` or `bits_hh` is 4.

Assumes: `bspc-reorder` ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rtmobile_iree.dialects.constants import constant
from rtmobile_iree.dialects.verify import bits_attribute, scales_attribute
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

from rtmobile_iree.bspc import Group, PackedMatrix, convert, pack, unpack
from rtmobile_iree.errors import EncodeError, FormatError
from rtmobile_iree.values import (
    ValueRule,
    check_rules_used,
    parse_rules,
    relative_error,
    rule_for,
)

VALUE_ERRORS = "value_errors"


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


def narrow(matrix: PackedMatrix, rule: ValueRule, name: str) -> tuple[PackedMatrix, float]:
    """An f32 matrix in the type its rule chooses, and the relative error of that.

    Raises:
        EncodeError: its weights do not fit the type the rule names.
    """
    for kind in rule.candidates:
        try:
            narrowed = convert(matrix, kind)
        except FormatError as error:
            if rule.limit == np.inf:
                raise EncodeError(f"bspc-pack: {name}: {error}") from error
            continue
        lost = relative_error(unpack(matrix), unpack(narrowed))
        if lost <= rule.limit:
            return narrowed, lost
    return matrix, 0.0


@dataclass(frozen=True)
class PackPass:
    """Replaces weights by the arrays of the BSPC format.

    Attributes:
        values: rules that give each weight its value type.
    """

    name: ClassVar[str] = "bspc-pack"

    values: str = "f32"

    def run(self, module: ir.Operation) -> None:
        rules = parse_rules(self.values)
        ops = bspc_ops(module)
        check_rules_used(rules, [name for op in ops for name in weight_names(op)])
        for op in ops:
            _pack_op(op, rules)


def _pack_op(op: ir.Operation, rules: Sequence[ValueRule]) -> None:
    first, count, fixed = OPERANDS[op.name]
    packed, errors = [], []
    for weight, name in zip(read_weights(op), weight_names(op), strict=True):
        matrix, lost = narrow(pack_weight(weight, name), rule_for(rules, name), name)
        packed.append(matrix)
        errors.append(lost)
    operands = list(op.operands)
    attributes = {named: op.attributes[named] for named in op.attributes}
    with op.context, ir.InsertionPoint(op), op.location:
        attributes["row_align"] = ir.Attribute.parse(f"{packed[0].row_align} : i64")
        attributes["weights"] = ir.Attribute.parse(
            "[" + ", ".join(f'"{name}"' for name in weight_names(op)) + "]"
        )
        for shape, matrix in zip(_shape_attributes(count), packed, strict=True):
            attributes[shape] = ir.DenseI64ArrayAttr.get(matrix.shape)
            if matrix.scales.size:
                scales = ir.DenseF32ArrayAttr.get(matrix.scales.tolist())
                attributes[scales_attribute(shape)] = scales
            if matrix.is_i4:
                attributes[bits_attribute(shape)] = ir.Attribute.parse("4 : i64")
        if any(matrix.value_type != "f32" for matrix in packed):
            attributes[VALUE_ERRORS] = ir.DenseF64ArrayAttr.get(errors)
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
    return ["shape"] if count == 1 else ["shape_ih", "shape_hh", "shape_hr"][:count]


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
