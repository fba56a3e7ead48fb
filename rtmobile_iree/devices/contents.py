"""What a compiled module takes and gives, read without running it: it may be another machine's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.program import INPUTS_KEY, TARGET_KEY, InputSpec
from rtmobile_iree.runtime import FUNCTION, read_reflection

DECLARATION_KEY = "iree.abi.declaration"


@dataclass(frozen=True)
class Contents:
    """A module.

    Attributes:
        name: of its file.
        vmfb: its bytes.
        inputs: what `main` takes; empty where the module does not say.
        outputs: how many it gives.
        target: what it was compiled for; None where it does not say.
    """

    name: str
    vmfb: bytes
    inputs: tuple[InputSpec, ...]
    outputs: int
    target: str | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.vmfb).hexdigest()

    def check(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The arrays, row-major, if the module takes them.

        Raises:
            InputError: another number of them, dtype or shape.
        """
        if not self.inputs:
            return arrays
        if len(arrays) != len(self.inputs):
            names = ", ".join(f"{spec.name} {spec}" for spec in self.inputs)
            raise InputError(f"{len(arrays)} inputs given; {self.name} takes {names}")
        return [spec.check(array) for spec, array in zip(self.inputs, arrays, strict=True)]

    def example_inputs(self, steps: int) -> list[np.ndarray]:
        """Inputs of the module's shapes, open sizes being `steps`; unit normal, always the same.

        Raises:
            InputError: the module does not say what it takes.
        """
        if not self.inputs:
            raise InputError(f"{self.name}: does not say what it takes; give each --input")
        return [_example(spec, steps, seed) for seed, spec in enumerate(self.inputs)]

    @property
    def is_open(self) -> bool:
        """Whether it takes any number of steps."""
        return any(None in spec.shape for spec in self.inputs)


def read_contents(vmfb: bytes, name: str = "module") -> Contents:
    """What a module says of itself.

    Raises:
        InputError: not an IREE module, or without a function `main`.
    """
    reflection = read_reflection(vmfb, name)
    specs = json.loads(reflection.get(INPUTS_KEY, "[]"))
    inputs = tuple(InputSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in specs)
    outputs = declared_outputs(reflection.get(DECLARATION_KEY, ""), name)
    return Contents(name, vmfb, inputs, outputs, reflection.get(TARGET_KEY))


def load_contents(path: Path) -> Contents:
    """Those of a file.

    Raises:
        InputError: it cannot be read, or is no such module.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return read_contents(data, str(path))


def count_outputs(vmfb: bytes, function: str = FUNCTION) -> int:
    """How many results a function of a module has.

    Raises:
        InputError: not an IREE module, or it does not say.
    """
    return declared_outputs(read_reflection(vmfb, function=function).get(DECLARATION_KEY, ""))


def declared_outputs(declaration: str, name: str = "module") -> int:
    """Results of `sync func @main(...) -> (%output0: tensor<1x?x8xf32>, ...)`.

    Raises:
        InputError: no such declaration.
    """
    head, arrow, results = declaration.partition(") -> (")
    if arrow:
        return results.count("%output")
    if head.endswith("-> ()") or (head and "->" not in head):
        return 0
    raise InputError(f"{name}: {FUNCTION} has no {DECLARATION_KEY}; compile it with rtmobile")


def _example(spec: InputSpec, steps: int, seed: int) -> np.ndarray:
    shape = [steps if size is None else size for size in spec.shape]
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return np.random.default_rng(seed).standard_normal(shape).astype(spec.dtype)
    return np.zeros(shape, spec.dtype)
