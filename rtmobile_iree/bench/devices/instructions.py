"""Instructions of a call on ARM64: ours beside stock IREE's dense module, for the same core.

Both run in QEMU, by the same tool; what is counted is all that a call executes, the runtime's part
included (see `devices.qemu`). Fewer instructions are not as much less time: a core also waits for
memory, and starts several instructions a cycle. Time in an emulator means nothing and is not taken.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from rtmobile_iree.bench.machine import versions
from rtmobile_iree.bench.models import Variant, make_variant, write_reference
from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.iree_peer import STOCK_FLAGS, compile_dense
from rtmobile_iree.bench.peers.registry import tolerance
from rtmobile_iree.bench.plan import Plan, Settings, make_plan
from rtmobile_iree.devices.qemu import Qemu
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.targets import CpuTarget, get_cpu_target

SCHEMA = 1
DENSE_PEER = "iree-dense"
# what is taken where no target is named: the core of the paper's phone
TARGET, CPU = "arm64-android", "cortex-a76"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class InstructionRow:
    """One program at one chunk length.

    Attributes:
        rate: pruning, or "as is" for a file.
        steps: time steps of a call: its frames.
        kept, weights: of the recurrent layers.
        instructions: of a call.
        dense_instructions: of a call of stock IREE's dense module.
        max_error: greatest absolute difference from PyTorch's outputs, in the emulator.
    """

    rate: str
    steps: int
    kept: int
    weights: int
    instructions: int
    dense_instructions: int
    max_error: float

    @property
    def per_frame(self) -> float:
        return self.instructions / self.steps

    @property
    def dense_per_frame(self) -> float:
        return self.dense_instructions / self.steps

    @property
    def times_fewer(self) -> float:
        return self.dense_instructions / self.instructions

    def to_fields(self) -> dict[str, Any]:
        names = ("per_frame", "dense_per_frame", "times_fewer")
        return asdict(self) | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class InstructionResults:
    """One run."""

    model: str
    target: str
    cpu: str
    values: str
    activations: str
    rows: tuple[InstructionRow, ...]
    versions: dict[str, str | None]
    date: str

    def to_json(self) -> str:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields |= {"rows": [row.to_fields() for row in self.rows]}
        fields |= {"unit": "instructions", "dense_flags": STOCK_FLAGS}
        return json.dumps({"schema": SCHEMA, **fields}, indent=2, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON; a failure leaves whatever was at `path` as it was."""
        write_atomically(path, self.to_json().encode())

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=f"{self.model} on {self.target} {self.cpu}, counted in QEMU, not timed")
        for title in ("rate", "steps", "kept\nweights", "instructions\na frame",
                      "stock IREE, dense,\na frame", "times\nfewer", "largest\nerror"):  # fmt: skip
            table.add_column(title, justify="right")
        for row in self.rows:
            table.add_row(
                row.rate, str(row.steps), f"{row.kept:,}", f"{row.per_frame:,.0f}",
                f"{row.dense_per_frame:,.0f}", f"{row.times_fewer:.1f}", f"{row.max_error:.0e}",
            )  # fmt: skip
        return table


def run_instructions(
    model: str,
    settings: Settings,
    *,
    inputs: Sequence[str] = (),
    target: str = TARGET,
    cpu: str | None = None,
    progress: Progress = lambda step: None,
) -> InstructionResults:
    """Counts the instructions of a model's programs and of stock IREE's dense module.

    Args:
        model, inputs: as in `run_bench`.
        settings: steps, rates, values and activations count; the rest is about time.
        target, cpu: for an ARM64 core.

    Raises:
        InputError: another target, peers besides stock IREE, or a wrong output.
        DeviceError: no emulator, or no C compiler for what counts.
    """
    if set(settings.against or ()) - {DENSE_PEER}:
        raise InputError(f"--device qemu: the one peer there is {DENSE_PEER}; leave --peers out")
    core = get_cpu_target(target, cpu)
    if core.core is None:
        raise InputError(f"--device qemu: target {target} is not ARM64; use {TARGET}")
    settings = replace(settings, against=(DENSE_PEER,))
    settings.check()
    plan, qemu = make_plan(model, settings, inputs), Qemu()
    with tempfile.TemporaryDirectory(prefix="rtmobile-count-") as folder:
        rows = _rows(plan, core, qemu, Path(folder), progress)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return InstructionResults(
        model, target, core.cpu, settings.values, settings.activations, tuple(rows), versions(), now
    )


def _rows(
    plan: Plan, target: CpuTarget, qemu: Qemu, folder: Path, progress: Progress
) -> list[InstructionRow]:
    rows: list[InstructionRow] = []
    dense: dict[int, int] = {}
    for rate in plan.rates:
        progress(f"compiling {plan.model} at {rate} for {target.cpu}")
        settings = plan.settings
        variant = make_variant(plan.model, rate, plan.inputs, folder).compiled(
            target.name, max(plan.steps), plan.dynamic_steps, cpu=target.cpu,
            values=settings.values, activations=settings.activations,
        )  # fmt: skip
        for steps in plan.steps:
            task = _task(variant, steps)
            if steps not in dense:  # zeros or not, the dense module does the same
                progress(f"compiling and counting stock IREE, dense, {steps} steps")
                vmfb, function = compile_dense(task, (*STOCK_FLAGS, *target.iree_flags))
                arrays = task.input_arrays()
                dense[steps] = qemu.instructions(vmfb.read_bytes(), arrays, function=function)
            progress(f"counting {rate}, {steps} steps")
            rows.append(_row(variant, task, qemu, dense[steps], settings.values))
    return rows


def _task(variant: Variant, steps: int) -> Task:
    given, expected = write_reference(variant, steps)
    folder = variant.folder / f"dense-{steps}"
    folder.mkdir()
    weights = str(variant.weights_file)
    return Task(DENSE_PEER, variant.model, weights, given, expected, str(folder), steps, 1)


def _row(variant: Variant, task: Task, qemu: Qemu, dense: int, values: str) -> InstructionRow:
    assert variant.vmfb is not None
    vmfb, arrays = variant.vmfb.read_bytes(), task.input_arrays()
    pairs = zip(qemu.run(vmfb, arrays), task.expected_arrays(), strict=True)
    error = max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)
    if not error <= tolerance(values):
        raise InputError(
            f"{variant.model} at {variant.rate}, {task.steps} steps: outputs in QEMU are {error:g} "
            f"from PyTorch's; at most {tolerance(values):g} is right"
        )
    count = qemu.instructions(vmfb, arrays)
    return InstructionRow(
        variant.rate, task.steps, variant.kept, variant.weights, count, dense, error
    )
