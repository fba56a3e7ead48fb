"""`bspc-raise-rnn`: a recurrent custom op in torch-mlir's import becomes an op of the bspc dialect.

First pass of the flow. It runs on what the FX importer emits, before torch-mlir lowers the rest to
linalg.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.kinds import KINDS, Kind

__all__ = ["RaiseRnnPass"]

OPERATORS = {f"torch.rtmobile.{kind.name}": kind for kind in KINDS.values()}
"""Their operands: the kind's tensors, then the layer and its name."""

VTENSOR = re.compile(r"!torch\.vtensor<\[([0-9?,]*)\],(\w+)>")


def builtin_type(vtensor: ir.Type) -> ir.Type | None:
    """`!torch.vtensor<[?,1,40],f32>` -> `tensor<?x1x40xf32>`; None for a type without known
    rank."""
    match = VTENSOR.fullmatch(str(vtensor))
    if match is None:
        return None
    dims = [dim for dim in match[1].split(",") if dim]
    return ir.Type.parse(f"tensor<{'x'.join([*dims, match[2]])}>", vtensor.context)


def _constant(value: ir.Value, op_name: str) -> ir.Attribute | None:
    owner = value.owner
    if not isinstance(owner, ir.Block) and owner.name == op_name:
        return owner.attributes["value"]
    return None


def _operator_name(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["name"]).value


def _raise(op: ir.Operation, kind: Kind) -> None:
    """Replace one `torch.operator "torch.rtmobile.<kind>"` by `bspc.<kind>` between casts."""
    context = op.context
    operands, tensors = list(op.operands), len(kind.tensors)
    if len(operands) != tensors + 2 or len(op.results) != kind.first_weight:
        raise FrontendError(
            f"bspc-raise-rnn: {_operator_name(op)} with {len(operands)} operands and "
            f"{len(op.results)} results; expected {tensors + 2} and {kind.first_weight}, as "
            f"rtmobile::{kind.name} has"
        )
    layer = _constant(operands[tensors], "torch.constant.int")
    name = _constant(operands[tensors + 1], "torch.constant.str")
    if layer is None or name is None:
        raise FrontendError(
            f"bspc-raise-rnn: the layer or the name of {_operator_name(op)} is no constant; "
            "expected torch.constant.int and torch.constant.str"
        )
    types = [builtin_type(v.type) for v in (*operands[:tensors], *op.results)]
    if None in types:
        raise FrontendError(
            f"bspc-raise-rnn: {name}: a tensor has no known rank and type; "
            "expected a type like !torch.vtensor<[?,1,40],f32>"
        )
    with ir.InsertionPoint(op), op.location:
        inputs = [
            ir.Operation.create("torch_c.to_builtin_tensor", results=[t], operands=[v]).result
            for t, v in zip(types, operands[:tensors], strict=False)
        ]
        raised = ir.Operation.create(
            f"bspc.{kind.name}",
            results=types[tensors:],
            operands=inputs,
            attributes={
                "layer": ir.IntegerAttr.get(
                    ir.IntegerType.get_signless(64, context), ir.IntegerAttr(layer).value
                ),
                "name": name,
            },
        )
        for old, new in zip(op.results, raised.results, strict=True):
            cast = ir.Operation.create(
                "torch_c.from_builtin_tensor", results=[old.type], operands=[new]
            )
            old.replace_all_uses_with(cast.result)
    op.erase()


def _load_torch_conversion(context: ir.Context) -> None:
    """Load the dialect `torch_c`, which cannot be loaded by name: a pass that needs it does."""
    with context, ir.Location.unknown():
        empty = ir.Module.create()
        PassManager.parse("builtin.module(torch-func-backend-type-conversion)").run(empty.operation)


@dataclass(frozen=True)
class RaiseRnnPass:
    """Raise the recurrent layers out of torch-mlir's import.

    Rewrites:
        %y, %s = torch.operator "torch.rtmobile.gru"(
            %x, %state, %w_ih, %w_hh, %b_ih, %b_hh, %layer, %name)
        ->
        %y, %s = bspc.gru %x, %state, %w_ih, %w_hh, %b_ih, %b_hh {layer, name}
        with torch_c.to_builtin_tensor before it and torch_c.from_builtin_tensor after it; other
        kinds of layers likewise.

    Assumes: the layer and the name are `torch.constant.int` and `torch.constant.str`.

    Does not handle: unrolled or decomposed recurrences.
    """

    name: ClassVar[str] = "bspc-raise-rnn"

    def run(self, module: ir.Operation) -> None:
        """Rewrite every recurrent operator under `module`.

        Raises:
            FrontendError: an operator's layer, name or types are not known.
        """
        _load_torch_conversion(module.context)
        found: list[ir.Operation] = []

        def collect(op: ir.Operation) -> ir.WalkResult:
            if op.name == "torch.operator" and _operator_name(op) in OPERATORS:
                found.append(op)
            return ir.WalkResult.ADVANCE

        module.walk(collect)
        for op in found:
            _raise(op, OPERATORS[_operator_name(op)])
