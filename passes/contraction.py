"""Finds `x times constant matrix` in whatever form torch-mlir emits it.

matmul, matvec, vecmat, batch_matmul, contractions written as linalg.generic, also as two of them
(a product, then its sum): all are one thing to their indexing maps. The constant may come through
transposes, reshapes and broadcasts, which are folded here in NumPy:

    x[b..., k], constant[k, m] or [m, k] or [b..., k, m] (all b alike)  ->  y[b..., m], in any order

Does not handle: sums over more than one dimension, convolutions, linalg.reduce.
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


@dataclass(frozen=True)
class _Product:
    """A sum of products of two inputs; `axes`: loop dimensions of both and of the result."""

    inputs: tuple[ir.Value, ir.Value]
    axes: list[list[int]]


def is_contraction(op: ir.Operation) -> bool:
    """Whether an op sums products of two inputs."""
    return _product(op) is not None


def match_contraction(op: ir.Operation) -> Contraction | None:
    """The op as a constant matrix times something, or None if it is anything else."""
    product = _product(op)
    if product is None:
        return None
    for side in (0, 1):
        folded = fold(product.inputs[side])
        if folded is not None:
            return _match(op, product, side, *folded)
    return None


def fold(value: ir.Value) -> tuple[NDArray[np.float32], ir.Value] | None:
    """The array of an f32 constant seen through ops that only move it, and the constant itself.

    The array has the value's rank; along an axis it was broadcast to, of any size, it has size 1.
    """
    array = constant_array(value)
    if array is not None:
        return (array, value) if array.dtype == np.float32 and array.size else None
    owner = value.owner
    if isinstance(owner, ir.Block) or not (owner.name in _RESHAPES or _is_move(owner.operation)):
        return None
    inner = fold(owner.operands[0])
    if inner is None:
        return None
    if owner.name in _RESHAPES:
        moved = _reshaped(owner.operation, inner[0])
    else:
        moved = _moved(owner.operation, inner[0])
    return None if moved is None else (moved, inner[1])


_RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast")


def _product(op: ir.Operation) -> _Product | None:
    """The op as a sum of products of f32, in one linalg op or in two."""
    if not op.name.startswith("linalg.") or not all(map(_is_f32, op.operands)):
        return None
    if linalg.isa_contraction_op(op):
        axes = _axes(op)
        return None if axes is None else _Product((op.operands[0], op.operands[1]), axes)
    return _sum_of_product(op)


def _sum_of_product(op: ir.Operation) -> _Product | None:
    """torch.mv as torch-mlir emits it: p[i, j] = a[i, j] * b[j], then y[i] = sum of p[i, j]."""
    if not _is_generic_of(op, "arith.addf", inputs=1):
        return None
    product = op.operands[0].owner
    if isinstance(product, ir.Block):
        return None
    if not _is_generic_of(product.operation, "arith.mulf", inputs=2):
        return None
    sum_axes, product_axes = _axes(op), _axes(product.operation)
    if sum_axes is None or product_axes is None:
        return None
    summed, result = sum_axes
    left, right, whole = product_axes
    if len(set(whole)) < len(whole) or not {*left, *right} <= {*whole}:
        return None
    loop = dict(zip(whole, summed, strict=True))
    axes = [[loop[d] for d in left], [loop[d] for d in right], result]
    return _Product((product.operands[0], product.operands[1]), axes)


def _is_generic_of(op: ir.Operation, scalar: str, inputs: int) -> bool:
    """Whether an op is a linalg.generic whose body is one operation on its first two arguments."""
    if op.name != "linalg.generic" or len(op.operands) != inputs + 1:
        return False
    body = op.regions[0].blocks[0]
    if len(body.operations) != 2:
        return False
    only, end = (each.operation for each in body.operations)
    first, second = body.arguments[0], body.arguments[1]
    operands = list(only.operands)
    return (
        only.name == scalar
        and operands in ([first, second], [second, first])
        and end.operands[0] == only.results[0]
    )


def _is_f32(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType) and isinstance(
        value.type.element_type, ir.F32Type
    )


def _is_move(op: ir.Operation) -> bool:
    """linalg.transpose, linalg.broadcast, or a linalg.generic that yields its one input."""
    if op.name in ("linalg.transpose", "linalg.broadcast"):
        return True
    if op.name != "linalg.generic" or len(op.operands) != 2:
        return False
    body = op.regions[0].blocks[0]
    return len(body.operations) == 1 and body.operations[0].operands[0] == body.arguments[0]


def _reshaped(op: ir.Operation, array: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """An array through tensor.cast, expand_shape or collapse_shape; None for open sizes."""
    if op.name == "tensor.cast":
        return array
    source, target = (ir.RankedTensorType(value.type) for value in (op.operands[0], op.results[0]))
    if not source.has_static_shape or not target.has_static_shape:
        return None
    return np.broadcast_to(array, source.shape).reshape(target.shape)


def _moved(op: ir.Operation, array: NDArray[np.float32]) -> NDArray[np.float32] | None:
    axes = _axes(op)
    if axes is None or sorted(axes[1]) != list(range(len(axes[1]))):
        return None
    source, target = axes
    present = [axis for axis in target if axis in source]
    array = array.transpose([source.index(axis) for axis in present])
    sizes = iter(array.shape)
    return array.reshape([next(sizes) if axis in source else 1 for axis in target])


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
    op: ir.Operation,
    product: _Product,
    side: int,
    array: NDArray[np.float32],
    source: ir.Value,
) -> Contraction | None:
    constant_axes, x_axes, y_axes = product.axes[side], product.axes[1 - side], product.axes[2]
    reduced = [d for d in x_axes if d in constant_axes and d not in y_axes]
    outputs = [d for d in constant_axes if d in y_axes and d not in x_axes]
    if len(reduced) != 1 or len(outputs) != 1:
        return None
    k, m = reduced[0], outputs[0]
    leading = [d for d in x_axes if d != k]
    if sorted([*leading, m]) != sorted(y_axes):
        return None
    kind = ir.RankedTensorType(product.inputs[side].type)
    weight = _one_matrix(array, kind, constant_axes, m, k)
    if weight is None:
        return None
    order = [*leading, m]
    return Contraction(
        op,
        product.inputs[1 - side],
        weight,
        source,
        tuple(x_axes.index(d) for d in [*leading, k]),
        tuple(order.index(d) for d in y_axes),
    )


def _one_matrix(
    array: NDArray[np.float32], kind: ir.RankedTensorType, axes: list[int], m: int, k: int
) -> NDArray[np.float32] | None:
    """The [M, N] matrix that a constant holds for every index of its other axes, if it is one."""
    rows, columns = axes.index(m), axes.index(k)
    if kind.is_dynamic_dim(rows) or kind.is_dynamic_dim(columns):
        return None
    others = [i for i in range(len(axes)) if i not in (rows, columns)]
    array = array.transpose([*others, rows, columns])
    matrices = array.reshape(-1, *array.shape[-2:])
    bits = matrices.view(np.uint32)  # NaN is not equal to itself, its bits are
    if not (bits == bits[:1]).all():
        return None
    shape = (kind.get_dim_size(rows), kind.get_dim_size(columns))
    return np.ascontiguousarray(np.broadcast_to(matrices[0], shape))
