"""The calls around the kernels of one step: a loop over dispatches, in the module's function.

    h = [given; given];  y = empty
    for d in T + L - 1:
        h, cells, y = step(d, x, h, cells, y)              # in place
        h, y = project(d, units, h, y)                     # where there is a projection
    states = h[slot of T]

The loop is cut into runs of so many dispatches, halved until nothing is left: IREE records a run as
one command buffer, and submitting one costs more than a dispatch in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtmobile_iree.passes.packed_ops import stack_inputs, stack_results
from rtmobile_iree.passes.vulkan.stacks import Stack
from torch_mlir import ir
from torch_mlir.dialects import arith, scf

RUN = 16  # dispatches of the longest run; a power of two

# tensors that are changed in place, each with the values of its dynamic dims
Carried = list[tuple[ir.Value, Sequence[ir.Value]]]
# d, T (index values), tensors -> the same after dispatch d
Call = Callable[[ir.Value, ir.Value, Carried], Carried]


def emit_loop(stack: Stack, call: Call) -> list[ir.Value]:
    """Emits it at the insertion point; returns y and the states after the last step.

    Args:
        call: emits the dispatches of one d. What they change is h [2 rows, B, P], y [T, B, P], the
            units [rows, B, H] where there is a projection, and the cells.
    """
    steps, results = stack_results(stack.chain)
    _, given, *cells = stack_inputs(stack.chain)
    y_type, dims = results[0]
    h = _empty([2 * stack.rows, stack.batch, stack.outputs])
    for slot in (0, 1):
        h = _update(h, given, _index(slot * stack.rows))
    state: Carried = [(h, []), (_empty(y_type.shape, dims), dims)]
    if stack.projected:
        state.append((_empty([stack.rows, stack.batch, stack.hidden]), []))
    state += [(cell, []) for cell in cells]
    count = arith.addi(steps, _index(len(stack.layers) - 1))
    done, size = _index(0), RUN
    while size:
        left = arith.remui(arith.subi(count, done), _index(size))
        end = arith.subi(count, left)
        state = _runs((done, end, size), steps, state, call)
        done, size = end, size // 2
    slot = arith.muli(arith.remui(steps, _index(2)), _index(stack.rows))
    (h, _), (y, _), *others = state
    last = [value for value, _ in others][len(others) - len(cells) :]
    return [y, _slice(h, slot, given.type), *last]


def _runs(
    bounds: tuple[ir.Value, ir.Value, int], steps: ir.Value, state: Carried, call: Call
) -> Carried:
    start, end, size = bounds
    loop = scf.ForOp(start, end, _index(size), [value for value, _ in state])
    dims = [each for _, each in state]
    with ir.InsertionPoint(loop.body):
        changed = list(zip(loop.inner_iter_args, dims, strict=True))
        for number in range(size):
            changed = call(arith.addi(loop.induction_variable, _index(number)), steps, changed)
        scf.yield_([value for value, _ in changed])
    return list(zip(loop.results_, dims, strict=True))


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def _segments(*sizes: int) -> dict[str, ir.Attribute]:
    return {"operandSegmentSizes": ir.DenseI32ArrayAttr.get(list(sizes))}


def _empty(shape: Sequence[int], dims: Sequence[ir.Value] = ()) -> ir.Value:
    kind = ir.RankedTensorType.get(shape, ir.F32Type.get())
    return ir.Operation.create("flow.tensor.empty", results=[kind], operands=list(dims)).result


def _update(target: ir.Value, part: ir.Value, row: ir.Value) -> ir.Value:
    """The target with a part of it replaced, from a row on."""
    start = [row, _index(0), _index(0)]
    return ir.Operation.create(
        "flow.tensor.update",
        results=[target.type],
        operands=[target, *start, part],
        attributes=_segments(1, 0, 3, 1, 0),
    ).result


def _slice(source: ir.Value, row: ir.Value, kind: ir.Type) -> ir.Value:
    """Rows of a static type's size, from a row on."""
    start = [row, _index(0), _index(0)]
    lengths = [_index(size) for size in ir.RankedTensorType(kind).shape]
    return ir.Operation.create(
        "flow.tensor.slice",
        results=[kind],
        operands=[source, *start, *lengths],
        attributes=_segments(1, 0, 3, 3, 0),
    ).result
