"""Runs the functions of a module, op by op."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from rtmobile_iree.errors import InputError
from rtmobile_iree.reference import recurrent, scalars, structured, tensors
from rtmobile_iree.reference.values import Environment, Step, constant, dtype, operands

TERMINATORS = ("func.return", "linalg.yield")
# Every named linalg op has one generic form, and affine.apply its arithmetic: only those are
# evaluated.
NORMALIZE = "builtin.module(func.func(linalg-generalize-named-ops, lower-affine))"
STEPS: dict[str, Step] = {
    "arith.constant": constant,
    "linalg.index": structured.index,
    **scalars.STEPS,
    **tensors.STEPS,
    **recurrent.STEPS,
}


def evaluate(module: ir.Module, *inputs: Any, function: str = "main") -> tuple[NDArray[Any], ...]:
    """What a function of a module returns.

    Args:
        module: any stage before `bspc-lower`; it is not changed.
        inputs: an array (or number) for each argument, of its element type and shape.

    Returns:
        The results, in order.

    Raises:
        InputError: no such function; inputs of another number, type or shape; an op that is not
            known here, by name.
    """
    with module.context, ir.Location.unknown():
        operation = module.operation.clone()
        PassManager.parse(NORMALIZE).run(operation)
        functions = {
            ir.StringAttr(op.attributes["sym_name"]).value: op.operation
            for op in operation.regions[0].blocks[0].operations
            if op.operation.name == "func.func"
        }
        with np.errstate(all="ignore"):
            results = _Interpreter(functions).call(function, inputs)
    return tuple(np.asarray(each) for each in results)


class _Interpreter:
    """The functions of one module."""

    def __init__(self, functions: dict[str, ir.Operation]) -> None:
        self.functions = functions

    def call(self, name: str, inputs: Any) -> list[Any]:
        """Results of one function."""
        if name not in self.functions:
            raise InputError(f"reference: no function @{name}; use {', '.join(self.functions)}")
        block = self.functions[name].regions[0].blocks[0]
        arguments = list(block.arguments)
        if len(inputs) != len(arguments):
            raise InputError(f"reference: @{name}: {len(inputs)} inputs; give {len(arguments)}")
        given = [_input(f"@{name}: input {i}", each, arguments[i]) for i, each in enumerate(inputs)]
        return self.block(block, given, {})

    def block(self, block: ir.Block, arguments: list[Any], outer: Environment) -> list[Any]:
        """Runs a block; returns the operands of its terminator."""
        values = {**outer, **dict(zip(block.arguments, arguments, strict=True))}
        for view in block.operations:
            op = view.operation
            if op.name in TERMINATORS:
                return operands(op, values)
            values.update(zip(op.results, self.step(op, values), strict=True))
        raise AssertionError("a block without a terminator")

    def step(self, op: ir.Operation, values: Environment) -> list[Any]:
        """Results of one op."""
        if op.name in STEPS:
            return STEPS[op.name](op, values)
        if op.name == "linalg.generic":
            return structured.generic(op, values, self.block)
        if op.name == "func.call":
            callee = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
            return self.call(callee, operands(op, values))
        if op.name == "cf.assert":
            if not values[op.operands[0]]:
                raise InputError(f"reference: {ir.StringAttr(op.attributes['msg']).value}")
            return []
        raise InputError(
            f"reference: {op.name} at {op.location} is not known here; "
            "evaluate the module before bspc-lower, in func, arith, math, tensor, linalg and bspc"
        )


def _input(what: str, value: Any, argument: ir.Value) -> Any:
    """One input as the evaluator holds it, checked."""
    kind = argument.type
    array = np.asarray(value)
    if array.dtype != dtype(kind):
        raise InputError(f"reference: {what} is {array.dtype}; {kind} needs {dtype(kind).__name__}")
    shape: list[int | None] = []
    if isinstance(kind, ir.RankedTensorType):
        shape = [None if kind.is_dynamic_dim(i) else kind.shape[i] for i in range(kind.rank)]
    fits = len(shape) == array.ndim and all(
        expected in (None, size) for expected, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"reference: {what} is {list(array.shape)}; use the shape of {kind}")
    return array if shape else array[()]
