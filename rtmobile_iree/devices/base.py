"""What a device is, and how IREE's tools are called on any of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rtmobile_iree.errors import DeviceError, InputError
from rtmobile_iree.runtime import FUNCTION, VULKAN

RUN_TOOL, BENCHMARK_TOOL = "iree-run-module", "iree-benchmark-module"
TOOLS = (RUN_TOOL, BENCHMARK_TOOL)
WARM_UP_S = 0.05
# Keeps buffers from call to call. Without, the C library may give a call's memory back to the
# system and clear its pages in every call: 40 of them, 35 us, at T = 30 of a GRU 2 x 1024.
ALLOCATOR = "--device_allocator=caching"


class Device(Protocol):
    """A place where modules run.

    Attributes:
        name: as on the command line.
    """

    name: str

    def run(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        function: str = FUNCTION,
        *,
        threads: int = 1,
    ) -> tuple[np.ndarray, ...]:
        """Runs one call.

        Args:
            threads: the most that a module for several may have; `local-sync` runs it on one.

        Raises:
            DeviceError: the device cannot be reached, was lost, or the module failed on it.
        """

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
        """Times calls.

        Args:
            repetitions: samples, each the mean over enough calls to last `min_time_s`.
            threads: 1 calls on the caller's thread; more take a pool of as many.

        Returns:
            The JSON of iree-benchmark-module.

        Raises:
            DeviceError: as `run`.
        """


def call_arguments(
    module: str, inputs: Sequence[str], function: str, threads: int = 1, driver: str | None = None
) -> list[str]:
    """What both tools are told of a call; paths are the device's.

    Args:
        driver: IREE's name of what runs it; None for the processor.

    Raises:
        InputError: several threads for a GPU.
    """
    return [
        f"--module={module}", *_device_arguments(threads, driver), f"--function={function}",
        *(f"--input=@{path}" for path in inputs),
    ]  # fmt: skip


def write_call(
    folder: Path,
    vmfb: bytes,
    inputs: Sequence[np.ndarray],
    function: str,
    threads: int = 1,
    driver: str | None = None,
) -> list[str]:
    """Writes the module and its inputs into a folder of this machine; the tools' arguments."""
    module = folder / "module.vmfb"
    module.write_bytes(vmfb)
    paths = [folder / f"x{i}.npy" for i in range(len(inputs))]
    for path, array in zip(paths, inputs, strict=True):
        path.write_bytes(array_bytes(array))
    return call_arguments(str(module), [str(path) for path in paths], function, threads, driver)


def _device_arguments(threads: int, driver: str | None) -> list[str]:
    if driver == VULKAN and threads > 1:
        raise InputError(f"{threads} threads: the module is a GPU's; use 1")
    if driver == VULKAN:
        return [f"--device={driver}"]  # its allocator refuses what a caching one asks for
    if threads > 1:
        return ["--device=local-task", f"--task_topology_group_count={threads}", ALLOCATOR]
    return ["--device=local-sync", ALLOCATOR]


def benchmark_arguments(repetitions: int, min_time_s: float) -> list[str]:
    """What iree-benchmark-module is told besides."""
    return [
        "--benchmark_format=json",
        f"--benchmark_repetitions={repetitions}",
        f"--benchmark_min_time={min_time_s}s",
        f"--benchmark_min_warmup_time={WARM_UP_S}",
    ]


def array_bytes(array: np.ndarray) -> bytes:
    """The bytes of a row-major `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> np.ndarray:
    """The array of a `.npy` file's bytes."""
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def read_benchmark(text: str, where: str) -> dict[str, Any]:
    """The JSON that iree-benchmark-module printed.

    Raises:
        DeviceError: it is none.
    """
    try:
        result: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError as error:
        raise DeviceError(
            f"{where}: {BENCHMARK_TOOL} printed no JSON ({error}): {text[:200]!r}"
        ) from error
    return result


def first_line(text: str, otherwise: str = "no message") -> str:
    """The line of a tool's complaint that says most: the first of IREE's status or an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if ": error" in line or "; " in line]
    return (telling or lines or [otherwise])[0][:500]
