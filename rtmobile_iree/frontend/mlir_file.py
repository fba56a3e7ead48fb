"""Reading `.mlir` files, whose large weights sit in a resource section that the Python bindings
cannot read."""

import binascii
import re
from pathlib import Path

import numpy as np
from torch_mlir import ir

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend.lowering import lower_torch

__all__ = ["load_mlir", "main_function"]

BYTECODE_MAGIC = b"ML\xefR"
SECTION = b"{-#"
ENTRY = re.compile(rb'\n[ \t]*("[^"\n]*"|[\w.$-]+):[ \t]*"0x')
RESOURCE = re.compile(r'dense_resource<("[^"]*"|[^>]*)>')
ALIGNMENT_BYTES = 4
"""A blob begins with its alignment as a little-endian 32-bit number; the values follow."""

CONSTANTS = ("arith.constant", "torch.vtensor.literal")

NUMPY_TYPES = {
    "f64": np.float64,
    "f32": np.float32,
    "f16": np.float16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
}


def load_mlir(path: Path, context: ir.Context) -> ir.Module:
    """Read a module of linalg on tensors (torch ops are lowered), its resources made `dense`
    constants.

    Args:
        path: an `.mlir` text file, as torch-mlir writes it, with func @main or one public function.
        context: with the bspc dialect loaded.

    Raises:
        FrontendError: the file cannot be read or parsed, a resource is missing or of a wrong size,
        there is no
            function to compile, or torch-mlir does not lower an op.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrontendError(f"{path}: cannot be read: {error.strerror}") from error
    if data.startswith(BYTECODE_MAGIC):
        raise FrontendError(f"{path}: MLIR bytecode; convert it to text with torch-mlir-opt")
    if not data.strip():
        raise FrontendError(f"{path}: the file is empty; use an .mlir file from torch-mlir")
    start = data.rfind(b"\n" + SECTION)
    text = data if start < 0 else data[:start]
    try:
        module = ir.Module.parse(text.decode(), context)
    except UnicodeDecodeError as error:
        raise FrontendError(
            f"{path}: not a text file; use an .mlir file from torch-mlir"
        ) from error
    except ir.MLIRError as error:
        raise FrontendError(f"{path}: not an MLIR module: {_first(error)}") from error
    _inline_resources(module, {} if start < 0 else _blobs(data, start), path)
    _name_main(module, path)
    if _has_torch_ops(module):
        lower_torch(module, path.name)
    return module


def main_function(module: ir.Module) -> ir.Operation:
    """The operation of func @main."""
    for op in module.body.operations:
        if op.operation.name == "func.func" and _symbol(op.operation) == "main":
            return op.operation
    raise FrontendError("the module has no func @main")


def _blobs(data: bytes, start: int) -> dict[str, memoryview]:
    """The hexadecimal text of every resource, by name; decoded only when used."""
    view = memoryview(data)
    blobs = {}
    for match in ENTRY.finditer(data, start):
        end = data.find(b'"', match.end())
        if end >= 0:
            blobs[match[1].decode().strip('"')] = view[match.end() : end]
    return blobs


def _inline_resources(module: ir.Module, blobs: dict[str, memoryview], path: Path) -> None:
    found: list[ir.Operation] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name in CONSTANTS and _is_resource(op.attributes["value"]):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    with module.context, ir.Location.unknown():
        for op in found:
            op.attributes["value"] = _dense(op.attributes["value"], blobs, path)


def _is_resource(attribute: ir.Attribute) -> bool:
    # The bindings have no class for an attribute of a resource; to print one is cheap, since only
    # its name is printed, but to print a dense attribute is not.
    if isinstance(attribute, ir.DenseElementsAttr):
        return False
    return str(attribute).startswith("dense_resource<")


def _dense(attribute: ir.Attribute, blobs: dict[str, memoryview], path: Path) -> ir.Attribute:
    match = RESOURCE.match(str(attribute))
    assert match is not None, f"unexpected form of a resource: {str(attribute)[:80]}"
    name = match[1].strip('"')
    tensor = ir.RankedTensorType(attribute.type)
    if name not in blobs:
        raise FrontendError(f"{path}: resource {name} is missing; the file is truncated or elided")
    dtype = NUMPY_TYPES.get(str(tensor.element_type))
    if dtype is None:
        raise FrontendError(
            f"{path}: resource {name}: element type {tensor.element_type} is not supported; "
            f"use {', '.join(NUMPY_TYPES)}"
        )
    shape = tuple(tensor.shape)
    try:
        raw = binascii.unhexlify(blobs[name])
    except binascii.Error as error:
        raise FrontendError(f"{path}: resource {name}: bad hexadecimal text: {error}") from error
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(raw) != ALIGNMENT_BYTES + expected:
        raise FrontendError(
            f"{path}: resource {name}: {len(raw) - ALIGNMENT_BYTES} bytes for {tensor}; "
            f"expected {expected}; the file is truncated"
        )
    values = np.frombuffer(raw, dtype, offset=ALIGNMENT_BYTES).reshape(shape)
    return ir.DenseElementsAttr.get(values, type=tensor.element_type, shape=shape)


def _symbol(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["sym_name"]).value


def _name_main(module: ir.Module, path: Path) -> None:
    functions = [op.operation for op in module.body.operations if op.operation.name == "func.func"]
    public = [
        f
        for f in functions
        if "sym_visibility" not in f.attributes
        or ir.StringAttr(f.attributes["sym_visibility"]).value == "public"
    ]
    if any(_symbol(f) == "main" for f in functions):
        return
    if len(public) != 1:
        names = ", ".join(_symbol(f) for f in public) or "none"
        raise FrontendError(f"{path}: public functions: {names}; name the one to compile @main")
    public[0].attributes["sym_name"] = ir.StringAttr.get("main", module.context)


def _has_torch_ops(module: ir.Module) -> bool:
    found = False

    def look(op: ir.Operation) -> ir.WalkResult:
        nonlocal found
        found = op.name.startswith("torch.")
        return ir.WalkResult.INTERRUPT if found else ir.WalkResult.ADVANCE

    module.operation.walk(look)
    return found


def _first(error: ir.MLIRError) -> str:
    diagnostics = error.error_diagnostics
    message = str(diagnostics[0].message) if diagnostics else str(error)
    return message.strip().partition("\n")[0]
