"""This machine's Vulkan: its GPU, or Mesa's lavapipe on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtmobile_iree.errors import DeviceError, InputError
from rtmobile_iree.runtime import FUNCTION, VULKAN, Module
from rtmobile_iree.vulkan import prepare


class Vulkan:
    """See `base.Device`.

    Raises:
        DeviceError: there is no Vulkan here.
    """

    name = VULKAN

    def __init__(self) -> None:
        prepare()

    def __enter__(self) -> Vulkan:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(
        self, vmfb: bytes, inputs: Sequence[np.ndarray], function: str = FUNCTION
    ) -> tuple[np.ndarray, ...]:
        """See `base.Device.run`; `main` alone."""
        if function != FUNCTION:
            raise InputError(f"vulkan: runs {FUNCTION}, not {function}")
        return Module(vmfb, VULKAN)(inputs)

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
        """Refused: lavapipe's time is no GPU's."""
        raise DeviceError(
            "vulkan: timing is not there yet, as lavapipe's time is no GPU's; time the module on "
            "a GPU with iree-benchmark-module --device=vulkan"
        )
