"""The contenders of a benchmark, one small file each.

A contender is a class with the attributes of `Contender`; `rtmobile_iree.bench.worker` makes one
in a process of its own. To add a peer: write the file, name it in `registry.PEERS`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from rtmobile_iree.bench.peers.registry import (
    ALL,
    CONTENDERS,
    LOCAL,
    OURS,
    PEERS,
    Peer,
    absent_peers,
    check_names,
    check_peers,
    default_peers,
    missing_packages,
)

__all__ = [
    "ALL",
    "CONTENDERS",
    "LOCAL",
    "OURS",
    "PEERS",
    "Contender",
    "Peer",
    "Task",
    "absent_peers",
    "check_names",
    "check_peers",
    "default_peers",
    "make_contender",
    "missing_packages",
]


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
        device: where it runs, "local" or "vulkan".
        target: what programs are compiled for.
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
    device: str = LOCAL
    target: str = "host"

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
    tried: str
    """The configurations that were tried and the time of each; empty where there is one."""

    def outputs(self) -> Sequence[np.ndarray]:
        """Outputs of one call on the task's inputs."""
        ...

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        """Microseconds a call: `samples` means, each over calls lasting `sample_s` or more."""
        ...


def make_contender(task: Task) -> Contender:
    """The contender of a task, in this process."""
    peer = CONTENDERS[task.contender]
    module = importlib.import_module(f"{__name__}.{peer.module}")
    contender: Contender = getattr(module, peer.class_name)(task)
    return contender
