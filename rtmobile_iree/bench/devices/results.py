"""What a device benchmark times, how, and what it measured."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rtmobile_iree.devices.contents import Contents
from rtmobile_iree.devices.probe import Description
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Case:
    """One module at one number of steps.

    Attributes:
        contents: the module.
        steps: time steps of a call; 0 for a module of one size.
        inputs: of the call.
        expected: its right outputs, None where nobody knows them.
        tolerance: greatest error of those.
    """

    contents: Contents
    steps: int
    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...] | None = None
    tolerance: float = 1e-4

    @property
    def key(self) -> str:
        """Tells it from the others, in the journal too."""
        digest = hashlib.sha256(self.contents.vmfb)
        for array in self.inputs:
            digest.update(str(array.shape).encode() + array.tobytes())
        return f"{self.contents.name} T={self.steps} {digest.hexdigest()[:16]}"


@dataclass(frozen=True)
class DeviceSettings:
    """How to measure.

    Attributes:
        rounds: bursts of each module.
        samples: of a burst, each the mean over enough calls to last `sample_s`.
        sample_s: see `samples`.
        threads: a module may use.
        cores: as given; see `devices.cores`.
        cool_down_s: to wait after a round.
        cool_below_c: hottest that a round may begin at; None for a little over the start.
    """

    rounds: int = 5
    samples: int = 5
    sample_s: float = 0.2
    threads: int = 1
    cores: str | None = None
    cool_down_s: float = 0.0
    cool_below_c: float | None = None

    def check(self) -> None:
        """Raises InputError where a figure is out of range."""
        if min(self.rounds, self.samples, self.threads) < 1 or self.cool_down_s < 0:
            raise InputError("--rounds and --threads are whole numbers from 1, --cool-down from 0")


@dataclass(frozen=True)
class CaseResult:
    """What was measured of one module at one number of steps.

    Attributes:
        module: its file.
        sha256: of it.
        size_bytes: of it.
        target: what it was compiled for.
        steps: time steps of a call; 0 for a module of one size.
        max_error: greatest difference from the right outputs, None where nobody knows them.
        rounds: one entry a round: `times_us`, `before` and `after` (states), `waited_s`, `json`.
    """

    module: str
    sha256: str
    size_bytes: int
    target: str | None
    steps: int
    max_error: float | None
    rounds: tuple[dict[str, Any], ...]

    @property
    def samples_us(self) -> np.ndarray:
        """All samples of all rounds, microseconds a call."""
        return np.array([time for entry in self.rounds for time in entry["times_us"]])

    def statistics(self) -> dict[str, float]:
        """Of all samples, microseconds a call."""
        samples = self.samples_us
        return {
            "median_us": float(np.median(samples)),
            "min_us": float(samples.min()),
            "max_us": float(samples.max()),
        }


@dataclass(frozen=True)
class DeviceResults:
    """One benchmark of one device.

    Attributes:
        device: as on the command line.
        description: what it is.
        settings: how it was measured.
        cases: what was measured.
        versions: of what is installed here.
        date: UTC, ISO 8601.
    """

    device: str
    description: Description
    settings: DeviceSettings
    cases: tuple[CaseResult, ...]
    versions: dict[str, str | None]
    date: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON; a failure leaves whatever was at `path` as it was."""
        fields = asdict(self)
        fields["cases"] = [asdict(case) | case.statistics() for case in self.cases]
        write_atomically(path, (json.dumps({"schema": SCHEMA, **fields}, indent=2) + "\n").encode())
