"""Weights as NumPy arrays and as `arith.constant`, both ways."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import arith


def constant_array(value: ir.Value) -> np.ndarray | None:
    """The array an `arith.constant` of tensor type holds; None for any other value."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return None
    if 0 in attribute.type.shape:
        return np.zeros(attribute.type.shape, np.array(attribute).dtype)
    return np.array(attribute)


def constant(
    array: np.ndarray,
    *,
    type: ir.RankedTensorType | None = None,
    loc: ir.Location | None = None,
    ip: ir.InsertionPoint | None = None,
) -> ir.Value:
    """Creates an `arith.constant` of a tensor.

    Args:
        array: f32, f16 or integer elements; u16 becomes signless i16, bit for bit, or bf16 when
            the type says so.
        type: tensor type of the result, with an encoding, say; plain when None.
        loc, ip: as in every MLIR builder.
    """
    array = np.ascontiguousarray(array.view(np.int16) if array.dtype == np.uint16 else array)
    element = element_type(array.dtype)
    kind = type or ir.RankedTensorType.get(array.shape, element)
    if array.size == 0:
        attribute = ir.Attribute.parse(f"dense<> : {kind}")
    else:
        attribute = ir.DenseElementsAttr.get(array, type=kind)
    return arith.constant(kind, attribute, loc=loc, ip=ip)


def element_type(dtype: np.dtype) -> ir.Type:
    """MLIR's type of the elements of an array; u16 is signless i16."""
    if dtype == np.float32:
        return ir.F32Type.get()
    if dtype == np.float16:
        return ir.F16Type.get()
    if dtype.kind == "i" or dtype == np.uint16:
        return ir.IntegerType.get_signless(8 * dtype.itemsize)
    raise TypeError(f"no constant of {dtype} is made here")
