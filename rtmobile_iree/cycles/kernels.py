"""Our kernels of a lowered module, and the constants they read: all it takes to run one alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from rtmobile_iree.dialects.constants import constant_array
from rtmobile_iree.passes.weights import walk

MATMUL = "rtmobile_matmul_"  # as `bspc-lower` names the kernels of linear layers


@dataclass(frozen=True)
class Buffer:
    """A binding: `per_item * n + fixed` elements for n steps or vectors; constants have data."""

    per_item: int
    fixed: int
    itemsize: int
    data: np.ndarray | None

    def size_bytes(self, items: int) -> int:
        return (self.per_item * items + self.fixed) * self.itemsize


@dataclass(frozen=True)
class Kernel:
    """A dispatch of one of our kernels.

    Attributes:
        name: of its executable, and of the function in it.
        buffers: its bindings, in order.
        per_step, fixed: its push constant is `per_step * steps + fixed`.
    """

    name: str
    buffers: tuple[Buffer, ...]
    per_step: int
    fixed: int

    def items(self, steps: int) -> int:
        return self.per_step * steps + self.fixed


def read_kernels(module: ir.Module, batch: int = 1) -> tuple[Kernel, ...]:
    """The dispatches of a module after `bspc-lower`, in order.

    Args:
        batch: sequences side by side; a matmul whose vectors are open in number has one for each.
    """
    ops = list(walk(module.operation))
    dispatches = [op for op in ops if op.name == "flow.dispatch"]
    return tuple(_kernel(op, ops, batch) for op in dispatches)


def _kernel(dispatch: ir.Operation, ops: list[ir.Operation], batch: int) -> Kernel:
    name = str(dispatch.attributes["entry_points"]).split("@")[1].split("::")[0]
    source = next(op for op in ops if op.name == "hal.executable.source"
                  and ir.StringAttr(op.attributes["sym_name"]).value == name)  # fmt: skip
    spans = [op for op in walk(source) if op.name == "hal.interface.binding.subspan"]
    spans.sort(key=lambda op: ir.IntegerAttr(op.attributes["binding"]).value)
    _, arguments, *_ = ir.DenseI32ArrayAttr(dispatch.attributes["operandSegmentSizes"])
    # operands: workload, push constant, arrays, sizes; results take the bindings that are left
    values = [constant_array(value) for value in list(dispatch.operands)[2 : 1 + arguments]]
    values += [None] * (len(spans) - len(values))
    buffers, items = tuple(map(_buffer, spans, values)), _product(dispatch.operands[0])
    if items is not None:
        return Kernel(name, buffers, 0, items)
    return Kernel(name, buffers, batch if name.startswith(MATMUL) else 1, 0)


def _buffer(span: ir.Operation, value: np.ndarray | None) -> Buffer:
    kind = ir.MemRefType(span.results[0].type)
    element = kind.element_type
    itemsize = max(1, _bits(element) // 8)
    if kind.has_static_shape:
        return Buffer(0, kind.get_dim_size(0), itemsize, value)
    size = span.operands[1].owner  # items * per_item + fixed, as `dispatch.define_kernel` makes it
    per_item = _constant(size.operands[0].owner.operands[1])
    fixed = _constant(size.operands[1])
    assert per_item is not None, "a binding's size is not linear in n"
    assert fixed is not None, "a binding's size is not linear in n"
    return Buffer(per_item, fixed, itemsize, None)


def _bits(element: ir.Type) -> int:
    return (ir.FloatType if isinstance(element, ir.FloatType) else ir.IntegerType)(element).width


def _product(value: ir.Value) -> int | None:
    """A number made of constants and sizes of dimensions; None where one of them is open."""
    op = value.owner
    if op.name == "arith.muli":
        factors = [_product(operand) for operand in op.operands]
        return None if None in factors else math.prod(f for f in factors if f is not None)
    if op.name == "tensor.dim":
        kind, axis = ir.RankedTensorType(op.operands[0].type), _constant(op.operands[1])
        return None if axis is None or kind.is_dynamic_dim(axis) else kind.get_dim_size(axis)
    return _constant(value)


def _constant(value: ir.Value) -> int | None:
    """What an `arith.constant` holds; None for any other value."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "arith.constant":
        return None
    return ir.IntegerAttr(owner.attributes["value"]).value
