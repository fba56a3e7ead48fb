"""`rtmobile bench --device qemu`: instructions, which an emulator can tell, in place of time."""

from __future__ import annotations

from rtmobile_iree.cli.bench.request import BenchRequest
from rtmobile_iree.cli.common import console, err


def count_instructions(request: BenchRequest) -> None:
    """Counts ours beside stock IREE's, prints a table, writes the JSON."""
    from rtmobile_iree.bench.devices.instructions import CPU, TARGET, run_instructions

    request.device.refuse_options("is not timed")
    is_host = request.target == "host"
    target, cpu = (TARGET, request.cpu or CPU) if is_host else (request.target, request.cpu)
    with err.status("starting") as status:
        results = run_instructions(
            request.model,
            request.settings,
            inputs=request.inputs,
            target=target,
            cpu=cpu,
            progress=status.update,
        )
    console().print(results.table())
    if request.json is not None:
        results.save(request.json)
