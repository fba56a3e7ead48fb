"""Finds `x times constant matrix` in whatever form torch-mlir emits it.

matmul, matvec, vecmat, batch_matmul, contractions written as linalg.generic: all are one thing to
their indexing maps. The constant may come through transposes, reshapes and broadcasts, which are
folded here in NumPy:

    x[b..., k], constant[k, m] or [m, k] or [b..., k, m] (all b alike)  ->  y[b..., m], in any order
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rtmobile_iree.dialects.constants import constant_array
from torch_mlir import ir
from torch_mlir.dialects import linalg


@dataclass(frozen=True, eq=False)
class Contraction:
    """y = x @ weight.T, up to the order of dimensions.

    Attributes:
        op: the linalg op.
        x: its other input.
        weight: [M, N] f32.
        source: the constant's value before any transpose, reshape or broadcast.
        x_order: permutation that brings x to [..., N].
        y_order: permutation that brings [..., M] to the op's result.
    """

    op: ir.Operation
    x: ir.Value
    weight: NDArray[np.float32]
    source: ir.Value
    x_order: tuple[int, ...]
    y_order: tuple[int, ...]


def is_contraction(op: ir.Operation) -> bool:
    """Whether an op sums products of two inputs."""
    return op.name.startswith("linalg.") and linalg.isa_contraction_op(op)


def match_contraction(op: ir.Operation) -> Contraction | None:
    """The op as a constant matrix times something, or None if it is anything else."""
    if not is_contraction(op):
        return None
    for side in (0, 1):
        folded = fold(op.operands[side])
        if folded is not None and folded[0].dtype == np.float32:
            return _match(op, side, folded[0].astype(np.float32, copy=False), folded[1])
    return None


def fold(value: ir.Value) -> tuple[NDArray[np.generic], ir.Value] | None:
    """The array of a constant seen through ops that only move it, and the constant itself."""
    array = constant_array(value)
    if array is not None:
        return array, value
    owner = value.owner
    if isinstance(owner, ir.Block) or not (owner.name in _RESHAPES or _is_move(owner.operation)):
        return None
    inner = fold(owner.operands[0])
    kind = ir.RankedTensorType(value.type)
    if inner is None or not kind.has_static_shape:
        return None
    if owner.name in _RESHAPES:
        return inner[0].reshape(kind.shape), inner[1]
    moved = _moved(owner.operation, inner[0], kind.shape)
    return None if moved is None else (moved, inner[1])


_RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast")


def _is_move(op: ir.Operation) -> bool:
    """linalg.transpose, linalg.broadcast, or a linalg.generic that yields its one input."""
    if op.name in ("linalg.transpose", "linalg.broadcast"):
        return True
    if op.name != "linalg.generic" or len(op.operands) != 2:
        return False
    body = op.regions[0].blocks[0]
    return len(body.operations) == 1 and body.operations[0].operands[0] == body.arguments[0]


def _moved(
    op: ir.Operation, array: NDArray[np.generic], shape: list[int]
) -> NDArray[np.generic] | None:
    axes = _axes(op)
    if axes is None or sorted(axes[1]) != list(range(len(axes[1]))):
        return None
    source, target = axes
    present = [axis for axis in target if axis in source]
    array = array.transpose([source.index(axis) for axis in present])
    wide = array.reshape([n if a in source else 1 for a, n in zip(target, shape, strict=True)])
    return np.broadcast_to(wide, shape)


def _axes(op: ir.Operation) -> list[list[int]] | None:
    """For each operand, the loop dimension of each axis; None beyond projected permutations."""
    axes = []
    for attribute in linalg.get_indexing_maps(op):
        results = ir.AffineMapAttr(attribute).value.results
        if not all(isinstance(expr, ir.AffineDimExpr) for expr in results):
            return None
        axes.append([expr.position for expr in results])
    return axes


def _match(
    op: ir.Operation, side: int, array: NDArray[np.float32], source: ir.Value
) -> Contraction | None:
    axes = _axes(op)
    if axes is None:
        return None
    constant_axes, x_axes, y_axes = axes[side], axes[1 - side], axes[2]
    reduced = [d for d in x_axes if d in constant_axes and d not in y_axes]
    outputs = [d for d in constant_axes if d in y_axes and d not in x_axes]
    if len(reduced) > 1 or len(outputs) > 1 or not reduced:
        return None
    (k,), m = reduced, outputs[0] if outputs else None
    batch = [d for d in constant_axes if d not in (k, m)]
    array = array.transpose([constant_axes.index(d) for d in [*batch, *outputs, k]])
    matrix = array.reshape(-1, array.shape[-2] if outputs else 1, array.shape[-1])
    if m is None or matrix.shape[0] == 0 or not (matrix == matrix[:1]).all():
        return None
    leading = [d for d in x_axes if d != k]
    if sorted([*leading, m]) != sorted(y_axes):
        return None
    order = [*leading, m]
    return Contraction(
        op,
        op.operands[1 - side],
        np.ascontiguousarray(matrix[0]),
        source,
        tuple(x_axes.index(d) for d in [*leading, k]),
        tuple(order.index(d) for d in y_axes),
    )
