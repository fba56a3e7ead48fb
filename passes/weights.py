"""The weight operands of `bspc.matmul` and the recurrent layers, read and replaced in one place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rtmobile_iree.dialects.bspc import EncodingAttr
from rtmobile_iree.dialects.constants import constant, constant_array, element_type
from torch_mlir import ir

from rtmobile_iree.bspc import Group
from rtmobile_iree.errors import EncodeError
from rtmobile_iree.kinds import KINDS

# first weight operand, number of weights, first operand after the fixed ones
OPERANDS = {
    "bspc.matmul": (1, 1, 2),
    **{
        f"bspc.{kind.name}": (kind.first_weight, len(kind.weights), len(kind.tensors))
        for kind in KINDS.values()
    },
}


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight operand.

    Attributes:
        array: [M, N] f32 as the operand holds it.
        encoding: fields of its `#bspc.encoding`, or None.
        reorder: [M] original row of each row, or None while rows are in their own order.
    """

    array: NDArray[np.float32]
    encoding: dict[str, Any] | None = None
    reorder: NDArray[np.int32] | None = None

    @property
    def stage(self) -> str | None:
        """Stage of the encoding, None without one."""
        return None if self.encoding is None else self.encoding["stage"]

    def groups(self) -> list[Group]:
        """Groups of a reordered weight; rows count from 0 in the order of `array`."""
        assert self.encoding is not None
        edges = self.encoding["group_offset"]
        return [
            Group(
                np.arange(first, last, dtype=np.int32),
                np.flatnonzero((self.array[first:last] != 0).any(axis=0)).astype(np.int32),
            )
            for first, last in itertools.pairwise(edges)
        ]

    def arranged(self, groups: list[Group], **fields: Any) -> Weight:
        """The same weight with the rows of these groups first, in their order.

        Args:
            groups: rows number the rows of `array`.
            fields: changes to the encoding.
        """
        assert self.encoding is not None
        everyone = np.arange(len(self.array), dtype=np.int32)
        grouped = np.concatenate([everyone[:0], *(g.rows for g in groups)])
        order = np.concatenate([grouped, np.setdiff1d(everyone, grouped)])
        before = everyone if self.reorder is None else self.reorder
        offsets = np.cumsum([0, *(g.rows.size for g in groups)]).tolist()
        encoding = {**self.encoding, "groups": len(groups), "group_offset": offsets, **fields}
        return replace(self, array=self.array[order], reorder=before[order], encoding=encoding)


def bspc_ops(module: ir.Operation) -> list[ir.Operation]:
    """Every `bspc.matmul` and recurrent layer of a module, in program order."""
    return [op for op in walk(module) if op.name in OPERANDS]


def walk(module: ir.Operation) -> Iterator[ir.Operation]:
    """Every operation under a module, outer ones first.

    Bodies of linalg ops are left out: they hold scalar code, and erasing a linalg op frees them
    behind the back of whoever still iterates.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op.operation)
        is_linalg = op.operation.name.startswith("linalg.")
        return ir.WalkResult.SKIP if is_linalg else ir.WalkResult.ADVANCE

    module.walk(visit, ir.WalkOrder.PRE_ORDER)
    return iter(found)


def op_name(op: ir.Operation) -> str:
    """The layer's name, or the op's when it carries none."""
    return ir.StringAttr(op.attributes["name"]).value if "name" in op.attributes else op.name


def weight_names(op: ir.Operation) -> list[str]:
    """Names of an op's weights, for reports: the parameters', where known."""
    first, count, _ = OPERANDS[op.name]
    if count == 1 and "name" in op.attributes:
        return [op_name(op)]
    kind = KINDS.get(op.name.removeprefix("bspc."))
    defaults = [f"{op_name(op)}.{part}" for part in kind.weights] if kind else [op_name(op)]
    return [value_name(op.operands[first + i]) or default for i, default in enumerate(defaults)]


def value_name(value: ir.Value) -> str | None:
    """The name a constant's location carries, if any."""
    location = value.location
    return location.name_str if isinstance(location, ir.NameLoc) else None


