"""States of a program: outputs that come back as inputs of the next call, and the function `step`.

`main` makes new buffers for its results at each call. `step`, beside it in the module, is `main`
with a place for each result among its arguments (IREE's `iree.abi.output`), so that a stream can
keep every buffer. `rtmobile_iree.streaming` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from torch_mlir import ir

    from rtmobile_iree.program import InputSpec

STEP = "step"
Pairs = tuple[tuple[int, int], ...]
"""(output, input): what this output is after a call, the input is at the next."""


def find_frames(inputs: Sequence[InputSpec]) -> int:
    """Which input carries the frames: the first with an open size, or the first of all."""
    return next((i for i, spec in enumerate(inputs) if None in spec.shape), 0)


def find_states(inputs: Sequence[InputSpec], outputs: Sequence[InputSpec]) -> Pairs:
    """Which outputs are states, and the inputs they feed; () where the sizes leave it open.

    PyTorch's convention first: forward(x, h, c) -> (y, h, c) hands the states back last and in
    their order. Where sizes contradict it, an output and an input of one shape that no other has.
    """
    frames = find_frames(inputs)
    fed = [i for i, spec in enumerate(inputs) if i != frames and None not in spec.shape]
    last = range(len(outputs) - len(fed), len(outputs))
    if fed and last.start >= 0 and all(map(_same, (outputs[o] for o in last),
                                           (inputs[i] for i in fed))):  # fmt: skip
        return tuple(zip(last, fed, strict=True))
    likes = {i: [o for o, out in enumerate(outputs) if _same(out, inputs[i])] for i in fed}
    every = [output for found in likes.values() for output in found]
    return tuple((o[0], i) for i, o in likes.items() if len(o) == 1 and every.count(o[0]) == 1)


def given_states(
    state: Mapping[str, int], inputs: Sequence[InputSpec], outputs: Sequence[InputSpec]
) -> Pairs:
    """The pairs a user names: {input: number of the output that feeds it}.

    Raises:
        InputError: no such input or output, or the two differ in shape or type.
    """
    names = [spec.name for spec in inputs]
    pairs = []
    for name, number in state.items():
        if name not in names:
            raise InputError(f"state {name!r}: no such input; inputs are {', '.join(names)}")
        if not 0 <= number < len(outputs):
            raise InputError(
                f"state {name!r}: no output {number}; outputs are 0 to {len(outputs) - 1}"
            )
        fed = inputs[names.index(name)]
        if not _same(outputs[number], fed) or None in fed.shape:
            raise InputError(
                f"state {name!r}: input {fed}, but output {number} is {outputs[number]}; "
                "a state goes out as it came in, its sizes fixed"
            )
        pairs.append((number, names.index(name)))
    return tuple(pairs)


def _same(output: InputSpec, fed: InputSpec) -> bool:
    return (output.shape, output.dtype) == (fed.shape, fed.dtype)


def add_step(module: ir.Module) -> None:
    """Adds `step` to a module.

    Rewrites:
        func @main(%x, %h) -> (Y, H)
      ->
        func @main(%x, %h) -> (Y, H)
        func @step(%x, %h, %y_place, %h_place) -> (Y, H)    // results lie in %y_place, %h_place
    """
    from torch_mlir import ir

    with module.context:
        main = ir.SymbolTable(module.operation)["main"]
        kind = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
        step = ir.Module.parse(
            _step_text(list(map(str, kind.inputs)), list(map(str, kind.results)))
        )
        function = ir.SymbolTable(step.operation)[STEP]
        function.detach_from_parent()
        module.body.append(function)


def _step_text(inputs: list[str], results: list[str]) -> str:
    """A module of `step`, and of `main` declared."""
    arguments = [f"%arg{i}: {kind}" for i, kind in enumerate(inputs)]
    places = [
        f"%place{o}: {kind} {{iree.abi.output = {o} : index}}" for o, kind in enumerate(results)
    ]
    types = f"({', '.join(inputs)}) -> ({', '.join(results)})"
    values = ", ".join(f"%results#{o}" for o in range(len(results)))
    return f"""
      func.func private @main{types}
      func.func @{STEP}({", ".join(arguments + places)}) -> ({", ".join(results)}) {{
        %results:{len(results)} = call @main({", ".join(f"%arg{i}" for i in range(len(inputs)))})
          : {types}
        return {values} : {", ".join(results)}
      }}"""
