"""What every lowering needs of packed ops: finding them, reading them, putting dispatches in their
place.

Layers of one kind form a chain when one feeds the next and nothing else reads what lies between
them; one kernel can run it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rtmobile_iree.dialects.constants import constant, constant_array
from rtmobile_iree.dialects.verify import PACKED_ARRAYS, packed_matrix
from rtmobile_iree.passes.kernels.cells import Layer
from rtmobile_iree.passes.kernels.dispatch import dispatch, dynamic_dims
from rtmobile_iree.passes.weights import walk
from torch_mlir import ir
from torch_mlir.dialects import arith, tensor

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.errors import CompileError
from rtmobile_iree.kinds import KINDS

PACKED = "bspc.packed_"
# a tensor type, and the values of its dynamic dims
Result = tuple[ir.RankedTensorType, Sequence[ir.Value]]


def packed_ops(module: ir.Operation, kind: str) -> list[ir.Operation]:
    """Every `bspc.packed_<kind>`, in program order."""
    return [op for op in walk(module) if op.name == PACKED + kind]


def chains(ops: list[ir.Operation]) -> list[list[ir.Operation]]:
    """Groups layers of one kind into stacks that one kernel can run, each in order."""
    found: list[list[ir.Operation]] = []
    for op in ops:
        if found and _feeds(found[-1][-1], op):
            found[-1].append(op)
        else:
            found.append([op])
    return found


def _feeds(first: ir.Operation, second: ir.Operation) -> bool:
    """Whether all results of `first`, y and states, go to x and states of `second`, and nowhere
    else."""
    uses = [list(result.uses) for result in first.results]
    inputs = list(second.operands)[: len(uses)]
    return (
        all(len(use) == 1 and use[0].owner == second for use in uses)
        and list(first.results) == inputs
    )


def read_packed(op: ir.Operation) -> list[PackedMatrix]:
    """The matrices of a packed op, in the order of its operands.

    Raises:
        CompileError: an array is no constant.
    """
    kind, arrays = KINDS.get(op.name.removeprefix(PACKED)), len(PACKED_ARRAYS)
    first = kind.first_weight if kind else 1
    shapes = [f"shape_{part}" for part in kind.weights] if kind else ["shape"]
    return [
        packed_matrix(op, shape, [_array(op, first + i * arrays + j) for j in range(arrays)])
        for i, shape in enumerate(shapes)
    ]


def _array(op: ir.Operation, number: int) -> np.ndarray:
    array = constant_array(op.operands[number])
    if array is None:
        name = ir.StringAttr(op.attributes["name"]).value
        raise CompileError(
            f"bspc-lower: {name}: operand {number} of {op.name} is computed at run time; "
            "packed weights must be constants"
        )
    return array


def read_layer(op: ir.Operation) -> Layer:
    """A packed layer's weights.

    Raises:
        CompileError: an array is no constant.
    """
    row, biases = ir.IntegerAttr(op.attributes["layer"]).value, len(op.operands) - 2
    return Layer(row, _array(op, biases), _array(op, biases + 1), *read_packed(op))


def stack_inputs(chain: Sequence[ir.Operation]) -> list[ir.Value]:
    """x and the states that a stack starts from."""
    return list(chain[0].operands)[: len(chain[0].results)]


def state_shapes(chain: Sequence[ir.Operation]) -> list[tuple[int, int, int]]:
    """[L, B, .] of each state tensor."""
    shapes = (ir.RankedTensorType(state.type).shape for state in stack_inputs(chain)[1:])
    return [(rows, batch, size) for rows, batch, size in shapes]


def stack_results(chain: Sequence[ir.Operation]) -> tuple[ir.Value, list[Result]]:
    """T (index value) of a stack, and its results: y and the states after the last step."""
    y_type, *state_types = (ir.RankedTensorType(r.type) for r in chain[-1].results)
    dims = dynamic_dims(chain[0].operands[0])[: 1 if y_type.is_dynamic_dim(0) else 0]
    steps = dims[0] if dims else arith.constant(ir.IndexType.get(), y_type.shape[0])
    return steps, [(y_type, dims), *((kind, []) for kind in state_types)]


def replace_chain(chain: Sequence[ir.Operation], results: Sequence[ir.Value]) -> None:
    """Puts the first of these values in the place of a stack's y and states."""
    for before, after in zip(chain[-1].results, results, strict=False):
        before.replace_all_uses_with(after)
    for op in reversed(chain):
        op.erase()


def replace_matmul(op: ir.Operation, name: str, constants: Sequence[np.ndarray]) -> None:
    """Puts a dispatch of @name in the place of a matmul: (vectors, x, constants) -> y."""
    with ir.InsertionPoint(op):
        x, kind = op.operands[0], ir.RankedTensorType(op.results[0].type)
        arguments = [x, *(constant(array) for array in constants)]
        call = dispatch(name, count_vectors(x), arguments, [(kind, dynamic_dims(x))])
    replace_chain([op], call.results)


def count_vectors(x: ir.Value) -> ir.Value:
    """The product of all dimensions but the last."""
    kind, index = ir.RankedTensorType(x.type), ir.IndexType.get()
    total = arith.constant(index, 1)
    for axis in range(kind.rank - 1):
        size = tensor.dim(x, arith.constant(index, axis))
        total = arith.muli(total, size)
    return total
