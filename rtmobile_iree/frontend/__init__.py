"""The front end: an nn.Module, an exported program, a `.pt2` or an `.mlir` file becomes one MLIR
module.

nn.Module --checks, swap_recurrent--> torch.export --> torch-mlir --> linalg + bspc.gru, .lstm, …
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch_mlir import ir

from rtmobile_iree.dialects import make_context
from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend.export import export_module, export_program
from rtmobile_iree.frontend.lowering import import_program
from rtmobile_iree.frontend.mlir_file import load_mlir, main_function
from rtmobile_iree.frontend.steps import Steps, first_line, quiet

__all__ = ["ImportedModule", "TensorSpec", "import_module"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the compiled function."""

    name: str
    shape: tuple[int | None, ...]
    """None where the size is open until run time."""
    element_type: str
    """As MLIR spells it: "f32", "i64"."""


@dataclass(frozen=True)
class ImportedModule:
    """A module with func @main of linalg on tensors and bspc ops, its weights as `arith.constant
    dense`."""

    module: ir.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def import_module(
    source: nn.Module | ExportedProgram | str | os.PathLike[str],
    example_inputs: object = None,
    dynamic_steps: Steps = True,
) -> ImportedModule:
    """Import a model for the bspc passes.

    Args:
        source: a module in eval mode, an exported program, or the path of a `.pt2` or an `.mlir`
            file.
        example_inputs: one float32 tensor or array, or a tuple of them, as the module is called.
            Needed for an nn.Module; taken from an exported program when None; not used for `.mlir`.
        dynamic_steps: True leaves the number of steps of the recurrent layers open, False fixes it
            as in the example; {input name or position: dimension} says which dimension it is. Not
            used for `.mlir`.

    Raises:
        FrontendError: an unsupported module, input or op, or a file that is no module.
    """
    context = make_context()
    if isinstance(source, nn.Module):
        program = export_module(source, example_inputs, dynamic_steps)
        return _from_program(program, context, type(source).__name__)
    if isinstance(source, ExportedProgram):
        program = export_program(source, example_inputs, dynamic_steps)
        return _from_program(program, context, "the exported program")
    if not isinstance(source, str | os.PathLike):
        raise FrontendError(
            f"not a model: a value of type {type(source).__name__}; "
            "use an nn.Module, an ExportedProgram, a .pt2 or an .mlir file"
        )
    path = Path(source)
    if not path.is_file():
        raise FrontendError(f"{path}: no such file")
    if path.suffix == ".pt2":
        program = export_program(_load_pt2(path), example_inputs, dynamic_steps)
        return _from_program(program, context, path.name)
    if path.suffix == ".mlir":
        return _imported(load_mlir(path, context), ())
    raise FrontendError(f"{path}: unknown kind of file {path.suffix!r}; use .pt2 or .mlir")


def _load_pt2(path: Path) -> ExportedProgram:
    try:
        with quiet("torch.export"):
            return torch.export.load(path)
    except Exception as error:  # the loader raises zip, json, key and runtime errors
        raise FrontendError(
            f"{path}: not a torch.export file ({first_line(error)}); "
            "write it with torch.export.save"
        ) from error


def _from_program(program: ExportedProgram, context: ir.Context, where: str) -> ImportedModule:
    names = tuple(name for name in program.graph_signature.user_inputs if isinstance(name, str))
    return _imported(import_program(program, context, where), names)


def _imported(module: ir.Module, names: tuple[str, ...]) -> ImportedModule:
    function_type = ir.FunctionType(
        ir.TypeAttr(main_function(module).attributes["function_type"]).value
    )
    inputs = function_type.inputs
    if len(names) != len(inputs):
        names = tuple(f"arg{i}" for i in range(len(inputs)))
    return ImportedModule(
        module,
        tuple(_spec(name, t) for name, t in zip(names, inputs, strict=True)),
        tuple(_spec(f"output{i}", t) for i, t in enumerate(function_type.results)),
    )


def _spec(name: str, mlir_type: ir.Type) -> TensorSpec:
    if not isinstance(mlir_type, ir.RankedTensorType):
        return TensorSpec(name, (), str(mlir_type))
    shape = tuple(
        None if mlir_type.is_dynamic_dim(i) else mlir_type.get_dim_size(i)
        for i in range(mlir_type.rank)
    )
    return TensorSpec(name, shape, str(mlir_type.element_type))
