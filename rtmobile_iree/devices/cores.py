"""Which cores of a device: `big`, `little`, a list as 4-7 or a mask as 0xf0."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rtmobile_iree.errors import DeviceError, InputError

LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
MOST = 1024


def parse_cores(text: str) -> frozenset[int] | None:
    """The cores of a list or a mask; None of "big" and "little", which only the device can tell.

    Raises:
        InputError: another text, or no core at all.
    """
    if text in ("big", "little"):
        return None
    cores: frozenset[int] = frozenset()
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        mask = int(text, 16)
        cores = frozenset(i for i in range(mask.bit_length()) if mask >> i & 1)
    elif LIST.fullmatch(text):
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        if max(max(pair) for pair in ends) < MOST:
            cores = frozenset(i for pair in ends for i in range(pair[0], pair[-1] + 1))
    if not cores:
        raise InputError(f"--cores {text!r}: use big, little, a list as 4-7 or a mask as 0xf0")
    return cores


def choose_cores(text: str, speeds: Mapping[int, int], name: str) -> frozenset[int]:
    """The cores that are meant, on this device.

    Args:
        text: see `parse_cores`.
        speeds: its cores and a figure for how fast each is: the kernel's capacity, or the highest
            frequency; 0 where neither can be read.
        name: of the device.

    Raises:
        InputError: another text.
        DeviceError: it has no such cores, or does not say which are big.
    """
    cores = parse_cores(text)
    if cores is not None:
        if missing := sorted(cores - set(speeds)):
            raise DeviceError(
                f"{name}: --cores {text}: has no core {missing[0]}; it has {core_list(speeds)}"
            )
        return cores
    if not speeds or 0 in speeds.values():
        raise DeviceError(
            f"{name}: --cores {text}: it says neither the capacity nor the frequency of its cores; "
            f"give a list of {core_list(speeds)}"
        )
    wanted = (max if text == "big" else min)(speeds.values())
    return frozenset(core for core, speed in speeds.items() if speed == wanted)


def core_mask(cores: frozenset[int]) -> str:
    """For taskset: hexadecimal without 0x, which util-linux, busybox and toybox all read."""
    return f"{sum(1 << core for core in cores):x}"


def core_list(cores: Mapping[int, int] | frozenset[int]) -> str:
    """As Linux writes it: `0-3,7`."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and ranges[-1][1] == core - 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges) or "none"
