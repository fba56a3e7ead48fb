"""Rules of the `bspc` ops that IRDL cannot state; dialects/bspc.py attaches one function an op.

Every function returns True, or emits one error at the op and returns False. Where operands are
constants their values are checked too. The packed arrays are held to the rules of the format
itself, by building the `PackedMatrix` they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from rtmobile_iree.dialects.constants import constant_array
from torch_mlir import ir

from rtmobile_iree.bspc import PANEL_HEIGHTS, PackedMatrix
from rtmobile_iree.errors import FormatError
from rtmobile_iree.values import VALUE_BITS

Shape = tuple[int | None, ...]  # None is a dimension known only at run time

STAGES = ("encoded", "reordered", "merged")
COUNTS = ("groups", "kept")
OPTIONAL_COUNTS = ("loads_before", "loads_after")
VALUE_ELEMENTS = ("f32", "f16", "i16", "i8")  # i16: the bit patterns of bf16
PACKED_ARRAYS = ("reorder", "group_offset", "column_offset", "column_index", "values")


class Broken(Exception):
    """A rule does not hold; the message says which."""


Check = Callable[[ir.Operation], None]
Verifier = Callable[[ir.OpView], bool]


def rules(operands: int, results: int) -> Callable[[Check], Verifier]:
    """Turns a function that raises `Broken` or `FormatError` into a verifier.

    Args:
        operands, results: how many the op has at least. These functions run before IRDL counts
            them, so with fewer nothing is checked here, and IRDL says what is missing.
    """

    def decorate(check: Check) -> Verifier:
        @wraps(check)
        def verify(op: ir.OpView) -> bool:
            operation = op.operation
            if len(operation.operands) < operands or len(operation.results) < results:
                return True
            try:
                check(operation)
            except (Broken, FormatError) as error:
                operation.location.emit_error(f"{_title(operation)}: {error}")
                return False
            return True

        return verify

    return decorate


@rules(operands=2, results=1)
def matmul(op: ir.Operation) -> None:
    """x [..., N], w [M', N], optional reorder [M'] -> y [..., M]."""
    x, y = floats(op.operands[0], "x"), floats(op.results[0], "y")
    if not x or len(y) != len(x):
        raise Broken(f"x {text(x)}, y {text(y)}; use ranks that are equal and 1 or more")
    (rows,) = static(y[-1:], "y's last dimension")
    (columns,) = weights(op, 1, 2, {"w": rows})
    expect("x", x, (*y[:-1], columns))


@rules(operands=6, results=1)
def packed_matmul(op: ir.Operation) -> None:
    """x [..., N], the five arrays of W [M, N] -> y [..., M]."""
    x, y = floats(op.operands[0], "x"), floats(op.results[0], "y")
    if not x or len(y) != len(x):
        raise Broken(f"x {text(x)}, y {text(y)}; use ranks that are equal and 1 or more")
    rows, columns = packed(op, 1, "", "shape")
    expect("x", x, (*y[:-1], columns))
    expect("y", y, (*x[:-1], rows))


def weights(op: ir.Operation, first: int, fixed: int, rows: dict[str, int]) -> list[int]:
    """Checks weights [M', N], and their reorder where there is one.

    Args:
        first, fixed: number of the first weight, and of the operand after the fixed ones.
        rows: name -> M original rows.

    Returns:
        N of each.
    """
    values = list(op.operands)[first : first + len(rows)]
    shapes = [static(floats(v, name, 2), name) for v, name in zip(values, rows, strict=True)]
    reorders = list(op.operands)[fixed:]
    if len(reorders) > 1:
        raise Broken(f"{len(reorders)} reorder operands; give one for all weights, or none")
    for (name, needed), value, (stored, columns) in zip(rows.items(), values, shapes, strict=True):
        if not reorders and stored != needed:
            raise Broken(
                f"{name} {[stored, columns]} without a reorder; the results need {needed} rows"
            )
        encoding = ir.RankedTensorType(value.type).encoding
        if encoding is None:
            continue
        stage = _encoding(encoding, name, stored, constant_array(value))
        if stage != "encoded" and not reorders:
            raise Broken(f'{name}: stage "{stage}" without a reorder; give the rows in order')
    if reorders:
        _reorder(reorders[0], [stored for stored, _ in shapes], rows)
    return [columns for _, columns in shapes]


def _reorder(value: ir.Value, stored: list[int], rows: dict[str, int]) -> None:
    """Checks the reorder of weights with so many stored rows, one after another."""
    expect("reorder", tensor(value, "reorder", "i32", 1), (sum(stored),))
    array = constant_array(value)
    if array is None:
        return
    parts = np.split(array, np.cumsum(stored)[:-1])
    for (name, needed), part in zip(rows.items(), parts, strict=True):
        if ((part < 0) | (part >= needed)).any() or np.unique(part).size != part.size:
            raise Broken(f"the reorder of {name} must hold distinct rows of 0 to {needed - 1}")


def _encoding(encoding: ir.Attribute, name: str, rows: int, array: Any) -> str:
    """Checks `#bspc.encoding` on a weight of `rows` stored rows; returns its stage."""
    if not hasattr(encoding, "fields"):
        raise Broken(f"{name}: encoding {encoding}; use #bspc.encoding or none")
    fields = {named.name: named.attr for named in ir.DictAttr(encoding.fields)}
    stage = fields.get("stage")
    if not isinstance(stage, ir.StringAttr) or stage.value not in STAGES:
        raise Broken(f"{name}: stage {stage}; use one of {', '.join(STAGES)}")
    for key in (*COUNTS, *(key for key in OPTIONAL_COUNTS if key in fields)):
        if not isinstance(fields.get(key), ir.IntegerAttr) or fields[key].value < 0:
            raise Broken(f"{name}: {key} is {fields.get(key)}; use an i64 of 0 or more")
    if not isinstance(fields.get("group_offset"), ir.DenseI64ArrayAttr):
        raise Broken(f"{name}: group_offset is {fields.get('group_offset')}; use array<i64: ...>")
    offsets = list(fields["group_offset"])
    _group_offset(name, stage.value, offsets, fields["groups"].value, rows)
    if array is not None and offsets and array[offsets[-1] :].any():
        raise Broken(f"{name}: rows from {offsets[-1]} on are in no group, but not all zero")
    kept = fields["kept"].value
    if array is not None and np.count_nonzero(array) != kept:
        raise Broken(f"{name}: kept = {kept}, but {np.count_nonzero(array)} weights are nonzero")
    return stage.value


def _group_offset(name: str, stage: str, offsets: list[int], groups: int, rows: int) -> None:
    if stage == "encoded":
        if offsets:
            raise Broken(f'{name}: group_offset {offsets} at stage "encoded"; leave it empty')
        return
    if len(offsets) != groups + 1:
        raise Broken(
            f"{name}: {len(offsets)} entries of group_offset for {groups} groups; use groups + 1"
        )
    if offsets[0] != 0 or offsets[-1] > rows or sorted(offsets) != offsets:
        raise Broken(f"{name}: group_offset {offsets} must ascend from 0 to {rows} rows or less")


def packed(op: ir.Operation, first: int, prefix: str, shape_name: str) -> tuple[int, int]:
    """Checks the five arrays from operand `first` on; returns the shape [M, N] of the matrix."""
    attribute = op.attributes.get(shape_name, None)
    shape = list(attribute) if isinstance(attribute, ir.DenseI64ArrayAttr) else []
    if len(shape) != 2 or min(shape) < 0:
        raise Broken(f"{shape_name} is {attribute}; use array<i64: rows, columns>")
    row_align = integer(op, "row_align")
    if row_align not in PANEL_HEIGHTS:
        raise Broken(f"row_align is {row_align}; use one of {sorted(PANEL_HEIGHTS)}")
    bits = bits_attribute(shape_name)
    if bits in op.attributes and integer(op, bits) != VALUE_BITS["i4"]:
        raise Broken(f"{bits} is {integer(op, bits)}; use 4, or none")
    rows, columns = shape
    index = "i16" if columns <= 1 << 16 else "i32"
    kinds: tuple[str | tuple[str, ...], ...] = ("i32", "i32", "i32", index, VALUE_ELEMENTS)
    elements = dict(zip(PACKED_ARRAYS, kinds, strict=True))
    values = [op.operands[first + i] for i in range(len(PACKED_ARRAYS))]
    sizes = [
        tensor(value, prefix + name, elements[name], 1)[0]
        for name, value in zip(PACKED_ARRAYS, values, strict=True)
    ]
    if None not in sizes[1:3] and (sizes[1] != sizes[2] or sizes[1] == 0):
        raise Broken(
            f"{prefix}group_offset has {sizes[1]} entries, {prefix}column_offset {sizes[2]}; "
            "both need groups + 1"
        )
    arrays = [constant_array(value) for value in values]
    if all(array is not None for array in arrays):
        packed_matrix(op, shape_name, arrays)
    return rows, columns


def packed_matrix(op: ir.Operation, shape_name: str, arrays: list[Any]) -> PackedMatrix:
    """The matrix that a packed op's attributes and these operands stand for.

    Args:
        shape_name: the attribute with its rows and columns.
        arrays: in the order of PACKED_ARRAYS; u16 and bf16 as signless i16.

    Raises:
        FormatError: the arrays do not fit one another.
    """
    rows, columns = ir.DenseI64ArrayAttr(op.attributes[shape_name])
    scales = op.attributes.get(scales_attribute(shape_name), None)
    reorder, group_offset, column_offset, column_index, values = (
        array.view(np.uint16) if array.dtype == np.int16 else array for array in arrays
    )
    return PackedMatrix(
        (rows, columns),
        reorder,
        group_offset,
        column_offset,
        column_index,
        values,
        ir.IntegerAttr(op.attributes["row_align"]).value,
        np.array([] if scales is None else list(ir.DenseF32ArrayAttr(scales)), np.float32),
        bits_attribute(shape_name) in op.attributes,
    )


def scales_attribute(shape_name: str) -> str:
    """`scales_ih` of `shape_ih`: the attribute with the scales of i8 and i4, array<f32>."""
    return shape_name.replace("shape", "scales")


def bits_attribute(shape_name: str) -> str:
    """`bits_ih` of `shape_ih`: the attribute that says 4 where i8 values are i4's."""
    return shape_name.replace("shape", "bits")


def _title(op: ir.Operation) -> str:
    """`bspc.gru gru.l0`: the op, and the layer where it carries a name."""
    name = op.attributes.get("name", None)
    return f"{op.name} {name.value}" if isinstance(name, ir.StringAttr) else op.name


def integer(op: ir.Operation, name: str) -> int:
    attribute = op.attributes.get(name, None)
    if not isinstance(attribute, ir.IntegerAttr):
        raise Broken(f"{name} is {attribute}; use an i64")
    return int(attribute.value)


def floats(value: ir.Value, name: str, rank: int | None = None) -> Shape:
    return tensor(value, name, "f32", rank)


def tensor(
    value: ir.Value, name: str, element: str | tuple[str, ...], rank: int | None = None
) -> Shape:
    """The shape of a value that must be a ranked tensor of one of these elements."""
    kind, elements = value.type, (element,) if isinstance(element, str) else element
    if not isinstance(kind, ir.RankedTensorType) or str(kind.element_type) not in elements:
        raise Broken(f"{name} is {kind}; use a ranked tensor of {' or '.join(elements)}")
    if rank is not None and kind.rank != rank:
        raise Broken(f"{name} is {kind}; use {rank} dimensions")
    return tuple(None if kind.is_dynamic_dim(i) else kind.shape[i] for i in range(kind.rank))


def static(shape: Shape, name: str) -> tuple[int, ...]:
    if None in shape:
        raise Broken(f"{name} {text(shape)} is dynamic; only steps and batch may be")
    return tuple(size for size in shape if size is not None)


def expect(name: str, shape: Shape, expected: Shape) -> None:
    """A dynamic dimension fits any size."""
    pairs = zip(shape, expected, strict=False)
    if len(shape) != len(expected) or any(a != b for a, b in pairs if None not in (a, b)):
        raise Broken(f"{name} is {text(shape)}; the other operands need {text(expected)}")


def text(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
