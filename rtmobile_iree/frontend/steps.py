"""Which dimensions of a module's inputs carry the steps of its recurrent layers.

Found by running the module on fake tensors with one dimension lengthened and watching the layers:
a dimension carries the steps when more of it gives a layer more steps. Needs torch, not MLIR.
"""

import contextlib
import inspect
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.nn import OPS, is_cell

__all__ = ["ExampleInputs", "Position", "Steps", "find_steps", "first_line", "quiet"]

Steps = bool | Mapping[int | str, int]
"""Whether to leave the steps open, or {input position or argument name: the dimension they are}."""

Position = tuple[int, int]
"""(input, dimension) in the flattened example inputs."""

LAYERS = {getattr(torch.ops.rtmobile, kind).default for kind in OPS}

JOINT_ATTEMPTS = 256
"""Sets of dimensions tried together, at some milliseconds each, before giving up."""


@dataclass(frozen=True)
class ExampleInputs:
    """Example inputs as a flat list, and the tree they came from."""

    leaves: tuple[Any, ...]
    tree: pytree.TreeSpec

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of the module's forward."""
        return tuple(pytree.tree_unflatten(list(self.leaves), self.tree))

    def size(self, position: Position) -> int:
        """The size of one dimension."""
        index, dim = position
        return int(self.leaves[index].shape[dim])

    def positions(self, index: int) -> list[Position]:
        """The dimensions of one input; none when it is no tensor."""
        leaf = self.leaves[index]
        return [(index, dim) for dim in range(leaf.dim())] if isinstance(leaf, torch.Tensor) else []

    def lengthened(self, positions: Sequence[Position]) -> "ExampleInputs":
        """The same inputs, zero where each of the positions was made longer."""
        leaves = list(self.leaves)
        for index, dim in positions:
            shape = list(leaves[index].shape)
            shape[dim] = longer(shape[dim])
            leaves[index] = torch.zeros(shape, dtype=leaves[index].dtype)
        return replace(self, leaves=tuple(leaves))


def longer(size: int) -> int:
    """Enough for layers that drop steps (strides, pooling) to show more of them."""
    return max(2 * size, 16)


def find_steps(
    module: nn.Module, inputs: ExampleInputs, steps: Steps, where: str
) -> tuple[Position, ...]:
    """The input dimensions to leave open.

    Args:
        module: its recurrent layers made of the ops in `rtmobile_iree.nn`.
        steps: True to search, False for none, or the dimensions by name.
        where: what error messages call the module.

    Returns:
        The dimensions; none for a module without recurrent layers.

    Raises:
        FrontendError: the module fails on its inputs, or the dimensions are not found, not
        certain, or not there.
    """
    seen = _steps_seen(module, inputs)
    if isinstance(seen, Exception):
        raise _failure(seen, where) from seen

    def grows(positions: Sequence[Position]) -> bool:
        now = _steps_seen(module, inputs.lengthened(positions))
        if isinstance(now, Exception) or len(now) != len(seen):
            return False  # these dimensions cannot be lengthened alone
        return any(n > s for n, s in zip(now, seen, strict=True))

    if not isinstance(steps, Mapping):
        return _search(inputs, grows, where) if steps and seen else ()
    positions = _named_positions(module, inputs, steps)
    if seen and not grows(positions):
        raise FrontendError(
            f"{where}: dynamic_steps={dict(steps)} cannot be lengthened to give the recurrent "
            "layers more steps; name the dimension of the steps in every input that has them"
        )
    return positions


def _failure(error: Exception, where: str) -> FrontendError:
    """Why the module cannot run without values, in the user's words."""
    if isinstance(error, FrontendError):
        return error
    line = first_line(error)
    if "_pack_padded_sequence" in line:
        return FrontendError(f"{where}: pack_padded_sequence is not supported; use padded tensors")
    if isinstance(error, DataDependentOutputException | DynamicOutputShapeException):
        return FrontendError(
            f"{where}: {line}: the module's code or a shape depends on the values of a tensor; "
            "use torch.where, or fixed shapes"
        )
    return FrontendError(
        f"{where}: fails on the example inputs: {line}; pass inputs that the module accepts"
    )


