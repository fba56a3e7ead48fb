"""MODEL of the command line: what names a model, and inputs for it.

The shell's front door: `package.module:callable`, the path of a torch.export `.pt2`, of an `.mlir`
from torch-mlir, or of a `.safetensors` checkpoint of `rtmobile train`.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rtmobile_iree.errors import InputError

FILE_KINDS = (".pt2", ".mlir")
CHECKPOINT = ".safetensors"
FORMS = (
    "package.module:callable, a torch.export .pt2, an .mlir from torch-mlir or a .safetensors "
    "checkpoint of rtmobile train"
)
DTYPES = {"f32": torch.float32, "f64": torch.float64, "i32": torch.int32, "i64": torch.int64}
INPUT_FORM = re.compile(r"(\w+)\[([\w,\s]*)\]")


def load_model(spec: str) -> nn.Module | Path:
    """The model that MODEL names: a module, or the path of a file for the compiler to read.

    Args:
        spec: `package.module:callable`, where the callable takes no arguments and returns an
            nn.Module (or is one); or the path of a `.pt2`, `.mlir` or `.safetensors` file.

    Raises:
        InputError: nothing of that name, or it is no module.
    """
    if Path(spec).suffix in FILE_KINDS:
        if not Path(spec).is_file():
            raise InputError(f"{spec}: no such file")
        return Path(spec)
    if ":" not in spec and Path(spec).suffix != CHECKPOINT:
        raise InputError(f"MODEL {spec!r} names no model; use {FORMS}")
    return load_module(spec)


def load_module(spec: str) -> nn.Module:
    """The nn.Module that `package.module:callable`, a `.pt2` or a `.safetensors` file names.

    The working folder is searched first.

    Raises:
        InputError: another file, nothing of that name, a failing callable, no nn.Module, or one in
            training mode.
    """
    if Path(spec).suffix == ".pt2":
        return load_program(Path(spec)).module()
    if Path(spec).suffix == CHECKPOINT:
        from rtmobile_iree.speech.checkpoint import load_checkpoint

        return load_checkpoint(spec).module
    if ":" not in spec or Path(spec).suffix in FILE_KINDS:
        raise InputError(f"MODEL {spec!r}: this command needs package.module:callable or a .pt2")
    found = find_object(spec, "MODEL")
    if callable(found) and not isinstance(found, nn.Module):
        found = _call(found, spec)
    if not isinstance(found, nn.Module):
        kind = type(found).__name__
        raise InputError(f"MODEL {spec!r} gives no nn.Module but a value of type {kind}")
    if found.training:
        raise InputError(f"MODEL {spec!r} is in training mode; have it return module.eval()")
    return found


def find_object(spec: str, what: str) -> object:
    """What `package.module:name` names; the working folder is searched first.

    Args:
        what: `spec` is called in an error.

    Raises:
        InputError: another form, or nothing of that name.
    """
    name, colon, attribute = spec.partition(":")
    if not colon:
        raise InputError(f"{what} {spec!r}: use package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(name), attribute)
    except (ImportError, ValueError) as error:
        raise InputError(f"{what} {spec!r}: cannot import {name!r}: {error}") from error
    except AttributeError as error:
        raise InputError(f"{what} {spec!r}: {name} has no {attribute!r}") from error


def load_program(path: Path) -> ExportedProgram:
    """The program of a torch.export file.

    Raises:
        InputError: no such file, or no such program.
    """
    import rtmobile_iree.nn  # noqa: F401  registers the custom ops that the file may use

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return torch.export.load(path)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be loaded as a torch.export .pt2: {reason}") from error


def _call(factory: object, spec: str) -> object:
    """Calls the user's factory; whatever it raises is told in one line."""
    assert callable(factory)
    needed = [
        p.name
        for p in inspect.signature(factory).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise InputError(
            f"MODEL {spec!r} takes arguments ({', '.join(needed)}); name a callable that takes none"
        )
    try:
        return factory()
    except Exception as error:
        raise InputError(f"MODEL {spec!r} failed: {type(error).__name__}: {error}") from error


def example_inputs(
    module: nn.Module | None, specs: Sequence[str] = (), steps: int = 30
) -> tuple[Tensor, ...]:
    """Inputs for a module: those asked for, or those its own `example_inputs(steps)` offers.

    Args:
        module: asked for its own when there are no specs.
        specs: one a forward() argument, `f32[1,T,40]`; T stands for `steps`.
        steps: time steps of a chunk.

    Returns:
        Unit normal numbers (zeros for integers), always the same.

    Raises:
        InputError: an unreadable spec, or none given and the module offers none.
    """
    if specs:
        return tuple(_tensor(spec, steps, seed) for seed, spec in enumerate(specs))
    offered = getattr(module, "example_inputs", None)
    if offered is None:
        raise InputError(
            f"{type(module).__name__} has no example_inputs(steps); "
            "say each input: --example-input 'f32[1,30,40]'"
        )
    return tuple(offered(steps))


def input_array(text: str) -> np.ndarray:
    """An array from a `.npy` file, or unit normal numbers of a shape, `f32[1,30,40]`.

    Raises:
        InputError: neither of these.
    """
    if "[" in text:
        array: np.ndarray = example_inputs(None, [text])[0].numpy()
        return array
    try:
        array = np.load(text, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"input {text}: no readable .npy file ({error})") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"input {text}: holds several arrays; save one as .npy")
    return array


def _tensor(spec: str, steps: int, seed: int) -> Tensor:
    match = INPUT_FORM.fullmatch(spec.strip())
    if match is None or match[1] not in DTYPES:
        known = ", ".join(DTYPES)
        raise InputError(f"example input {spec!r}: write f32[1,30,40]; element types: {known}")
    sizes = [size.strip() for size in match[2].split(",") if size.strip()]
    bad = [size for size in sizes if size != "T" and not (size.isdecimal() and int(size))]
    if bad:
        raise InputError(f"example input {spec!r}: size {bad[0]!r}; use whole numbers from 1, or T")
    shape = [steps if size == "T" else int(size) for size in sizes]
    if math.prod(shape) > 1 << 28:
        raise InputError(f"example input {spec!r}: over a gigabyte; use smaller sizes")
    dtype = DTYPES[match[1]]
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
