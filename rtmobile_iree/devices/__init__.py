"""Where compiled modules run: this machine, its GPU, an emulator, a board, a phone.

`get_device` reads the text of `--device`; each device runs a module and times it with IREE's own
tools. ssh and adb are two transports under one remote protocol (`remote.py`).
"""

from __future__ import annotations

from typing import Any

from rtmobile_iree.devices.base import Device
from rtmobile_iree.errors import InputError

__all__ = ["Device", "FORMS", "get_device"]

FORMS = "local, vulkan, qemu, ssh:HOST[:PORT], adb or adb:SERIAL"


def get_device(text: str, **options: Any) -> Device:
    """The device that the text of `--device` names; nothing is connected yet.

    Args:
        text: "local"; "vulkan"; "qemu"; "ssh:HOST", a name of the user's ssh configuration or
            user@host, with ":PORT" if need be; "adb" for the one that is plugged in, "adb:SERIAL"
            for one of several.
        options: those of `Remote` (cores, tools, folder); "local" takes cores alone.

    Raises:
        InputError: another text, or an option the device has not; says what works.
    """
    kind, _, name = text.partition(":")
    given = {key: value for key, value in options.items() if value is not None}
    if kind == "ssh" and name:
        from rtmobile_iree.devices.remote import Remote
        from rtmobile_iree.devices.ssh import Ssh

        return Remote(Ssh(name), **given)
    if kind == "adb" and text != "adb:":
        from rtmobile_iree.devices.adb import Adb
        from rtmobile_iree.devices.remote import Remote

        return Remote(Adb(name or None), **given)
    takes = {"local": {"cores"}, "qemu": set(), "vulkan": set()}.get(text)
    if takes is None:
        raise InputError(f"device {text!r} is not known; use {FORMS}")
    if extra := sorted(set(given) - takes):
        raise InputError(f"device {text}: has no {', '.join(extra)}; that is for ssh and adb")
    if text == "vulkan":
        from rtmobile_iree.devices.vulkan import Vulkan

        return Vulkan()
    if text == "qemu":
        from rtmobile_iree.devices.qemu import Qemu

        return Qemu()
    from rtmobile_iree.devices.local import Local

    return Local(**given)
