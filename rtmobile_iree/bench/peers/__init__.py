"""The contenders of a benchmark, one small file each.

A contender is a class with the attributes of `Contender`; `rtmobile_iree.bench.worker` makes one
in a process of its own. To add a peer: write the file, name it in `PEERS`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rtmobile_iree.errors import InputError

OURS = "rtmobile"
# name on the command line -> (module of this package, class, what pip must have installed)
PEERS = {
    "torch": ("torch_peer", "TorchPeer", ("torch",)),
    "onnxruntime": ("onnxruntime_peer", "OnnxRuntimePeer", ("onnx", "onnxruntime")),
    "iree-dense": ("iree_peer", "IreeDensePeer", ("iree.compiler", "torch_mlir")),
}
# why a peer cannot run any file of a kind
ABSENT = {
    ("onnxruntime", ".mlir"): "it does not read MLIR",
    ("torch", ".mlir"): "it does not read MLIR",
}
CONTENDERS = {**PEERS, OURS: ("iree_peer", "RTMobileContender", ("iree.runtime",))}


@dataclass(frozen=True)
class Task:
    """What one contender is asked to run, as files that its process can read.

    Attributes:
        contender: key of `CONTENDERS`.
        model: `package.module:callable`, or a `.pt2` or `.mlir` file.
        weights: file of the module's state dict; none for an `.mlir`.
        inputs: `.npy` file of each input.
        expected: `.npy` file of each output, by PyTorch with the same weights.
        folder: where the contender may write.
        steps: time steps of a call.
        threads: threads it may use.
        vmfb: file of the compiled program, for `rtmobile` alone.
    """

    contender: str
    model: str
    weights: str
    inputs: tuple[str, ...]
    expected: tuple[str, ...]
    folder: str
    steps: int
    threads: int
    vmfb: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        fields = json.loads(text)
        fields["inputs"], fields["expected"] = tuple(fields["inputs"]), tuple(fields["expected"])
        return Task(**fields)

    def input_arrays(self) -> list[np.ndarray]:
        return [np.load(path) for path in self.inputs]

    def expected_arrays(self) -> list[np.ndarray]:
        return [np.load(path) for path in self.expected]


class Contender(Protocol):
    """One engine with the model loaded and ready to be called.

    The constructor takes the `Task`, and does everything that comes before the first call. It
    raises an `InputError` when the engine cannot run this model; that is told, and is no failure.
    """

    description: str
    """Which of its options it runs with."""

    def outputs(self) -> Sequence[np.ndarray]:
        """Outputs of one call on the task's inputs."""
        ...

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        """Microseconds a call: `samples` means, each over calls lasting `sample_s` or more."""
        ...


def make_contender(task: Task) -> Contender:
    """The contender of a task, in this process."""
    module, name, _ = CONTENDERS[task.contender]
    contender: Contender = getattr(importlib.import_module(f"{__name__}.{module}"), name)(task)
    return contender


def check_peers(names: Sequence[str]) -> None:
    """Raises unless every name is a peer whose packages are installed.

    Raises:
        InputError: an unknown peer, or a missing package and how to install it.
    """
    check_names(names)
    for name in names:
        missing = missing_packages(name)
        if missing:
            raise InputError(f"peer {name!r} {missing}")


def check_names(names: Sequence[str]) -> None:
    """Raises an `InputError` for an unknown peer."""
    for name in names:
        if name not in PEERS:
            raise InputError(f"peer {name!r} is not known; use some of: {', '.join(PEERS)}")


def absent_peers(names: Sequence[str], model: str) -> dict[str, str]:
    """Which of the peers cannot run MODEL here, and why, as far as names alone can tell."""
    kind = Path(model).suffix
    reasons = {name: ABSENT.get((name, kind)) or missing_packages(name) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def missing_packages(name: str) -> str | None:
    """What a peer needs that is not installed."""
    missing = [package for package in PEERS[name][2] if not _is_installed(package)]
    if not missing:
        return None
    return f"needs {' and '.join(missing)}; install with: pip install 'rtmobile-iree[bench]'"


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
