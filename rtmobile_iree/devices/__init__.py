"""Where compiled modules run that are not this machine's: ARM64 in an emulator."""

from __future__ import annotations

from rtmobile_iree.devices.base import Device
from rtmobile_iree.errors import InputError

__all__ = ["Device", "FORMS", "get_device"]

FORMS = "qemu"


def get_device(text: str) -> Device:
    """The device that the text of `--device` names.

    Raises:
        InputError: another text; says what works.
    """
    if text != "qemu":
        raise InputError(f"device {text!r} is not known; use {FORMS}")
    from rtmobile_iree.devices.qemu import Qemu

    return Qemu()
