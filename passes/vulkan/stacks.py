"""A stack of recurrent layers, read off its packed ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.packed_ops import read_layer, state_shapes
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.passes.vulkan.cells import CELLS, UnitCell
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.errors import CompileError


@dataclass(frozen=True)
class Stack:
    """Layers that feed each other.

    Attributes:
        chain: their ops, first layer first.
        layers: their weights.
        values: the type of all of them.
        rows, batch: of the state tensors [rows, B, .].
        inputs, hidden, outputs: I of the first layer, H, P (H without a projection).
        sizes: last dimension of each state tensor.
    """

    chain: Sequence[ir.Operation]
    cell: UnitCell
    layers: Sequence[Layer]
    values: str
    rows: int
    batch: int
    inputs: int
    hidden: int
    outputs: int
    sizes: tuple[int, ...]

    @property
    def matrices(self) -> list[PackedMatrix]:
        """Those of all layers."""
        return _matrices(self.layers)

    @property
    def projected(self) -> bool:
        return self.layers[0].w_hr is not None

    @property
    def sums(self) -> int:
        """Of all cells of a step."""
        return len(self.layers) * self.cell.blocks * self.hidden

    @property
    def name(self) -> str:
        """What its first layer is called."""
        return op_name(self.chain[0])


def read_stack(chain: Sequence[ir.Operation], kind: str, storage_f16: bool) -> Stack:
    """Reads a stack of a kind in `kinds.KINDS`.

    Raises:
        CompileError: arrays that are no constants, or values as in `value_type`.
    """
    layers, cell, shapes = [read_layer(op) for op in chain], CELLS[kind], state_shapes(chain)
    rows, batch, outputs = shapes[0]
    return Stack(
        chain,
        cell,
        layers,
        value_type(chain[0], _matrices(layers), storage_f16),
        rows,
        batch,
        layers[0].w_ih.shape[1],
        layers[0].b_hh.size // len(cell.hh_blocks),
        outputs,
        tuple(shape[2] for shape in shapes),
    )


def _matrices(layers: Sequence[Layer]) -> list[PackedMatrix]:
    return [m for layer in layers for m in (layer.w_ih, layer.w_hh, layer.w_hr) if m is not None]


def value_type(op: ir.Operation, matrices: Sequence[PackedMatrix], storage_f16: bool) -> str:
    """The type of the values of all these matrices.

    Raises:
        CompileError: there are several, or it is f16 and buffers cannot hold that.
    """
    kinds = sorted({matrix.value_type for matrix in matrices})
    if len(kinds) > 1:
        raise CompileError(
            f"bspc-lower-vulkan: {op_name(op)}: values are {' and '.join(kinds)}; layers that feed "
            "each other take one type on a GPU"
        )
    if kinds == ["f16"] and not storage_f16:
        raise CompileError(
            f"bspc-lower-vulkan: {op_name(op)}: values are f16, which this target's buffers cannot "
            "hold; use f32, bf16 or i8"
        )
    return kinds[0]


def check_half(stack: Stack) -> None:
    """Raises a CompileError where weights of a stack have no f16 products."""
    if stack.values not in halves.VALUES:
        raise CompileError(
            f"bspc-lower-vulkan: {stack.name}: values are {stack.values}; f16 activations take "
            f"{', '.join(halves.VALUES)}: use one of these, or activations f32"
        )


def op_name(op: ir.Operation) -> str:
    """What the user calls the layer of a packed op."""
    return str(ir.StringAttr(op.attributes["name"]).value)
