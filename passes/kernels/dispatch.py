"""From a kernel body to IREE's `hal.executable.source` and `flow.dispatch`.

The ops of IREE's dialects are created by name, unregistered, in a context that knows only upstream
MLIR: what crosses into IREE is text, and IREE parses and verifies it there. A kernel is

    func @name() { n = push constant 0; buffers = bindings as flat memrefs; body(n, buffers) }

with one i32 push constant n (steps or vectors) and one workgroup, unless `count` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import compare
from torch_mlir import ir
from torch_mlir.dialects import arith, func

# n (index value) -> workgroups along x and y
Count = Callable[[ir.Value], tuple[ir.Value, ir.Value]]


CPU = "#iree_codegen.translation_info<pipeline = #iree_cpu.pipeline<Default>>"


@dataclass(frozen=True)
class Binding:
    """One buffer of a kernel: a flat memref of at most `per_item * n + fixed` elements."""

    element: ir.Type
    per_item: int
    fixed: int
    read_only: bool


Body = Callable[[ir.Value, Sequence[ir.Value]], None]


def define_kernel(
    block: ir.Block,
    name: str,
    bindings: Sequence[Binding],
    body: Body,
    count: Count | None = None,
    translation: str = CPU,
) -> None:
    """Creates `hal.executable.source @name`, holding `func @name`, at the start of a block.

    Args:
        bindings: in the order of the dispatch: its arguments, then its results but the tied one.
        count: workgroups that run; one when None.
        translation: how IREE compiles the kernel, an `iree_codegen.translation_info`.
    """
    access = ["#hal.pipeline.binding<storage_buffer" + (", ReadOnly>" if b.read_only else ">")
              for b in bindings]  # fmt: skip
    layout = ir.Attribute.parse(
        f"#hal.pipeline.layout<constants = 1, bindings = [{', '.join(access)}]>"
    )
    at_start = ir.InsertionPoint.at_block_begin(block)
    source = _create("hal.executable.source", name, at_start, regions=1)
    source.attributes["sym_visibility"] = ir.StringAttr.get("private")
    inside = source.regions[0].blocks.append()
    with ir.InsertionPoint(inside):
        _export(name, layout, count)
        module = ir.Operation.create("builtin.module", regions=1)
        ir.Operation.create("hal.executable.source_end")
    with ir.InsertionPoint(module.regions[0].blocks.append()):
        kernel = func.FuncOp(name, ir.FunctionType.get([], []))
        kernel.attributes["translation_info"] = ir.Attribute.parse(translation)
    with ir.InsertionPoint(kernel.add_entry_block()):
        items = _push_constant(layout)
        buffers = [_subspan(layout, i, b, items) for i, b in enumerate(bindings)]
        body(items, buffers)
        func.ReturnOp([])


def dispatch(
    name: str,
    items: ir.Value,
    arguments: Sequence[ir.Value],
    results: Sequence[tuple[ir.RankedTensorType, Sequence[ir.Value]]],
    in_place: ir.Value | None = None,
) -> ir.Operation:
    """Calls a kernel.

    Args:
        results: each type with the values of its dynamic dims.
        in_place: one more argument that the kernel also writes, of static shape.
    """
    items_i32 = arith.index_cast(ir.IntegerType.get_signless(32), items)
    argument_dims = [dim for value in arguments for dim in dynamic_dims(value)]
    result_dims = [dim for _, dims in results for dim in dims]
    entry = ir.Attribute.parse(f"[@{name}::@{name}]")
    given = [items_i32, *arguments]
    types, tied = [kind for kind, _ in results], [-1] * len(results)
    if in_place is not None:
        types.append(in_place.type)
        tied.append(len(given))
        given.append(in_place)
    segments = [1, len(given), len(argument_dims), len(result_dims)]
    return ir.Operation.create(
        "flow.dispatch",
        results=types,
        operands=[items, *given, *argument_dims, *result_dims],
        attributes={
            "entry_points": entry,
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get(segments),
            "tied_operands": ir.ArrayAttr.get(
                [ir.IntegerAttr.get(ir.IndexType.get(), number) for number in tied]
            ),
        },
    )


def zeros(elements: int) -> ir.Value:
    """tensor<elements x i32> of zeros, made anew for every call."""
    i32 = ir.IntegerType.get_signless(32)
    return ir.Operation.create(
        "flow.tensor.splat",
        results=[ir.RankedTensorType.get([elements], i32)],
        operands=[arith.constant(i32, 0)],
    ).result


def dynamic_dims(value: ir.Value) -> list[ir.Value]:
    """`tensor.dim` of every dynamic dimension."""
    from torch_mlir.dialects import tensor

    kind = ir.RankedTensorType(value.type)
    axes = [axis for axis in range(kind.rank) if kind.is_dynamic_dim(axis)]
    return [tensor.dim(value, arith.constant(ir.IndexType.get(), axis)) for axis in axes]


def _create(op: str, symbol: str, ip: ir.InsertionPoint, regions: int) -> ir.Operation:
    attributes = {"sym_name": ir.StringAttr.get(symbol)}
    return ir.Operation.create(op, attributes=attributes, regions=regions, ip=ip)


def at_least(most: int, least_items: int) -> Count | None:
    """`most` workgroups from so many items on, else one; None for always one."""
    if most == 1:
        return None

    def count(items: ir.Value) -> tuple[ir.Value, ir.Value]:
        index = ir.IndexType.get()
        one, least = arith.constant(index, 1), arith.constant(index, least_items)
        is_enough = compare("uge", items, least)
        return arith.select(is_enough, arith.constant(index, most), one), one

    return count


def _export(name: str, layout: ir.Attribute, count: Count | None) -> None:
    index = ir.IndexType.get()
    export = ir.Operation.create(
        "hal.executable.export",
        attributes={
            "sym_name": ir.StringAttr.get(name),
            "layout": layout,
            "ordinal": ir.IntegerAttr.get(index, 0),
        },
        regions=2,
    )
    block = export.regions[0].blocks.append(ir.Type.parse("!hal.device"), index)
    with ir.InsertionPoint(block):
        one = arith.constant(index, 1)
        x, y = count(block.arguments[1]) if count else (one, one)
        ir.Operation.create("hal.return", operands=[x, y, one])


def _push_constant(layout: ir.Attribute) -> ir.Value:
    index = ir.IndexType.get()
    load = ir.Operation.create(
        "hal.interface.constant.load",
        results=[ir.IntegerType.get_signless(32)],
        attributes={"layout": layout, "ordinal": ir.IntegerAttr.get(index, 0)},
    )
    return arith.index_castui(index, load.result)


def _subspan(layout: ir.Attribute, number: int, binding: Binding, items: ir.Value) -> ir.Value:
    index = ir.IndexType.get()
    zero = arith.constant(index, 0)
    dynamic = binding.per_item > 0
    size = ir.ShapedType.get_dynamic_size() if dynamic else binding.fixed
    dims = []
    if dynamic:
        grown = arith.muli(items, arith.constant(index, binding.per_item))
        dims = [arith.addi(grown, arith.constant(index, binding.fixed))]
    flags = {"descriptor_flags": ir.Attribute.parse("1 : i32")} if binding.read_only else {}
    return ir.Operation.create(
        "hal.interface.binding.subspan",
        results=[ir.MemRefType.get([size], binding.element)],
        operands=[zero, *dims],
        attributes={
            "layout": layout,
            "binding": ir.IntegerAttr.get(index, number),
            "alignment": ir.IntegerAttr.get(index, 64),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, len(dims)]),
            **flags,
        },
    ).result