def _search(
    inputs: ExampleInputs, grows: Callable[[Sequence[Position]], bool], where: str
) -> tuple[Position, ...]:
    per_input = [inputs.positions(index) for index in range(len(inputs.leaves))]
    single = [[p for p in each if grows([p])] for each in per_input]
    found = [p for each in single for p in each]
    joint = _joint_candidates(inputs, per_input)
    if not found:
        found = next((list(positions) for positions in joint if grows(positions)), [])
    elif any(len(each) > 1 for each in single) or not grows(found):
        raise _ambiguous(inputs, found, where)
    elif any(inputs.size(p) == 1 for p in found):
        # One step broadcasts, so an input that shares the steps need not have shown up.
        with_found = (c for c in joint if set(found) < set(c))
        also = next((c for c in with_found if grows(c)), None)
        if also is not None:
            raise _ambiguous(inputs, also, where)
    if not found:
        shapes = [list(x.shape) for x in inputs.leaves if isinstance(x, torch.Tensor)]
        raise FrontendError(
            f"{where}: no dimension of the example inputs {shapes} can be lengthened to give the "
            "recurrent layers more steps; pass dynamic_steps={input: dimension}, or "
            "dynamic_steps=False to fix the steps"
        )
    return tuple(found)


def _joint_candidates(
    inputs: ExampleInputs, per_input: list[list[Position]]
) -> Iterator[tuple[Position, ...]]:
    """Dimensions of the same size in two or more inputs."""
    for size in sorted({inputs.size(p) for each in per_input for p in each}, reverse=True):
        choices = [[None, *[p for p in each if inputs.size(p) == size]] for each in per_input]
        for choice in itertools.islice(itertools.product(*choices), JOINT_ATTEMPTS):
            positions = tuple(p for p in choice if p is not None)
            if len(positions) > 1:
                yield positions


def _ambiguous(inputs: ExampleInputs, found: Sequence[Position], where: str) -> FrontendError:
    listed = ", ".join(
        f"dimension {dim} of input {index} {list(inputs.leaves[index].shape)}"
        for index, dim in found
    )
    return FrontendError(
        f"{where}: cannot tell which dimension carries the steps: {listed}; "
        "pass an example with 2 or more steps, or dynamic_steps={input: dimension}"
    )


def _named_positions(
    module: nn.Module, inputs: ExampleInputs, steps: Mapping[int | str, int]
) -> tuple[Position, ...]:
    names = list(inspect.signature(module.forward).parameters)
    positions = []
    for key, dim in steps.items():
        if isinstance(key, str) and key not in names:
            raise FrontendError(f"dynamic_steps: no input {key!r}; use one of {names}")
        index = names.index(key) if isinstance(key, str) else key
        leaf = inputs.leaves[index] if 0 <= index < len(inputs.leaves) else None
        if not isinstance(leaf, torch.Tensor):
            raise FrontendError(
                f"dynamic_steps: input {key!r} is no tensor among the "
                f"{len(inputs.leaves)} example inputs"
            )
        if not 0 <= dim < leaf.dim():
            raise FrontendError(
                f"dynamic_steps: dimension {dim} of input {key!r} of shape {list(leaf.shape)}; "
                f"use 0 to {leaf.dim() - 1}"
            )
        positions.append((index, dim))
    return tuple(positions)


class _StepsRecorder(TorchDispatchMode):
    """Notes the number of steps that every recurrent layer is called with; a cell has just one."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in LAYERS and not is_cell(args[-1]):
            self.steps.append(int(args[0].shape[0]))
        return func(*args, **(kwargs or {}))


def _steps_seen(module: nn.Module, inputs: ExampleInputs) -> tuple[int, ...] | Exception:
    """The steps each recurrent layer sees, or how the module failed; nothing is computed."""
    recorder = _StepsRecorder()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    leaves = tuple(
        mode.from_tensor(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in inputs.leaves
    )
    try:
        with quiet("torch._subclasses.fake_tensor"), torch.no_grad(), mode, recorder:
            module(*replace(inputs, leaves=leaves).arguments())
    except Exception as error:  # the module's own code may raise anything
        return error
    return tuple(recorder.steps)


@contextlib.contextmanager
def quiet(logger_name: str) -> Iterator[None]:
    """Keep torch from logging the traceback of an attempt that may fail."""
    logger = logging.getLogger(logger_name)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type when it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
