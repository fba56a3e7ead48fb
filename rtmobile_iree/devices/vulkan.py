"""Vulkan: this machine's GPU, or Mesa's lavapipe on the CPU; and whether another device has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rtmobile_iree.devices.base import RUN_TOOL
from rtmobile_iree.devices.local import Local
from rtmobile_iree.devices.probe import Description
from rtmobile_iree.errors import DeviceError
from rtmobile_iree.runtime import VULKAN
from rtmobile_iree.vulkan import VulkanDevice, describe, environment, prepare, read_description

HOW_TO = "third_party/android/README.md says which tools and drivers will do"


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


def find_there(tool: Callable[[str, Sequence[str]], str], name: str) -> VulkanDevice:
    """The Vulkan device of a board or phone.

    Args:
        tool: runs one of IREE's tools there, see `Session.tool`.
        name: of the device, for messages.

    Raises:
        DeviceError: its tools have no Vulkan, it has no driver, or one that IREE's runtime refuses.
    """
    try:
        text = tool(RUN_TOOL, ["--dump_devices=vulkan"])
    except DeviceError as error:
        raise DeviceError(f"{error}; {HOW_TO}") from error
    found = read_description(text)
    if found.name == "unknown":
        raise DeviceError(f"{name}: its Vulkan loader lists no device; {HOW_TO}")
    if found.missing:
        lacks = ", ".join(found.missing)
        raise DeviceError(
            f"{name}: {found.name}, driver {found.driver} {found.driver_version}: IREE's runtime "
            f"wants {lacks}; {HOW_TO}"
        )
    return found
