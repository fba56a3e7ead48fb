"""What a device is and how it is: read by `scripts/probe.sh`, which runs there."""

from __future__ import annotations

import re
from dataclasses import dataclass

# /proc/cpuinfo's implementer and part -> name. Linux, arch/arm64/include/asm/cputype.h.
ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD04): "Cortex-A35", (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72", (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD41): "Cortex-A78", (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710", (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD4D): "Cortex-A715", (0x41, 0xD4E): "Cortex-X3", (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720", (0x41, 0xD82): "Cortex-X4",
    (0x51, 0x802): "Kryo 385 Gold", (0x51, 0x803): "Kryo 385 Silver",
    (0x51, 0x804): "Kryo 485 Gold", (0x51, 0x805): "Kryo 485 Silver",
}  # fmt: skip
# thermal zones of the processor, as vendors name them; the rest are batteries, modems, skin
PROCESSOR_ZONE = re.compile(r"cpu|soc|tsens|x86_pkg|coretemp|big|little|bcm|cluster", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """A device at one moment.

    Attributes:
        temperatures: thermal zone -> degrees Celsius; empty where none can be read.
        current_ua: of the battery, microamperes; negative or positive when discharging, as the
            vendor has it; None where it cannot be read.
        power: what else it says of its supplies and battery.
        khz: core -> its frequency now.
    """

    temperatures: dict[str, float]
    current_ua: int | None
    power: dict[str, str]
    khz: dict[int, int]

    @property
    def hottest(self) -> float | None:
        """Of the processor's zones, or of all where none is named so."""
        own = [t for zone, t in self.temperatures.items() if PROCESSOR_ZONE.search(zone)]
        return max(own or self.temperatures.values(), default=None)


@dataclass(frozen=True)
class Description:
    """What a device is.

    Attributes:
        system: "Linux", ...
        machine: "aarch64", "x86_64", ...
        android: its release; None on another system.
        model: of the board or phone, as it says.
        cpu: name of its processor or of its kinds of cores.
        speeds: core -> capacity or highest frequency, see `cores.choose_cores`.
        kernel: release of it.
    """

    system: str
    machine: str
    android: str | None
    model: str
    cpu: str
    speeds: dict[int, int]
    kernel: str


def read_description(text: str) -> Description:
    """What `probe.sh` printed, as a description."""
    lines = _lines(text)
    values = dict(lines)
    capacities, frequencies = _by_core(lines, "capacity"), _by_core(lines, "max_khz")
    known = capacities or frequencies
    online = _online(values.get("online", ""))
    return Description(
        system=values.get("system", "unknown"),
        machine=values.get("machine", "unknown"),
        android=values.get("android"),
        model=values.get("model", ""),
        cpu=values.get("cpuinfo model name") or _arm_cores(lines) or values.get("chip", "unknown"),
        speeds={core: known.get(core, 0) for core in sorted(online or set(known))},
        kernel=values.get("kernel", ""),
    )


def read_state(text: str) -> State:
    """What `probe.sh` printed, as a state."""
    lines = _lines(text)
    power = {k: v for k, v in lines if k.startswith(("power ", "battery "))}
    temperatures = {}
    for key, value in lines:
        if key.startswith("thermal ") and (degrees := _degrees(value)) is not None:
            temperatures[key.removeprefix("thermal ")] = degrees
    currents = [v for k, v in power.items() if k.endswith(" current_now")]
    return State(
        temperatures,
        next((int(v) for v in currents if re.fullmatch(r"-?\d+", v)), None),
        power,
        _by_core(lines, "khz"),
    )


def _lines(text: str) -> list[tuple[str, str]]:
    pairs = [line.strip().partition(": ") for line in text.splitlines()]
    return [(key, value.strip()) for key, colon, value in pairs if colon and value.strip()]


def _by_core(lines: list[tuple[str, str]], what: str) -> dict[int, int]:
    matches = [(re.fullmatch(rf"cpu(\d+) {what}", key), value) for key, value in lines]
    return {int(match[1]): int(value) for match, value in matches if match and value.isdecimal()}


def _online(text: str) -> set[int]:
    ends = [part.split("-") for part in text.split(",") if part]
    return {core for pair in ends for core in range(int(pair[0]), int(pair[-1]) + 1)}


def _degrees(text: str) -> float | None:
    """Millidegrees, or degrees on some kernels; sensors that are off read 0, or far too much."""
    if not re.fullmatch(r"-?\d+", text):
        return None
    value = int(text) / (1000 if abs(int(text)) >= 1000 else 1)
    return value if 0 < value < 150 else None


def _arm_cores(lines: list[tuple[str, str]]) -> str:
    """`sort -u` has put the implementers before the parts; phones have one implementer."""
    numbers = {what: [int(v, 0) for k, v in lines if k == f"cpuinfo CPU {what}"]
               for what in ("implementer", "part")}  # fmt: skip
    makers = numbers["implementer"]
    names = [
        next((ARM_CORES[m, part] for m in makers if (m, part) in ARM_CORES), f"part {part:#x}")
        for part in numbers["part"]
    ]
    return ", ".join(names)
