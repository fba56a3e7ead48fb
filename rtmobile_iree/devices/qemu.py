"""ARM64 in an emulator: the same modules and IREE's own ARM64 tools, on this machine.

What it computes is what a phone computes. How long that takes says nothing of a phone, and is never
told; how many instructions it takes is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtmobile_iree.devices.base import (
    BENCHMARK_TOOL,
    RUN_TOOL,
    first_line,
    write_call,
)
from rtmobile_iree.devices.contents import count_outputs
from rtmobile_iree.devices.emulator import find_emulator
from rtmobile_iree.devices.runtime_tools import wheel_tools
from rtmobile_iree.errors import DeviceError
from rtmobile_iree.runtime import FUNCTION

MACHINE = "aarch64"


class Qemu:
    """See `base.Device`.

    Raises:
        DeviceError: there is no emulator here, or pip cannot get IREE's ARM64 tools.
    """

    name = "qemu"

    def __init__(self) -> None:
        self._emulator = find_emulator()
        self._tools = wheel_tools(MACHINE).folder

    def __enter__(self) -> Qemu:
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
        with tempfile.TemporaryDirectory(prefix="rtmobile-qemu-") as folder:
            arguments = write_call(Path(folder), vmfb, inputs, function, threads)
            paths = [Path(folder) / f"y{i}.npy" for i in range(count)]
            arguments += [f"--output=@{path}" for path in paths]
            result = self._emulator.run([self._tools / RUN_TOOL, *arguments])
            if result.returncode:
                told = first_line(result.stderr or result.stdout)
                raise DeviceError(f"qemu: {RUN_TOOL} failed ({result.returncode}): {told}")
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
        """Refused: the time it takes in an emulator is no ARM64 machine's."""
        raise DeviceError(
            "qemu: an emulator's time is no ARM64 machine's; count instructions with rtmobile "
            "bench --device qemu, or time the module on a board with --device ssh:HOST"
        )

    def instructions(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        *,
        calls: int = 1,
        function: str = FUNCTION,
    ) -> int:
        """Instructions of one call: of the module, and of the runtime's part in the call.

        They are the difference between 2 * calls and calls, so that what comes before and after
        does not count.

        Raises:
            DeviceError: the module failed, or there is no C compiler for the plugin that counts.
        """
        with tempfile.TemporaryDirectory(prefix="rtmobile-qemu-") as folder:
            arguments = write_call(Path(folder), vmfb, inputs, function)

            def count(number: int) -> int:
                command = [str(self._tools / BENCHMARK_TOOL), *arguments]
                return self._emulator.count([*command, f"--benchmark_min_time={number}x"])[0]

            once, twice = count(calls), count(2 * calls)
        return round((twice - once) / calls)
