"""Streams: a program whose state stays on the device from one chunk of frames to the next.

Everything a call touches is made once: frames are copied into a buffer the device reads, the
program writes outputs and states into buffers of ours, and two state buffers take turns, one read
while the other is written. In Python nothing is kept from call to call. What is left is IREE's: it
takes the kernel's scratch memory (57 KB for the evaluation model and one frame) from its allocator
at each call and gives it back at the end; `Module.device_bytes` counts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtmobile_iree.chunks import as_given, full_shape, sizes
from rtmobile_iree.errors import InputError
from rtmobile_iree.program import InputSpec, Program, load
from rtmobile_iree.runtime import Buffer, Call, Tensor
from rtmobile_iree.states import STEP, find_frames, given_states

# shapes of chunks whose calls are kept ready; the oldest is dropped
PLANS = 32
Result = np.ndarray | tuple[np.ndarray, ...]
Copies = tuple[tuple[np.ndarray, np.ndarray], ...]


def stream(
    source: Program | str | os.PathLike[str],
    state: Mapping[str, int] | None = None,
    *,
    driver: str | None = None,
) -> Stream:
    """Opens a stream on a program, all states zero.

    Args:
        source: a program, or the path of a saved one.
        state: {input: number of the output that feeds it}; what the compiler found when None.
        driver: IREE HAL driver, where `source` is a path.

    Raises:
        InputError: no such file, a program without states, or with inputs that nothing feeds.
    """
    program = source if isinstance(source, Program) else load(source, driver=driver)
    return Stream(program, state)


@dataclass(frozen=True)
class _Plan:
    """How chunks of one shape are run.

    Attributes:
        frames: where they go, an array over device memory in the shape they are given.
        calls: for each of the two state buffers to begin with.
        copies: for each, (array, array over device memory) of every output to copy after the call.
        result: what `step` returns, the arrays copied to.
        tensors: what the arrays over device memory lie in.
    """

    frames: np.ndarray
    calls: tuple[Call, Call]
    copies: tuple[Copies, Copies]
    result: Result
    tensors: tuple[Tensor, ...]

    def run(self, frames: np.ndarray, turn: int) -> Result:
        np.copyto(self.frames, frames)
        self.calls[turn]()
        for target, source in self.copies[turn]:
            np.copyto(target, source)
        return self.result


class Stream:
    """Runs a program chunk by chunk; see the module docstring.

    Attributes:
        program: what it runs.
        frames: what `step` takes.
    """

    def __init__(self, program: Program, state: Mapping[str, int] | None = None) -> None:
        inputs, outputs = program.inputs, program.outputs
        pairs = program.states if state is None else given_states(state, inputs, outputs)
        number = find_frames(inputs)
        self.program, self.frames = program, inputs[number]
        self._feeds = {fed: output for output, fed in pairs}
        _check(program, number, self._feeds)
        self._turn = 0
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self._room = 0
        self._buffers: tuple[Buffer, ...] = ()
        self._states = {
            fed: (self._tensor(inputs[fed]), self._tensor(inputs[fed])) for fed in self._feeds
        }
        self.reset()

    def step(self, frames: Any) -> Result:
        """Runs a chunk of frames, whose states go on from the chunk before.

        Args:
            frames: torch tensor or NumPy array: one frame [I], a chunk [T, I] where the batch is 1,
                or the shape of the program's input; any T, unless the program fixes it.

        Returns:
            The outputs that are no states (all, where every output is one), as one array or a
            tuple, with the axes that were given. The next `step` on a chunk of this shape writes
            over them; `.copy()` keeps them.

        Raises:
            InputError: dtype or shape; the state is as before.
        """
        array = frames.detach().cpu().numpy() if hasattr(frames, "detach") else np.asarray(frames)
        if array.dtype.name != self.frames.dtype:
            raise InputError(
                f"frames: dtype {array.dtype.name}; this stream takes {self.frames.dtype}"
            )
        plan = self._plans.get(array.shape)
        if plan is None:
            return self._first_step(array)
        result = plan.run(array, self._turn)
        self._turn = 1 - self._turn
        return result

    def reset(self) -> None:
        """All states zero, as before the first frame."""
        for tensors in self._states.values():
            tensors[self._turn].array[...] = 0

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Copies of the states by the names of the inputs they feed. Assign some or all of them to
        go on from there."""
        inputs = self.program.inputs
        return {inputs[fed].name: t[self._turn].array.copy() for fed, t in self._states.items()}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        specs = {self.program.inputs[fed].name: fed for fed in self._states}
        for name in values:
            if name not in specs:
                raise InputError(f"state {name!r}: not one of this stream's: {', '.join(specs)}")
        arrays = {n: self.program.inputs[specs[n]].check(value) for n, value in values.items()}
        for name, array in arrays.items():
            self._states[specs[name]][self._turn].array[...] = array

    def _first_step(self, array: np.ndarray) -> Result:
        """A step on frames of a shape that was not there before."""
        full = full_shape(self.frames, array.shape)
        steps = next(
            (n for n, size in zip(full, self.frames.shape, strict=True) if size is None), 1
        )
        self._make_room(steps)
        plan = self._make_plan(array.shape, full, steps)
        try:
            result = plan.run(array, self._turn)
        except RuntimeError as error:
            raise InputError(f"{steps} frames: {str(error).strip().splitlines()[0]}") from error
        shapes = plan.calls[self._turn].result_shapes()
        wanted = [tuple(sizes(spec, steps)) for spec in self.program.outputs]
        if shapes != wanted:
            raise InputError(
                f"{steps} frames give outputs {shapes}; a stream takes programs with one output "
                f"frame an input frame, {wanted} here"
            )
        if len(self._plans) == PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[array.shape] = plan
        self._turn = 1 - self._turn
        return result

    def _make_room(self, steps: int) -> None:
        """Buffers for frames and outputs of so many steps, at least."""
        if steps <= self._room:
            return
        specs = (self.frames, *(self.program.outputs[o] for o in self._outputs()))
        self._buffers = tuple(self._buffer(spec, steps) for spec in specs)
        self._room = steps
        self._plans.clear()

    def _make_plan(self, given: tuple[int, ...], full: tuple[int, ...], steps: int) -> _Plan:
        program = self.program
        dtype = np.dtype(self.frames.dtype)
        frames = self._buffers[0].tensor(full, dtype)
        others = {
            o: buffer.tensor(sizes(program.outputs[o], steps), np.dtype(program.outputs[o].dtype))
            for o, buffer in zip(self._outputs(), self._buffers[1:], strict=True)
        }
        returned = self._outputs() or list(self._feeds.values())
        arrays = tuple(
            np.empty(
                as_given(sizes(program.outputs[o], steps), program.outputs[o], self.frames, given),
                program.outputs[o].dtype,
            )
            for o in returned
        )
        calls, copies = [], []
        for turn in (0, 1):
            inputs = {fed: tensors[turn] for fed, tensors in self._states.items()}
            places = {self._feeds[fed]: t[1 - turn] for fed, t in self._states.items()} | others
            arguments = [inputs.get(i, frames) for i in range(len(program.inputs))]
            arguments += [places[o] for o in range(len(program.outputs))]
            calls.append(program.module.bind(STEP, arguments))
            sources = (places[o].array for o in returned)
            pairs = zip(arrays, sources, strict=True)
            copies.append(tuple((array, source.reshape(array.shape)) for array, source in pairs))
        return _Plan(
            frames.array.reshape(given),
            (calls[0], calls[1]),
            (copies[0], copies[1]),
            arrays[0] if len(arrays) == 1 else arrays,
            (frames, *others.values()),
        )

    def _outputs(self) -> list[int]:
        """Outputs that are no states."""
        return [o for o in range(len(self.program.outputs)) if o not in self._feeds.values()]

    def _tensor(self, spec: InputSpec) -> Tensor:
        return self._buffer(spec, 1).tensor(sizes(spec, 1), np.dtype(spec.dtype))

    def _buffer(self, spec: InputSpec, steps: int) -> Buffer:
        size_bytes = int(np.prod(sizes(spec, steps))) * np.dtype(spec.dtype).itemsize
        return self.program.module.buffer(size_bytes)


def _check(program: Program, frames: int, feeds: Mapping[int, int]) -> None:
    """Raises an `InputError` for a program that keeps no state, or needs what a stream has not."""
    if STEP not in program.module.functions:
        raise InputError("the program has no function `step`; compile it again to stream it")
    loose = [
        f"{s.name} {s}" for i, s in enumerate(program.inputs) if i != frames and i not in feeds
    ]
    if loose:
        raise InputError(
            f"no output feeds input {', '.join(loose)}; name the one that does, as "
            f"state={{{program.inputs[-1].name!r}: {len(program.outputs) - 1}}}; outputs are "
            f"{', '.join(map(str, program.outputs))}"
        )
    if not feeds:
        raise InputError(
            "the program has no state, so each chunk would begin anew; write the module as "
            "forward(x, h) -> (y, h), hand h to the recurrent layer and return its new one"
        )
