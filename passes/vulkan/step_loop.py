"""The calls around the kernels of one step: a loop over dispatches, in the module's function.

    vectors = h [K + 1, rows, B, P], the first slot given, and x [T, B, I];  y = empty
    for d in T + (L - 1) min(T, K):
        vectors, y, cells = step(d, vectors, y, cells)         # in place
    states = h[slot of T]

IREE records what stands between loops as one command buffer, and submitting one costs more than a
dispatch in it. So a known T has no loop at all, up to MOST_IN_LINE dispatches; otherwise the loop
is cut into runs of so many dispatches, halved until nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtmobile_iree.passes.kernels.dispatch import dispatch, dynamic_dims
from rtmobile_iree.passes.packed_ops import stack_inputs, stack_results
from rtmobile_iree.passes.vulkan.stacks import Stack
from rtmobile_iree.passes.vulkan.step_plan import StepSizes
from torch_mlir import ir
from torch_mlir.dialects import arith, scf

MOST_IN_LINE = 128
MOST_HALVINGS = 4  # so the longest run is of 16
LOOPS = 18  # of all stacks of a module; IREE 3.13's usage analysis gives up at 24

# tensors that are changed in place, each with the values of its dynamic dims
Carried = list[tuple[ir.Value, Sequence[ir.Value]]]
# a flat tensor, and the value of its size where that is dynamic
Flat = tuple[ir.Value, Sequence[ir.Value]]
# d, T (index values), tensors -> the same after dispatch d
Call = Callable[[ir.Value, ir.Value, Carried], Carried]


def longest_run(stacks: int) -> int:
    """How many dispatches the longest run has where so many stacks are in a module."""
    return 1 << max(0, min(MOST_HALVINGS, LOOPS // stacks - 1))


def emit_loop(stack: Stack, buffers: StepSizes, run: int, call: Call) -> list[ir.Value]:
    """Emits it at the insertion point; returns y and the states after the last step.

    Args:
        run: see `longest_run`.
        call: emits the dispatch of one d. What it changes is the vectors, y [T, B, P], the sums of
            a chunk where it has several steps, and the cells.
    """
    steps, results = stack_results(stack.chain)
    x, given, *cells = stack_inputs(stack.chain)
    y_type, dims = results[0]
    chunk = arith.minui(steps, _index(buffers.chunk))
    vectors = _vectors(stack, buffers, steps, x, given)
    state: Carried = [vectors, (empty(y_type.shape, dims), dims)]
    state += [(empty([buffers.projected]), [])] if buffers.projected else []
    state += [(cell, []) for cell in cells]
    delay = len(stack.layers) - 1
    count = arith.addi(steps, arith.muli(chunk, _index(delay)))
    known = known_steps(stack)
    if known is not None:
        known += delay * min(known, buffers.chunk)
    state = emit_runs((count, known), run, state, lambda d, changed: call(d, steps, changed))
    slot = arith.remui(steps, arith.addi(chunk, _index(1)))
    at = arith.muli(slot, _index(buffers.slot))
    (vectors, dims_of_vectors), (y, _), *others = state
    last = [value for value, _ in others][len(others) - len(cells) :]
    h = _reshape(_slice((vectors, dims_of_vectors), at, buffers.slot), given.type)
    return [y, h, *last]


def call_kernel(
    kernel: str,
    place: tuple[ir.Value, ir.Value],
    arguments: Sequence[ir.Value],
    changed: Carried,
) -> Carried:
    """One dispatch; `place`: d and T. Returns what it changed."""
    d, steps = place
    made = dispatch(kernel, steps, arguments, [], changed, [d])
    return [(value, dims) for value, (_, dims) in zip(made.results, changed, strict=True)]


def known_steps(stack: Stack) -> int | None:
    """T, where it is known."""
    steps = ir.RankedTensorType(stack_inputs(stack.chain)[0].type).shape[0]
    return None if steps == ir.ShapedType.get_dynamic_size() else int(steps)


def emit_runs(
    count: tuple[ir.Value, int | None],
    run: int,
    state: Carried,
    call: Callable[[ir.Value, Carried], Carried],
) -> Carried:
    """Calls for each d below `count`, in line where that is known, or else in runs of `run`, then
    of half as many; what they leave."""
    value, known = count
    if known is not None and known <= MOST_IN_LINE:
        for d in range(known):
            state = call(_index(d), state)
        return state
    done, size = _index(0), run
    while size:
        left = arith.remui(arith.subi(value, done), _index(size))
        end = arith.subi(value, left)
        state = _runs((done, end, size), state, call)
        done, size = end, size // 2
    return state


def _vectors(
    stack: Stack, buffers: StepSizes, steps: ir.Value, x: ir.Value, given: ir.Value
) -> Flat:
    """h, with the states given in its first slot, and x behind it.

    States of other layers are given in every slot: any may be the last.
    """
    x_size = arith.muli(steps, _index(buffers.x))
    length = arith.addi(x_size, _index(buffers.h))
    dynamic = ir.ShapedType.get_dynamic_size()
    flat_h = _reshape(given, _flat(buffers.slot))
    flat_x = _reshape(x, _flat(dynamic), dynamic_dims(x), [x_size])
    value = empty([dynamic], [length])
    slots = 1 if stack.rows == len(stack.layers) else buffers.h // buffers.slot
    for slot in range(slots):
        value = _update((value, [length]), (flat_h, []), _index(slot * buffers.slot))
    return _update((value, [length]), (flat_x, [x_size]), _index(buffers.h)), [length]


def _runs(
    bounds: tuple[ir.Value, ir.Value, int],
    state: Carried,
    call: Callable[[ir.Value, Carried], Carried],
) -> Carried:
    start, end, size = bounds
    loop = scf.ForOp(start, end, _index(size), [value for value, _ in state])
    dims = [each for _, each in state]
    with ir.InsertionPoint(loop.body):
        changed = list(zip(loop.inner_iter_args, dims, strict=True))
        for number in range(size):
            changed = call(arith.addi(loop.induction_variable, _index(number)), changed)
        scf.yield_([value for value, _ in changed])
    return list(zip(loop.results_, dims, strict=True))


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def _segments(*sizes: int) -> dict[str, ir.Attribute]:
    return {"operandSegmentSizes": ir.DenseI32ArrayAttr.get(list(sizes))}


def empty(shape: Sequence[int], dims: Sequence[ir.Value] = ()) -> ir.Value:
    """A tensor of f32 of which nothing is known."""
    kind = ir.RankedTensorType.get(shape, ir.F32Type.get())
    return ir.Operation.create("flow.tensor.empty", results=[kind], operands=list(dims)).result


def _flat(size: int) -> ir.Type:
    return ir.RankedTensorType.get([size], ir.F32Type.get())


def _reshape(
    source: ir.Value,
    kind: ir.Type,
    dims: Sequence[ir.Value] = (),
    result_dims: Sequence[ir.Value] = (),
) -> ir.Value:
    return ir.Operation.create(
        "flow.tensor.reshape",
        results=[kind],
        operands=[source, *dims, *result_dims],
        attributes=_segments(1, len(dims), len(result_dims)),
    ).result


def _update(target: Flat, part: Flat, start: ir.Value) -> ir.Value:
    """The target with a part of it replaced."""
    (value, dims), (update, update_dims) = target, part
    return ir.Operation.create(
        "flow.tensor.update",
        results=[value.type],
        operands=[value, *dims, start, update, *update_dims],
        attributes=_segments(1, len(dims), 1, 1, len(update_dims)),
    ).result


def _slice(source: Flat, start: ir.Value, size: int) -> ir.Value:
    """So many elements."""
    value, dims = source
    return ir.Operation.create(
        "flow.tensor.slice",
        results=[_flat(size)],
        operands=[value, *dims, start, _index(size)],
        attributes=_segments(1, len(dims), 1, 1, 0),
    ).result