def read_weights(op: ir.Operation) -> list[Weight]:
    """The weights of a `bspc.matmul` or a recurrent layer.

    Raises:
        EncodeError: a weight is not a constant.
    """
    first, count, fixed = OPERANDS[op.name]
    reorder = constant_array(op.operands[fixed]) if len(op.operands) > fixed else None
    weights, start = [], 0
    for i in range(count):
        value = op.operands[first + i]
        array = constant_array(value)
        if array is None:
            raise EncodeError(
                f"{weight_names(op)[i]}: a weight of {op.name} is computed at run time; "
                "only constant weights can be laid out"
            )
        own = None if reorder is None else reorder[start : start + len(array)]
        weights.append(Weight(array, _fields(value.type), own))
        start += len(array)
    return weights


def write_weights(op: ir.Operation, weights: list[Weight]) -> ir.Operation:
    """Replaces an op by one with these weights; constants nobody needs any more go."""
    first, count, fixed = OPERANDS[op.name]
    operands = list(op.operands)
    old = operands[first : first + count] + operands[fixed:]
    with op.context, ir.InsertionPoint(op), op.location:
        for i, weight in enumerate(weights):
            operands[first + i] = constant(
                weight.array, type=_type(weight), loc=operands[first + i].location
            )
        operands = operands[:fixed]
        if any(weight.reorder is not None for weight in weights):
            operands.append(constant(np.concatenate([_reorder(weight) for weight in weights])))
        new = ir.Operation.create(
            op.name,
            results=[result.type for result in op.results],
            operands=operands,
            attributes={named: op.attributes[named] for named in op.attributes},
        )
    for before, after in zip(op.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    op.erase()
    erase_unused(old)
    return new


def erase_unused(values: list[ir.Value]) -> None:
    """Erases the producers of values nobody uses, and what only they used."""
    pending = _producers(values)
    while pending:
        op = pending.pop()
        if any(list(result.uses) for result in op.results):
            continue
        # an erased op must not be looked at again, under whatever name it is pending
        pending = [other for other in pending if other != op]
        freed = _producers(list(op.operands))
        op.erase()
        pending += [other for other in freed if other not in pending]


def _producers(values: list[ir.Value]) -> list[ir.Operation]:
    """The ops that values come from, each once; block arguments have none."""
    producers: list[ir.Operation] = []
    for value in values:
        owner = value.owner
        if not isinstance(owner, ir.Block) and owner.operation not in producers:
            producers.append(owner.operation)
    return producers


def _reorder(weight: Weight) -> NDArray[np.int32]:
    if weight.reorder is not None:
        return weight.reorder
    return np.arange(len(weight.array), dtype=np.int32)


def _fields(kind: ir.Type) -> dict[str, Any] | None:
    encoding = ir.RankedTensorType(kind).encoding
    if not isinstance(encoding, EncodingAttr):
        return None
    fields = ir.DictAttr(encoding.fields)
    return {fields[i].name: _python(fields[i].attr) for i in range(len(fields))}


def _python(attribute: ir.Attribute) -> Any:
    if isinstance(attribute, ir.DenseI64ArrayAttr):
        return list(attribute)
    return attribute.value


def _type(weight: Weight) -> ir.RankedTensorType:
    element = element_type(weight.array.dtype)
    if weight.encoding is None:
        return ir.RankedTensorType.get(weight.array.shape, element)
    fields = {key: _attribute(value) for key, value in weight.encoding.items()}
    encoding = EncodingAttr.get(ir.DictAttr.get(fields))
    return ir.RankedTensorType.get(weight.array.shape, element, encoding)


def _attribute(value: Any) -> ir.Attribute:
    if isinstance(value, str):
        return ir.StringAttr.get(value)
    if isinstance(value, list):
        return ir.DenseI64ArrayAttr.get(value)
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)
