"""What the command line asks of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from rtmobile_iree.bench import Settings

OPTIONS = "--cores, --runtime-tools, --device-folder, --cool-down and --cool-below"


@dataclass(frozen=True)
class DeviceRequest:
    """What the command line says of a device.

    Attributes:
        name: see `devices.get_device`; None for this machine's processor.
        cores, tools, folder: its options.
        cool_down_s, cool_below_c: see `DeviceSettings`.
    """

    name: str | None
    cores: str | None
    tools: Path | None
    folder: str | None
    cool_down_s: float | None
    cool_below_c: float | None

    def refuse(self) -> None:
        """Raises InputError where there is no device, but an option of one."""
        if self.name is None and any(vars(self).values()):
            raise InputError(f"{OPTIONS} need a --device")

    def refuse_options(self, why: str) -> None:
        """Raises InputError for an option of a device that is reached by ssh or adb."""
        if any(value for name, value in vars(self).items() if name != "name"):
            raise InputError(f"--device {self.name} {why}; leave {OPTIONS} out")


@dataclass(frozen=True)
class BenchRequest:
    """One benchmark.

    Attributes:
        models: MODEL as given; several are `.vmfb` files.
        settings: how to measure.
        inputs: those of --example-input.
        target, cpu: what our programs are compiled for.
        json, plot: files for the results.
        device: where.
    """

    models: tuple[str, ...]
    settings: Settings
    inputs: tuple[str, ...]
    target: str
    cpu: str | None
    json: Path | None
    plot: Path | None
    device: DeviceRequest

    @property
    def model(self) -> str:
        return self.models[0]

    def check(self) -> None:
        """Raises InputError for what no benchmark can do."""
        self.device.refuse()
        is_compiled = Path(self.model).suffix == ".vmfb"
        if len(self.models) > 1 and (self.device.name is None or not is_compiled):
            raise InputError(
                f"{len(self.models)} models given; several .vmfb files can go on a --device"
            )
        if self.json is not None and not self.json.absolute().parent.is_dir():
            raise InputError(f"--json {self.json}: no folder {self.json.absolute().parent}")
