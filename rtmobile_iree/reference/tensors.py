"""The tensor dialect."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.errors import InputError
from rtmobile_iree.reference.values import Environment, Step, dtype, mixed, operands


def _empty(op: ir.Operation, values: Environment) -> list[Any]:
    """NaN, or the least integer: whoever reads what nobody wrote is found out."""
    kind = ir.RankedTensorType(op.results[0].type)
    element = np.dtype(dtype(kind))
    least = {"f": np.nan, "b": False}.get(element.kind)
    value = np.iinfo(element).min if least is None else least
    return [np.full(mixed(_sizes(kind), op.operands, values), value, element)]


def _dim(op: ir.Operation, values: Environment) -> list[Any]:
    source, axis = operands(op, values)
    return [np.int64(source.shape[int(axis)])]


def _rank(op: ir.Operation, values: Environment) -> list[Any]:
    return [np.int64(values[op.operands[0]].ndim)]


def _cast(op: ir.Operation, values: Environment) -> list[Any]:
    """tensor.cast, which claims sizes that must hold."""
    (source,) = operands(op, values)
    kind = ir.RankedTensorType(op.results[0].type)
    for axis, size in enumerate(source.shape):
        if not kind.is_dynamic_dim(axis) and kind.shape[axis] != size:
            raise InputError(f"reference: tensor.cast of {list(source.shape)} to {kind}")
    return [source]


def _extract(op: ir.Operation, values: Environment) -> list[Any]:
    """tensor.extract; inside linalg.generic the indices are arrays."""
    source, *index = operands(op, values)
    return [source[tuple(index)]]


def _insert(op: ir.Operation, values: Environment) -> list[Any]:
    scalar, destination, *index = operands(op, values)
    result = destination.copy()
    result[tuple(index)] = scalar
    return [result]


def _from_elements(op: ir.Operation, values: Environment) -> list[Any]:
    kind = ir.RankedTensorType(op.results[0].type)
    return [np.array(operands(op, values), dtype(kind)).reshape(kind.shape)]


def _splat(op: ir.Operation, values: Environment) -> list[Any]:
    kind = ir.RankedTensorType(op.results[0].type)
    shape = mixed(_sizes(kind), list(op.operands)[1:], values)
    return [np.full(shape, values[op.operands[0]], dtype(kind))]


def _expand_shape(op: ir.Operation, values: Environment) -> list[Any]:
    view = op.opview
    return [values[view.src].reshape(mixed(view.static_output_shape, view.output_shape, values))]


def _collapse_shape(op: ir.Operation, values: Environment) -> list[Any]:
    view = op.opview
    source = values[view.src]
    groups = [[axis.value for axis in group] for group in view.reassociation]
    return [source.reshape([int(np.prod([source.shape[a] for a in group])) for group in groups])]


def _reshape(op: ir.Operation, values: Environment) -> list[Any]:
    source, shape = operands(op, values)
    return [source.reshape(shape)]


def _extract_slice(op: ir.Operation, values: Environment) -> list[Any]:
    view = op.opview
    region, sizes = _region(view, values)
    source = values[view.source]
    kept = _kept_axes(list(view.static_sizes), _sizes(ir.RankedTensorType(op.results[0].type)))
    return [source[region].reshape([sizes[axis] for axis in kept])]


def _insert_slice(op: ir.Operation, values: Environment) -> list[Any]:
    view = op.opview
    region, sizes = _region(view, values)
    result = values[view.dest].copy()
    result[region] = values[view.source].reshape(sizes)
    return [result]


def _concat(op: ir.Operation, values: Environment) -> list[Any]:
    return [np.concatenate(operands(op, values), axis=op.attributes["dim"].value)]


def _pad(op: ir.Operation, values: Environment) -> list[Any]:
    """tensor.pad with one value everywhere."""
    view = op.opview
    body = op.regions[0].blocks[0]
    last = list(body.operations)[-1].operation
    padding = values.get(last.operands[0])
    if padding is None and isinstance(last.operands[0].owner, ir.Operation):
        attribute = last.operands[0].owner.attributes.get("value", None)
        padding = None if attribute is None else attribute.value
    if padding is None:
        raise InputError(f"reference: tensor.pad at {op.location} computes its padding; use one")
    low, high = mixed(view.static_low, view.low, values), mixed(view.static_high, view.high, values)
    widths = list(zip(low, high, strict=True))
    return [np.pad(values[view.source], widths, constant_values=padding)]


def _region(view: Any, values: Environment) -> tuple[tuple[slice, ...], list[int]]:
    """What a slice op names of the larger tensor, and the sizes of that."""
    offsets = mixed(view.static_offsets, view.offsets, values)
    sizes = mixed(view.static_sizes, view.sizes, values)
    strides = mixed(view.static_strides, view.strides, values)
    parts = [slice(o, o + n * s, s) for o, n, s in zip(offsets, sizes, strides, strict=True)]
    return tuple(parts), sizes


def _kept_axes(sizes: list[int], result: list[int]) -> list[int]:
    """Axes of a slice that its result keeps; the others are static ones."""
    kept: list[int] = []
    for axis, size in enumerate(sizes):
        if len(kept) < len(result) and size == result[len(kept)]:
            kept.append(axis)
    return kept


def _sizes(kind: ir.RankedTensorType) -> list[int]:
    """Dimensions, with MLIR's marker for those known at run time only."""
    dynamic = ir.ShapedType.get_dynamic_size()
    return [dynamic if kind.is_dynamic_dim(i) else kind.shape[i] for i in range(kind.rank)]


STEPS: dict[str, Step] = {
    "tensor.empty": _empty,
    "tensor.dim": _dim,
    "tensor.rank": _rank,
    "tensor.cast": _cast,
    "tensor.extract": _extract,
    "tensor.insert": _insert,
    "tensor.from_elements": _from_elements,
    "tensor.splat": _splat,
    "tensor.expand_shape": _expand_shape,
    "tensor.collapse_shape": _collapse_shape,
    "tensor.reshape": _reshape,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert_slice": _insert_slice,
    "tensor.concat": _concat,
    "tensor.pad": _pad,
}
