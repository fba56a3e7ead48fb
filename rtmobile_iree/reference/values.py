"""Values of the evaluator: arrays for tensors, NumPy scalars for numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.dialects.constants import constant_array
from rtmobile_iree.errors import InputError

Environment = dict[ir.Value, Any]
Step = Callable[[ir.Operation, Environment], list[Any]]
"""Computes the results of one op; `Environment` holds the values of its operands."""

DTYPES: dict[str, type[np.generic]] = {
    "f64": np.float64,
    "f32": np.float32,
    "f16": np.float16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
    "i1": np.bool_,
    "index": np.int64,
}


def operands(op: ir.Operation, values: Environment) -> list[Any]:
    """The values of an op's operands."""
    return [values[operand] for operand in op.operands]


def dtype(kind: ir.Type) -> type[np.generic]:
    """NumPy's type of a number, or of a tensor's elements.

    Raises:
        InputError: NumPy has no such type.
    """
    element = kind.element_type if isinstance(kind, ir.RankedTensorType) else kind
    if str(element) not in DTYPES:
        raise InputError(f"reference: no values of type {kind}; use elements {', '.join(DTYPES)}")
    return DTYPES[str(element)]


def constant(op: ir.Operation, values: Environment) -> list[Any]:
    """arith.constant."""
    kind = op.results[0].type
    if isinstance(kind, ir.RankedTensorType):
        array = constant_array(op.results[0])
        if array is None:
            raise InputError(
                f"reference: constant {kind} at {op.location} is no dense<...>; "
                "its values cannot be read"
            )
        return [array.reshape(kind.shape).astype(dtype(kind), copy=False)]
    return [dtype(kind)(op.attributes["value"].value)]


def mixed(static: Any, dynamic: Any, values: Environment) -> list[int]:
    """Sizes or offsets of which some are attributes and the others operands, in order."""
    rest = iter(dynamic)
    is_dynamic = ir.ShapedType.get_dynamic_size()
    return [int(values[next(rest)]) if s == is_dynamic else int(s) for s in static]
