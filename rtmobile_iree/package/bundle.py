"""What is in a bundle."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from rtmobile_iree.bench.machine import version
from rtmobile_iree.devices.base import array_bytes
from rtmobile_iree.devices.contents import Contents
from rtmobile_iree.errors import InputError
from rtmobile_iree.package.archive import MARK

PACKAGES = (
    "rtmobile-iree", "iree-base-compiler", "iree-base-runtime", "torch", "torch-mlir", "numpy"
)  # fmt: skip
RUNTIME = "iree-base-runtime"
C_FILES = ("step.c", "npy.c", "npy.h", "CMakeLists.txt")
SCHEMA = 1


@dataclass(frozen=True)
class Bundle:
    """A program and one call of it.

    Attributes:
        name: for people.
        contents: the module.
        inputs: of the call.
        expected: its outputs.
        source: where those are from.
        threshold: greatest absolute difference from them that is right.
        options: what it was compiled with; empty where that is not known.
    """

    name: str
    contents: Contents
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    source: str
    threshold: float
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def step_axis(self) -> int | None:
        """The axis of the first input along which steps lie, where the C program can take them
        apart: any number of steps, contiguous, every tensor f32, and a state for each other input.
        """
        first, *others = self.contents.inputs or (None,)
        if first is None or first.shape.count(None) != 1:
            return None
        axis = first.shape.index(None)
        tensors = (*self.inputs, *self.expected)
        states = [y.shape for y in self.expected[1 : len(self.inputs)]]
        is_steppable = (
            all(tensor.dtype == np.float32 for tensor in tensors)
            and set(first.shape[:axis]) <= {1}
            and [x.shape for x in self.inputs[1:]] == states
            and all(None not in spec.shape for spec in others)
            and self.expected[0].shape[: axis + 1] == self.inputs[0].shape[: axis + 1]
        )
        return axis if is_steppable else None


def bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """The files of a bundle: path -> bytes, the same for the same bundle.

    Raises:
        InputError: the module gives another number of outputs than are expected.
    """
    if len(bundle.expected) != bundle.contents.outputs:
        raise InputError(
            f"{bundle.name}: {len(bundle.expected)} expected outputs; "
            f"the module gives {bundle.contents.outputs}"
        )
    inputs = {f"inputs/{i}.npy": array_bytes(x) for i, x in enumerate(bundle.inputs)}
    expected = {f"expected/{i}.npy": array_bytes(y) for i, y in enumerate(bundle.expected)}
    words = _words(bundle, list(inputs), list(expected))
    files = {"model.vmfb": bundle.contents.vmfb, **inputs, **expected}
    for name in ("run.sh", "README.md", *(f"c/{name}" for name in C_FILES)):
        files[name] = _filled(name, words).encode()
    files[MARK] = _versions(bundle, files)
    sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items()))
    return files | {"SHA256SUMS": sums.encode()}


def _words(bundle: Bundle, inputs: list[str], expected: list[str]) -> dict[str, str]:
    """What stands for each @WORD@ of the templates."""
    threshold = f"{bundle.threshold:g}"
    specs = ", ".join(
        f"{spec.name} {list(x.shape)}"
        for spec, x in zip(bundle.contents.inputs, bundle.inputs, strict=True)
    )
    step = ""
    note = "\nThis module has no state to carry from step to step, so `run.sh` does not run it.\n"
    if bundle.step_axis is not None:
        files = shlex.join([*inputs, "--", *expected])
        call = f"c/build/step model.vmfb {bundle.step_axis} {threshold} {files}"
        step, note = f"if [ -x c/build/step ]; then\n    pinned {call}\nfi", ""
    return {
        "NAME": bundle.name,
        "TARGET": bundle.contents.target or "an unknown machine",
        "VERSION": version("rtmobile-iree") or "unknown",
        "IREE_VERSION": version(RUNTIME) or "unknown",
        "INPUTS": specs,
        "SOURCE": bundle.source,
        "THRESHOLD": threshold,
        "INPUT_FLAGS": " ".join(f"--input=@{name}" for name in inputs),
        "EXPECTED_FLAGS": " ".join(f"--expected_output=@{name}" for name in expected),
        "STEP": step,
        "STEP_NOTE": note,
    }


def _filled(name: str, words: dict[str, str]) -> str:
    """A template with its words in place."""
    text = resources.files(__package__).joinpath("contents", name).read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text.rstrip() + "\n"


def _versions(bundle: Bundle, files: dict[str, bytes]) -> bytes:
    """What it was made with. No date: the same bundle is the same bytes."""
    contents = bundle.contents
    record = {
        "schema": SCHEMA,
        "name": bundle.name,
        "target": contents.target,
        "options": bundle.options,
        "versions": {name: version(name) for name in PACKAGES},
        "inputs": [{"name": s.name, "shape": s.shape, "dtype": s.dtype} for s in contents.inputs],
        "expected_from": bundle.source,
        "threshold": bundle.threshold,
        "sha256": {name: _sha256(data) for name, data in sorted(files.items())},
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
