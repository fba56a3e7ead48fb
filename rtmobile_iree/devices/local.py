"""This machine, by the same tools as any other device."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtmobile_iree.devices.anchor import script
from rtmobile_iree.devices.base import (
    BENCHMARK_TOOL,
    RUN_TOOL,
    benchmark_arguments,
    first_line,
    read_benchmark,
    write_call,
)
from rtmobile_iree.devices.contents import count_outputs
from rtmobile_iree.devices.cores import choose_cores
from rtmobile_iree.devices.probe import Description, State, read_description, read_state
from rtmobile_iree.devices.runtime_tools import host_tools
from rtmobile_iree.errors import DeviceError
from rtmobile_iree.runtime import FUNCTION


class Local:
    """See `base.Device`.

    Args:
        cores: "big", "little", a list or a mask; None for any.
    """

    name = "local"
    # IREE's name of what runs a module; None for the processor
    driver: str | None = None

    def __init__(self, cores: str | None = None) -> None:
        self._cores: frozenset[int] | None = None
        if cores is not None:
            self._cores = choose_cores(cores, self.describe().speeds, self.name)

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        function: str = FUNCTION,
        *,
        threads: int = 1,
    ) -> tuple[np.ndarray, ...]:
        """See `base.Device.run`."""
        count = count_outputs(vmfb, function)
        with tempfile.TemporaryDirectory(prefix="rtmobile-run-") as folder:
            arguments = self._call(folder, vmfb, inputs, function, threads)
            paths = [Path(folder) / f"y{i}.npy" for i in range(count)]
            self._tool(RUN_TOOL, [*arguments, *(f"--output=@{path}" for path in paths)])
            return tuple(np.load(path) for path in paths)

    def benchmark(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        *,
        repetitions: int,
        threads: int = 1,
        min_time_s: float = 0.2,
        function: str = FUNCTION,
    ) -> dict[str, Any]:
        """See `base.Device.benchmark`."""
        with tempfile.TemporaryDirectory(prefix="rtmobile-run-") as folder:
            arguments = self._call(folder, vmfb, inputs, function, threads)
            arguments += benchmark_arguments(repetitions, min_time_s)
            return read_benchmark(self._tool(BENCHMARK_TOOL, arguments), self.name)

    def describe(self) -> Description:
        """What it is."""
        return read_description(_probe())

    def state(self) -> State:
        """How it is now."""
        return read_state(_probe())

    def environment(self) -> dict[str, str]:
        """What the tools need in their environment besides."""
        return {}

    def _call(
        self, folder: str, vmfb: bytes, inputs: Sequence[np.ndarray], function: str, threads: int
    ) -> list[str]:
        return write_call(Path(folder), vmfb, inputs, function, threads, self.driver)

    def _tool(self, name: str, arguments: Sequence[str]) -> str:
        cores = self._cores
        result = subprocess.run(
            [host_tools().folder / name, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | self.environment(),
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        if result.returncode:
            told = first_line(result.stderr or result.stdout)
            raise DeviceError(f"{self.name}: {name} failed ({result.returncode}): {told}")
        return result.stdout


def _probe() -> str:
    return subprocess.run(
        ["sh", "-c", script("probe.sh"), "rtmobile-probe"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
