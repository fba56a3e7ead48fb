"""linalg.generic: the points of the reduction one after another, all others at once.

For each point of the reduction dimensions every operand is gathered along its affine map, with one
index array per dimension; the body then runs on whole arrays, and its results are scattered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.errors import InputError
from rtmobile_iree.reference.values import Environment, operands

RunBlock = Callable[[ir.Block, list[Any], Environment], list[Any]]

INDICES = "indices"
"""Key in the environment of a body: the index arrays of the dimensions, for linalg.index."""


def generic(op: ir.Operation, values: Environment, run_block: RunBlock) -> list[Any]:
    """Evaluates linalg.generic.

    Args:
        run_block: runs the body on arguments, and returns what it yields.
    """
    maps = [ir.AffineMapAttr(each).value for each in op.attributes["indexing_maps"]]
    arrays = [np.asarray(each) for each in operands(op, values)]
    outputs = [arrays[len(arrays) - len(op.results) + i].copy() for i in range(len(op.results))]
    arrays[len(arrays) - len(outputs) :] = outputs
    kinds = [str(each) for each in op.attributes["iterator_types"]]
    reductions = [axis for axis, kind in enumerate(kinds) if "reduction" in kind]
    sizes = _sizes(op, maps, arrays)
    indices = _open_grid(sizes)
    full = tuple(1 if axis in reductions else size for axis, size in enumerate(sizes))
    for point in itertools.product(*(range(sizes[axis]) for axis in reductions)):
        for axis, index in zip(reductions, point, strict=True):
            indices[axis] = np.full([1] * len(sizes), index)
        places = [tuple(evaluate(e, indices) for e in each.results) for each in maps]
        inputs = [array[place] for array, place in zip(arrays, places, strict=True)]
        scope = {**values, INDICES: indices}
        results = run_block(op.regions[0].blocks[0], inputs, scope)
        for output, place, result in zip(outputs, places[-len(outputs) :], results, strict=True):
            output[place] = np.broadcast_to(result, full)
    return list(outputs)


def evaluate(expression: ir.AffineExpr, dims: list[Any]) -> Any:
    """The value of an affine expression at these values of its dimensions."""
    if isinstance(expression, ir.AffineDimExpr):
        return dims[expression.position]
    if isinstance(expression, ir.AffineConstantExpr):
        return np.full([1] * len(dims), expression.value)
    assert isinstance(expression, ir.AffineBinaryExpr), f"{expression} of an indexing map"
    left, right = evaluate(expression.lhs, dims), evaluate(expression.rhs, dims)
    if isinstance(expression, ir.AffineAddExpr):
        return left + right
    if isinstance(expression, ir.AffineMulExpr):
        return left * right
    if isinstance(expression, ir.AffineModExpr):
        return left % right
    return left // right if isinstance(expression, ir.AffineFloorDivExpr) else -(-left // right)


def index(op: ir.Operation, values: Environment) -> list[Any]:
    """linalg.index."""
    return [values[INDICES][op.attributes["dim"].value]]  # type: ignore[index]


def _sizes(op: ir.Operation, maps: list[ir.AffineMap], arrays: list[Any]) -> list[int]:
    """The size of every dimension, from an operand that it indexes alone."""
    sizes: dict[int, int] = {}
    for each, array in zip(maps, arrays, strict=True):
        for expression, size in zip(each.results, array.shape, strict=True):
            if not isinstance(expression, ir.AffineDimExpr):
                continue
            dim = expression.position
            if sizes.setdefault(dim, size) != size:
                raise InputError(
                    f"reference: linalg.generic at {op.location}: dimension {dim} is "
                    f"{sizes[dim]} in one operand and {size} in another"
                )
    return [sizes[dim] for dim in range(maps[0].n_dims)]


def _open_grid(sizes: list[int]) -> list[Any]:
    """One index array a dimension, along its own axis."""
    return list(np.ogrid[tuple(slice(size) for size in sizes)]) if sizes else []
