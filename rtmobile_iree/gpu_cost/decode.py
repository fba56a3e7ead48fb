"""Functions of MLIR as plain data, read once: what the evaluators walk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.dialects.constants import constant_array

SHARED = "workgroup"


@dataclass(frozen=True)
class Kind:
    """A value's type.

    Attributes:
        is_integer: of any width, `index` included.
        bits: of an element.
        width: elements of a vector; 1 of a scalar.
        shape: of a tensor or memref, None where it is open; None for other types.
        is_shared: a memref in the workgroup's memory.
    """

    is_integer: bool
    bits: int
    width: int
    shape: tuple[int | None, ...] | None = None
    is_shared: bool = False

    @property
    def size_bytes(self) -> int:
        """Of one value, or of one element of a memref."""
        return self.bits * self.width // 8


@dataclass(frozen=True)
class Instruction:
    """An op; values are numbers.

    Attributes:
        kinds: of the results, or of the operands where there are none.
        constant: what an `arith.constant` holds: an integer, or an array of integers or floats.
        op: in MLIR, for its attributes.
    """

    name: str
    operands: tuple[int, ...]
    results: tuple[int, ...]
    kinds: tuple[Kind, ...]
    regions: tuple[Region, ...]
    constant: Any
    op: ir.Operation


@dataclass(frozen=True)
class Region:
    """A region of one block; none at all has no instructions."""

    arguments: tuple[int, ...]
    instructions: tuple[Instruction, ...]


@dataclass
class Decoder:
    """Numbers the values of one function."""

    _numbers: dict[ir.Value, int] = field(default_factory=dict)
    kinds: dict[int, Kind] = field(default_factory=dict)

    def region(self, region: ir.Region) -> Region:
        """A region with all in it."""
        blocks = list(region.blocks)
        if not blocks:
            return Region((), ())
        arguments = tuple(self._number(value) for value in blocks[0].arguments)
        ops = (each.operation for each in blocks[0].operations)
        return Region(arguments, tuple(self._instruction(op) for op in ops))

    def _instruction(self, op: ir.Operation) -> Instruction:
        operands = tuple(self._number(value) for value in op.operands)
        results = tuple(self._number(value) for value in op.results)
        kinds = tuple(self.kinds[number] for number in results or operands)
        is_nested = op.name != "builtin.module"
        regions = tuple(self.region(each) for each in op.regions) if is_nested else ()
        return Instruction(op.name, operands, results, kinds, regions, _constant(op), op)

    def _number(self, value: ir.Value) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self._numbers)
            self.kinds[found] = read_kind(value.type)
        return found


def read_kind(kind: ir.Type) -> Kind:
    """What the evaluators need of a type."""
    if isinstance(kind, ir.MemRefType | ir.RankedTensorType):
        element = read_kind(kind.element_type)
        shape = tuple(
            None if kind.is_dynamic_dim(axis) else kind.get_dim_size(axis)
            for axis in range(kind.rank)
        )
        space = kind.memory_space if isinstance(kind, ir.MemRefType) else None
        is_shared = SHARED in str(space)
        return Kind(element.is_integer, element.bits, element.width, shape, is_shared)
    if isinstance(kind, ir.VectorType):
        element, width = read_kind(kind.element_type), 1
        for size in kind.shape:
            width *= size
        return Kind(element.is_integer, element.bits, width)
    if isinstance(kind, ir.IndexType):
        return Kind(True, 32, 1)  # as IREE has it in SPIR-V
    if isinstance(kind, ir.IntegerType):
        return Kind(True, kind.width, 1)
    if isinstance(kind, ir.FloatType):
        return Kind(False, kind.width, 1)
    return Kind(False, 0, 1)


def _constant(op: ir.Operation) -> Any:
    if op.name != "arith.constant":
        return None
    value = op.attributes["value"]
    if isinstance(value, ir.IntegerAttr):
        return np.int64(value.value)
    if isinstance(op.results[0].type, ir.RankedTensorType):
        return constant_array(op.results[0])
    if isinstance(value, ir.DenseIntElementsAttr):
        return tuple(np.int64(each) for each in value)
    return None
