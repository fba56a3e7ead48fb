"""From an nn.Module or an ExportedProgram to an ExportedProgram of our recurrent ops and ATen's.

The number of steps is left open. Needs torch, not MLIR.
"""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend.checks import (
    check_inputs,
    check_module,
    check_no_packed_sequence,
    check_weights,
)
from rtmobile_iree.frontend.exported import restore_recurrent
from rtmobile_iree.frontend.steps import ExampleInputs, Position, Steps, find_steps, first_line
from rtmobile_iree.nn import swap_recurrent

__all__ = ["export_module", "export_program"]


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
    return _export(swap_recurrent(module), inputs, steps, type(module).__name__)


def export_program(
    program: ExportedProgram, example_inputs: object = None, steps: Steps = True
) -> ExportedProgram:
    """Export again a program that plain torch.export made, its recurrent layers turned into ours.

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


def _flatten(example_inputs: object) -> ExampleInputs:
    if example_inputs is None:
        raise FrontendError("example_inputs is missing; pass a tensor or a tuple of tensors")
    if not isinstance(example_inputs, tuple | list) or isinstance(example_inputs, PackedSequence):
        example_inputs = (example_inputs,)
    check_no_packed_sequence(example_inputs)
    leaves, tree = pytree.tree_flatten(tuple(example_inputs))
    try:
        leaves = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in leaves]
    except TypeError as error:
        raise FrontendError(f"example_inputs: {first_line(error)}") from error
    # torch.export leaves marks on the tensors that it is given.
    leaves = [x.detach().clone() if isinstance(x, torch.Tensor) else x for x in leaves]
    check_inputs(leaves)
    return ExampleInputs(tuple(leaves), tree)


def _export(module: nn.Module, inputs: ExampleInputs, steps: Steps, where: str) -> ExportedProgram:
    positions = find_steps(module, inputs, steps, where)
    if any(inputs.size(position) == 1 for position in positions):
        inputs = inputs.lengthened(positions)  # torch.export takes a size of 1 for a constant
    dynamic = _dynamic_shapes(module, inputs, positions)
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
        raise FrontendError(f"{where}: torch.export failed: {first_line(error)}{hint}") from error


def _dynamic_shapes(
    module: nn.Module, inputs: ExampleInputs, positions: Sequence[Position]
) -> tuple[Any, ...] | None:
    """The positions as torch.export wants them: a tree like the arguments, `*args` a tuple."""
    if not positions:
        return None
    shapes: list[Any] = [None] * len(inputs.leaves)
    for index, dim in positions:
        shapes[index] = {**(shapes[index] or {}), dim: Dim.DYNAMIC}
    tree = tuple(pytree.tree_unflatten(shapes, inputs.tree))
    parameters = list(inspect.signature(module.forward).parameters.values())
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return (*tree[:index], tree[index:])
    return tree
