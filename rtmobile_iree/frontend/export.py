"""From an nn.Module or an ExportedProgram to an ExportedProgram made of `rtmobile::gru` and ATen
ops.

The number of steps is left open: the input dimension that carries it is found by running the module
on fake tensors with one dimension lengthened and watching the recurrent layers. Needs torch, not
MLIR.
"""

import inspect
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from rtmobile_iree import nn as recurrent
from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend.checks import check_inputs, check_module, check_weights
from rtmobile_iree.frontend.exported import restore_recurrent

__all__ = ["Steps", "export_module", "export_program"]

Steps = bool | Mapping[int | str, int]
"""Whether to leave the steps open, or which dimension of which input (position or argument name)
they are."""

Position = tuple[int, int]
"""(input, dimension) in the flattened example inputs."""


@dataclass(frozen=True)
class _Inputs:
    """Example inputs as a flat list, and the tree they came from."""

    leaves: tuple[Any, ...]
    tree: pytree.TreeSpec

    def arguments(self) -> tuple[Any, ...]:
        return tuple(pytree.tree_unflatten(list(self.leaves), self.tree))

    def lengthened(self, positions: Sequence[Position], size: int) -> "_Inputs":
        """The same inputs (zeros) with each of the positions of the given size."""
        leaves = list(self.leaves)
        for index, dim in positions:
            shape = list(leaves[index].shape)
            shape[dim] = size
            leaves[index] = torch.zeros(shape, dtype=leaves[index].dtype)
        return replace(self, leaves=tuple(leaves))


def export_module(
    module: nn.Module, example_inputs: object, steps: Steps = True
) -> ExportedProgram:
    """Export a module in eval mode, its recurrent layers whole and its number of steps open.

    Args:
        module: in eval mode, float32, on the CPU.
        example_inputs: one tensor or array, or a tuple of them, as the module is called.
        steps: True to find the dimension of the steps, False to fix it, or an explicit {input:
            dimension}.

    Raises:
        FrontendError: the module, its weights or its inputs are not supported, or torch.export
        fails.
    """
    check_module(module)
    inputs = _flatten(example_inputs)
    return _export(recurrent.swap_recurrent(module), inputs, steps, type(module).__name__)


def export_program(
    program: ExportedProgram, example_inputs: object = None, steps: Steps = True
) -> ExportedProgram:
    """Export again a program that plain torch.export made, its GRUs turned into `rtmobile::gru`.

    Args:
        program: as torch.export.export or torch.export.load returns it.
        example_inputs: as for `export_module`; the program's own when None.
        steps: as for `export_module`.

    Raises:
        FrontendError: as `export_module`; or the program holds no example inputs and none are
        given.
    """
    if example_inputs is None:
        if program.example_inputs is None:
            raise FrontendError("the exported program holds no example inputs; pass example_inputs")
        example_inputs, kwargs = program.example_inputs
        if kwargs:
            raise FrontendError(
                f"the exported program takes keyword inputs ({', '.join(kwargs)}); "
                "export it with positional inputs"
            )
    module = restore_recurrent(program)
    check_weights(module)
    return _export(module, _flatten(example_inputs), steps, "the exported program")


def _flatten(example_inputs: object) -> _Inputs:
    if example_inputs is None:
        raise FrontendError("example_inputs is missing; pass a tensor or a tuple of tensors")
    if not isinstance(example_inputs, tuple | list):
        example_inputs = (example_inputs,)
    leaves, tree = pytree.tree_flatten(tuple(example_inputs))
    leaves = [
        torch.from_numpy(np.ascontiguousarray(leaf)) if isinstance(leaf, np.ndarray) else leaf
        for leaf in leaves
    ]
    check_inputs(leaves)
    return _Inputs(tuple(leaves), tree)


def _export(module: nn.Module, inputs: _Inputs, steps: Steps, where: str) -> ExportedProgram:
    seen = _steps_seen(module, inputs, where)
    positions: tuple[Position, ...] = ()
    if isinstance(steps, Mapping):
        positions = _named_positions(module, inputs, steps)
    elif steps and seen:
        positions = _find_positions(module, inputs, seen, where)
    if any(inputs.leaves[index].shape[dim] == 1 for index, dim in positions):
        # torch.export takes a size of 1 for a constant.
        inputs = inputs.lengthened(positions, _longer(1))
    shapes: list[Any] = [None] * len(inputs.leaves)
    for index, dim in positions:
        shapes[index] = {**(shapes[index] or {}), dim: Dim.DYNAMIC}
    dynamic = tuple(pytree.tree_unflatten(shapes, inputs.tree)) if positions else None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(
                module, inputs.arguments(), dynamic_shapes=dynamic, strict=False
            )
    except FrontendError:
        raise
    except Exception as error:  # torch.export raises whatever the module's code or torch raises
        hint = "; pass dynamic_steps=False to fix the steps" if positions else ""
        raise FrontendError(f"{where}: torch.export failed: {_first_line(error)}{hint}") from error


class _StepsRecorder(TorchDispatchMode):
    """Notes the number of steps that every recurrent layer is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.rtmobile.gru.default:
            self.steps.append(int(args[0].shape[0]))
        return func(*args, **(kwargs or {}))


def _steps_seen(module: nn.Module, inputs: _Inputs, where: str) -> tuple[int, ...]:
    """The steps each recurrent layer sees; nothing is computed."""
    recorder = _StepsRecorder()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    leaves = tuple(
        mode.from_tensor(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in inputs.leaves
    )
    try:
        with torch.no_grad(), mode, recorder:
            module(*replace(inputs, leaves=leaves).arguments())
    except FrontendError:
        raise
    except Exception as error:  # the module's own code may raise anything
        raise FrontendError(
            f"{where}: fails on the example inputs: {_first_line(error)}; "
            "pass inputs that the module accepts"
        ) from error
    return tuple(recorder.steps)


def _longer(size: int) -> int:
    """Enough for layers that drop steps (strides, pooling) to show one more."""
    return max(2 * size, 16)


def _find_positions(
    module: nn.Module, inputs: _Inputs, seen: tuple[int, ...], where: str
) -> tuple[Position, ...]:
    """The input dimensions that carry the steps: lengthened together, they give every GRU more
    steps."""
    dims = [
        [(index, dim) for dim in range(leaf.dim())] if isinstance(leaf, torch.Tensor) else []
        for index, leaf in enumerate(inputs.leaves)
    ]
    singles = [(position,) for each in dims for position in each]
    joint = [
        tuple(p for p in choice if p is not None)
        for choice in itertools.product(*[[None, *each] for each in dims])
    ]
    for positions in itertools.chain(singles, (c for c in joint if len(c) > 1)):
        sizes = {int(inputs.leaves[index].shape[dim]) for index, dim in positions}
        if len(sizes) != 1:
            continue
        try:
            now = _steps_seen(module, inputs.lengthened(positions, _longer(sizes.pop())), where)
        except FrontendError:
            continue  # this dimension cannot be lengthened alone
        if len(now) == len(seen) and any(n > s for n, s in zip(now, seen, strict=True)):
            return positions
    shapes = [list(x.shape) for x in inputs.leaves if isinstance(x, torch.Tensor)]
    raise FrontendError(
        f"{where}: no dimension of the example inputs {shapes} can be lengthened to give the "
        "recurrent layers more steps; pass dynamic_steps={input: dimension}, or "
        "dynamic_steps=False to fix the steps"
    )


def _named_positions(
    module: nn.Module, inputs: _Inputs, steps: Mapping[int | str, int]
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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
