"""`rtmobile bench MODEL --roofline`: the least time a call can take, what it takes, and on what."""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtmobile_iree.bench.machine import machine, versions
from rtmobile_iree.bench.models import AS_IS, Variant, is_file, make_variant, write_reference
from rtmobile_iree.bench.peers import OURS, Task
from rtmobile_iree.bench.peers.iree_peer import CompiledModule
from rtmobile_iree.bench.plan import DEFAULT_RATES
from rtmobile_iree.bench.runner import TOLERANCE, Settings
from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.passes.weights import walk
from rtmobile_iree.pipeline import cpu_pipeline, layout_pipeline
from rtmobile_iree.roofline import Bound, Limits, Work, lower_bound, measure_limits, read_work
from rtmobile_iree.schedule import PARTS
from rtmobile_iree.targets import CpuTarget, get_cpu_target

SCHEMA = 1
WHOLE = "whole"
OTHER = "other"


@dataclass(frozen=True)
class RooflineRow:
    """One program at one number of steps.

    Attributes:
        rate: pruning, as in `Settings.rates`.
        work: what must be done a step.
        bound: least microseconds of each part.
        taken_us: median of what a call takes.
        shares_us: microseconds each of `PARTS` takes, and everything else (`OTHER`).
    """

    rate: str
    steps: int
    work: Work
    bound: Bound
    taken_us: float
    shares_us: dict[str, float]

    @property
    def ratio(self) -> float:
        """Times the bound that we take."""
        return self.taken_us / self.bound.total_us

    def to_fields(self) -> dict[str, Any]:
        shares = {part: us / self.taken_us for part, us in self.shares_us.items()}
        more = {"ratio": self.ratio, "shares": shares, "kept": self.work.kept}
        fields = asdict(self) | more
        fields["bound"]["total_us"] = self.bound.total_us
        return fields


@dataclass(frozen=True)
class RooflineResults:
    """One run on one machine, one core."""

    model: str
    target: str
    limits: Limits
    rows: tuple[RooflineRow, ...]
    machine: dict[str, object]
    versions: dict[str, str | None]
    date: str

    def to_json(self) -> str:
        fields = {f: getattr(self, f) for f in ("model", "target", "machine", "versions", "date")}
        fields |= {"limits": asdict(self.limits), "rows": [row.to_fields() for row in self.rows]}
        return json.dumps({"schema": SCHEMA, **fields}, indent=2, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON; a failure leaves whatever was at `path` as it was."""
        write_atomically(path, self.to_json().encode())


Progress = Callable[[str], None]


@dataclass(frozen=True)
class Programs:
    """One model, whole and with each part left out: files by name, `WHOLE` or the part's."""

    variant: Variant
    work: Work
    vmfbs: dict[str, Path]
    time_chunk: int


def run_roofline(
    model: str,
    settings: Settings,
    *,
    inputs: Sequence[str] = (),
    target: str = "host",
    progress: Progress = lambda line: None,
) -> RooflineResults:
    """Measures the machine and the model's programs; one core, whatever `settings.threads` says.

    Raises:
        InputError: a model, rate or input that is none, a model without recurrent layers, or a
            program whose outputs are not PyTorch's.
    """
    replace(settings, against=()).check()  # no peer takes part, nor need its packages be there
    rates = _rates(model, settings.rates)
    host = get_cpu_target(target)
    with tempfile.TemporaryDirectory(prefix="rtmobile-roofline-") as folder:
        programs = []
        for rate in rates:
            progress(f"compiling {model} at {rate}, whole and in parts")
            variant = make_variant(model, rate, inputs, Path(folder))
            programs.append(make_programs(variant, max(settings.steps), host))
        sizes = [size for each in programs for size in each.work.working_sets()]
        limits = measure_limits(host, sizes, progress=progress)
        rows = []
        for each in programs:
            for steps in settings.steps:
                progress(f"timing {each.variant.rate}, {steps} steps")
                bound = lower_bound(each.work, limits, steps, each.time_chunk)
                rounds_us = time_programs(each, steps, settings)
                taken, shares = shares_us(rounds_us)
                rows.append(RooflineRow(each.variant.rate, steps, each.work, bound, taken, shares))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return RooflineResults(model, target, limits, tuple(rows), machine(), versions(), now)


def _rates(model: str, rates: Sequence[str] | None) -> tuple[str, ...]:
    if not is_file(model):
        return tuple(dict.fromkeys(DEFAULT_RATES if rates is None else rates))
    if rates is not None:
        raise InputError(f"{model}: a file is measured with the weights it has; leave --rates out")
    return (AS_IS,)


def make_programs(variant: Variant, steps: int, target: CpuTarget) -> Programs:
    """Compiles a variant whole, and once without each part of its recurrent kernels.

    Raises:
        InputError: it has no recurrent layer.
    """
    source = Path(variant.model) if is_file(variant.model) else variant.module
    assert source is not None
    module = import_module(source, variant.example_inputs(steps)).module
    run_passes(module, layout_pipeline())
    work = read_work(module)
    if not work.recurrent:
        names = sorted({op.name for op in walk(module.operation)})
        raise InputError(
            f"{variant.model}: no recurrent layer to measure (ops: {', '.join(names)})"
        )
    lower: LowerPass = cpu_pipeline(target)[-1]
    vmfbs = {}
    for omitted in (WHOLE, *PARTS):
        parts = "+".join(part for part in PARTS if part != omitted)
        with module.context:
            copy = module.operation.clone()
        run_passes(copy, [replace(lower, parts=parts)])
        text = str(copy.get_asm(assume_verified=True))
        vmfbs[omitted] = variant.folder / f"{omitted}.vmfb"
        vmfbs[omitted].write_bytes(compile_text(text, target))
    return Programs(variant, work, vmfbs, lower.time_chunk)


def time_programs(programs: Programs, steps: int, settings: Settings) -> dict[str, list[float]]:
    """Median microseconds a call of each program in each round; rounds alternate them.

    Raises:
        InputError: the whole program's outputs are not the reference's.
    """
    files = write_reference(programs.variant, steps)
    modules = {}
    for name, vmfb in programs.vmfbs.items():
        folder = programs.variant.folder / f"{name}-{steps}"
        folder.mkdir()
        task = Task(OURS, programs.variant.model, "", *files, str(folder), steps, 1, str(vmfb))
        modules[name] = CompiledModule(vmfb, task)
    expected = [np.load(path) for path in files[1]]
    pairs = zip(modules[WHOLE].outputs(), expected, strict=True)
    error = max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)
    if not error <= TOLERANCE:
        raise InputError(f"{programs.variant.rate}: outputs differ from PyTorch's by {error:.1e}")
    rounds: dict[str, list[float]] = {name: [] for name in modules}
    for number in range(settings.rounds):
        names = list(modules)
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            samples = modules[name].times_us(settings.samples, settings.sample_s)
            rounds[name].append(float(np.median(samples)))
    return rounds


def shares_us(rounds_us: dict[str, list[float]]) -> tuple[float, dict[str, float]]:
    """What the whole takes, and of that each part and everything else: medians over rounds."""
    whole = np.array(rounds_us[WHOLE])
    taken = float(np.median(whole))
    shares = {part: float(np.median(whole - np.array(rounds_us[part]))) for part in PARTS}
    return taken, {**shares, OTHER: taken - sum(shares.values())}
