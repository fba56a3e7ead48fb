"""This machine's Vulkan: its GPU, or Mesa's lavapipe on the CPU."""

from __future__ import annotations

from dataclasses import replace

from rtmobile_iree.devices.local import Local
from rtmobile_iree.devices.probe import Description
from rtmobile_iree.runtime import VULKAN
from rtmobile_iree.vulkan import describe, environment, prepare


class Vulkan(Local):
    """See `base.Device`.

    Raises:
        DeviceError: there is no Vulkan here.
    """

    name = VULKAN
    driver = VULKAN

    def __init__(self) -> None:
        prepare()
        super().__init__()

    def environment(self) -> dict[str, str]:
        """See `Local.environment`: where the loader and its drivers are."""
        return environment()

    def describe(self) -> Description:
        """What it is: the Vulkan device beside the machine it is in."""
        here = super().describe()
        return replace(here, model=f"{describe()}", cpu=here.cpu)
