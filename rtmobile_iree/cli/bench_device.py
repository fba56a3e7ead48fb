"""`rtmobile bench --device`: compiled modules on another machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmobile_iree.cli.common import console, err
from rtmobile_iree.errors import InputError

OPTIONS = "--cores, --runtime-tools, --device-folder, --cool-down and --cool-below"


@dataclass(frozen=True)
class DeviceRequest:
    """What the command line says of a device.

    Attributes:
        name: see `devices.get_device`.
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

    def refuse_options(self) -> None:
        """Raises InputError for an option of a device that is timed."""
        if any(value for name, value in vars(self).items() if name != "name"):
            raise InputError(f"--device {self.name} is not timed; leave {OPTIONS} out")


def bench_on_device(
    models: Sequence[str],
    request: DeviceRequest,
    json: Path | None,
    *,
    steps: Sequence[int],
    rates: Sequence[str] | None,
    inputs: Sequence[str],
    target: str,
    rounds: int,
    threads: int,
    **options: Any,
) -> None:
    """Times the models there and prints a table; see `bench.device`."""
    from rtmobile_iree.bench.device import run_device_bench
    from rtmobile_iree.bench.device_cases import file_cases, model_cases
    from rtmobile_iree.bench.device_results import DeviceSettings
    from rtmobile_iree.bench.device_table import device_table
    from rtmobile_iree.devices import get_device

    assert request.name is not None
    device: Any = get_device(
        request.name, cores=request.cores, tools=request.tools, folder=request.folder
    )
    settings = DeviceSettings(
        rounds=rounds,
        threads=threads,
        cores=request.cores,
        cool_down_s=request.cool_down_s or 0.0,
        cool_below_c=request.cool_below_c,
    )
    compiled = [Path(model) for model in models if Path(model).suffix == ".vmfb"]
    if compiled and len(compiled) < len(models):
        raise InputError("give .vmfb files alone, or one MODEL")
    with ExitStack() as stack:
        status = stack.enter_context(err.status("starting"))

        def progress(line: str) -> None:
            err.print(line, highlight=False) if line.startswith("going on") else status.update(line)

        if compiled:
            cases = file_cases(compiled, steps)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rtmobile-bench-"))
            cases = model_cases(
                models[0], rates, steps, inputs, target, Path(folder), progress=progress, **options
            )
        results = run_device_bench(device, cases, settings, progress=progress)
    console().print(device_table(results))
    if json is not None:
        results.save(json)
