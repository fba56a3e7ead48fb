"""`rtmobile bench --device`: compiled modules on another machine."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rtmobile_iree.cli.bench.request import BenchRequest
from rtmobile_iree.cli.common import console, err
from rtmobile_iree.errors import InputError


def time_on_device(request: BenchRequest) -> None:
    """Times the models there and prints a table; see `bench.devices.rounds`."""
    from rtmobile_iree.bench.devices.results import DeviceSettings
    from rtmobile_iree.bench.devices.rounds import run_device_bench
    from rtmobile_iree.bench.devices.table import device_table
    from rtmobile_iree.devices import get_device

    asked, how = request.device, request.settings
    assert asked.name is not None
    if how.against is not None:
        raise InputError(f"--device {asked.name}: --peers are this machine's")
    device: Any = get_device(asked.name, cores=asked.cores, tools=asked.tools, folder=asked.folder)
    settings = DeviceSettings(
        rounds=how.rounds,
        threads=how.threads,
        cores=asked.cores,
        cool_down_s=asked.cool_down_s or 0.0,
        cool_below_c=asked.cool_below_c,
    )
    with ExitStack() as stack:
        status = stack.enter_context(err.status("starting"))

        def progress(line: str) -> None:
            err.print(line, highlight=False) if line.startswith("going on") else status.update(line)

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rtmobile-bench-"))
        cases = _cases(request, Path(folder), progress)
        results = run_device_bench(device, cases, settings, progress=progress)
    console().print(device_table(results))
    if request.json is not None:
        results.save(request.json)


def _cases(request: BenchRequest, folder: Path, progress: Any) -> list[Any]:
    """The files as they are, or the model compiled at each rate."""
    from rtmobile_iree.bench.devices.cases import file_cases, model_cases

    models, how = request.models, request.settings
    compiled = [Path(model) for model in models if Path(model).suffix == ".vmfb"]
    if compiled and len(compiled) < len(models):
        raise InputError("give .vmfb files alone, or one MODEL")
    if compiled:
        return list(file_cases(compiled, how.steps))
    return list(
        model_cases(
            request.model,
            how.rates,
            how.steps,
            request.inputs,
            request.target,
            folder,
            progress=progress,
            cpu=request.cpu,
            values=how.values,
            activations=how.activations,
        )
    )
