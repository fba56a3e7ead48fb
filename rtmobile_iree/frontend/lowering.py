"""The door to torch-mlir: an ExportedProgram, or torch ops in MLIR, becomes linalg on tensors with
bspc ops."""

import re
import warnings
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch_mlir import ir
from torch_mlir.extras.fx_decomp_util import get_decomposition_table
from torch_mlir.extras.fx_importer import FxImporter, FxImporterHooks
from torch_mlir.passmanager import PassManager

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend.steps import first_line
from rtmobile_iree.passes.raise_rnn import RaiseRnnPass

__all__ = ["import_program", "lower_torch", "name_constants"]

TORCH_BACKEND = (
    "builtin.module(func.func(torch-match-quantized-custom-ops),"
    "torchdynamo-export-to-torch-backend-pipeline)"
)

# torch-backend-to-linalg-on-tensors-backend-pipeline as torch-mlir 20261001 prints it, without its
# last pass, which refuses any dialect of others.
LINALG = (
    "builtin.module(func.func(torch-restructure-non-constant-axes,torch-fuse-quantized-ops,"
    "convert-torch-to-tmtensor{allow-non-finites=true},canonicalize,"
    "convert-torch-to-linalg{allow-non-finites=true},canonicalize,"
    "convert-torch-to-scf,convert-torch-to-arith,convert-torch-to-tensor),"
    "convert-torch-conversion-to-mlprogram,"
    "func.func(memref-expand,canonicalize,resolve-shaped-type-result-dims,cse),"
    "torch-func-backend-type-conversion,"
    "func.func(canonicalize,torch-finalizing-backend-type-conversion))"
)

ELEMENT_TYPES = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int64: "si64",
    torch.int32: "si32",
    torch.int16: "si16",
    torch.int8: "si8",
    torch.uint8: "ui8",
}
"""Element types of a `!torch.vtensor`; the attribute's own type is signless."""


CASTS_AND_CONSTANTS = re.compile(r"torch_c\.|torch\.(constant|prim|vtensor|runtime)\b")
"""Ops that are left over because of another op that was not lowered."""


class _WeightHooks(FxImporterHooks):
    """Import weights as `dense` constants, which Python can read back, and remember their names."""

    def __init__(self) -> None:
        self.names: dict[ir.Attribute, str] = {}

    def store_produced_value(
        self, gni: Any, py_value: Any, produced_ir_value: Any, info: Any
    ) -> None:
        raise FrontendError(
            f"buffer {info.input_spec.target} is written by the module; "
            "take the state as an input and return it as an output"
        )

    def resolve_literal(self, gni: Any, literal: Any, info: Any) -> ir.Value | None:
        if not isinstance(literal, torch.Tensor) or literal.dtype not in ELEMENT_TYPES:
            return None
        array = np.ascontiguousarray(literal.detach().numpy()).reshape(tuple(literal.shape))
        element = ELEMENT_TYPES[literal.dtype]
        dims = ",".join(str(d) for d in literal.shape)
        vtensor = ir.Type.parse(f"!torch.vtensor<[{dims}],{element}>")
        signless = ir.Type.parse(element.lstrip("us") if "i" in element else element)
        value = ir.DenseElementsAttr.get(array, type=signless, shape=array.shape)
        location = ir.Location.unknown()
        if info is not None and info.input_spec.target:
            self.names.setdefault(value, info.input_spec.target)
            location = ir.Location.name(info.input_spec.target)
        with location:
            return ir.Operation.create(
                "torch.vtensor.literal", results=[vtensor], attributes={"value": value}
            ).result


def import_program(program: ExportedProgram, context: ir.Context, where: str) -> ir.Module:
    """Import an exported program as func @main of linalg on tensors and bspc ops.

    Args:
        program: of ATen ops and those of `rtmobile_iree.nn`.
        context: with the bspc dialect loaded.
        where: what error messages call the program.

    Returns:
        A module whose weights are `arith.constant dense<...>` at `loc("gru.weight_hh_l0")`.

    Raises:
        FrontendError: torch-mlir cannot import or lower an op.
    """
    hooks = _WeightHooks()
    importer = FxImporter(context=context, hooks=hooks)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = program.run_decompositions(get_decomposition_table())
        importer.import_program(program, func_name="main")
    except Exception as error:  # the importer raises assertions, type errors and more
        raise FrontendError(f"{where}: torch-mlir import failed: {first_line(error)}") from error
    lower_torch(importer.module, where)
    name_constants(importer.module, hooks.names)
    return importer.module


def lower_torch(module: ir.Module, where: str) -> None:
    """Raise the recurrent layers, then lower torch ops to linalg on tensors, in place.

    Raises:
        FrontendError: an op that torch-mlir does not lower, named.
    """
    RaiseRnnPass().run(module.operation)
    for pipeline in (TORCH_BACKEND, LINALG):
        try:
            with module.context:
                PassManager.parse(pipeline).run(module.operation)
        except ir.MLIRError as error:
            raise FrontendError(f"{where}: {_lowering_failure(error, module)}") from error
    _refuse_torch_ops(module, where)


def name_constants(module: ir.Module, names: dict[ir.Attribute, str]) -> None:
    """Give every weight constant the location that carries its parameter's name; passes lose it on
    the way."""

    def name(op: ir.Operation) -> ir.WalkResult:
        if op.name == "arith.constant" and op.attributes["value"] in names:
            op.location = ir.Location.name(names[op.attributes["value"]], context=module.context)
        return ir.WalkResult.ADVANCE

    module.operation.walk(name)


def _torch_ops(module: ir.Module) -> list[str]:
    """The torch ops left in a module, in order."""
    left: list[str] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name == "torch.operator":
            left.append(ir.StringAttr(op.attributes["name"]).value)
        elif op.name.startswith(("torch.", "torch_c.")):
            left.append(op.name)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    return left


def _refuse_torch_ops(module: ir.Module, where: str) -> None:
    left = _torch_ops(module)
    if left:
        name = next((op for op in left if not CASTS_AND_CONSTANTS.match(op)), left[0])
        raise FrontendError(f"{where}: torch-mlir does not lower {name}; replace it in the model")


def _lowering_failure(error: ir.MLIRError, module: ir.Module) -> str:
    """The op that failed and the start of the first diagnostic, on one line."""
    text = str(error.error_diagnostics[0].message) if error.error_diagnostics else str(error)
    message = text.strip().partition("\n")[0].partition(": %")[0]
    quoted = re.search(r'name = "(torch\.[\w.]+)"', text) or re.search(r"'(torch\.[\w.]+)'", text)
    names = [quoted[1]] if quoted else []
    names += _torch_ops(module)
    name = next((op for op in names if not CASTS_AND_CONSTANTS.match(op)), "an op")
    return f"torch-mlir does not lower {name} ({message}); replace it in the model"
