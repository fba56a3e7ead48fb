"""The contenders of a run: which weights each gets, as files that its process can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.bench.machine import version
from rtmobile_iree.bench.models import Variant, make_squares, make_variant, write_reference
from rtmobile_iree.bench.peers import CONTENDERS, OURS, PEERS, Task
from rtmobile_iree.bench.peers.registry import BSP, DENSE
from rtmobile_iree.bench.plan import Plan
from rtmobile_iree.bench.results import AS_IS, Measurement

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A contender that is about to run.

    Attributes:
        task: what it runs.
        measurement: what is known of it so far.
    """

    task: Task
    measurement: Measurement


def make_entries(plan: Plan, target: str, folder: Path, progress: Progress) -> list[Entry]:
    """Prunes and compiles every variant and writes what the contenders' processes will read."""
    entries = []
    for variant, contenders in _variants(plan, folder):
        every = _compiled(variant, plan, target, progress) if OURS in contenders else {}
        for steps in plan.steps:
            variant = every.get(steps, variant)
            files = write_reference(variant, steps)
            entries += [_entry(variant, name, steps, plan, target, files) for name in contenders]
    return entries


def _compiled(variant: Variant, plan: Plan, target: str, progress: Progress) -> dict[int, Variant]:
    """The variant with our program, by steps: one for all, or one each."""

    def compiled(steps: int) -> Variant:
        settings = plan.settings
        return variant.compiled(
            target,
            steps,
            plan.dynamic_steps,
            values=settings.values,
            activations=settings.activations,
            threads=settings.threads,
            gpu_kernel=settings.gpu_kernel,
        )

    progress(f"compiling {plan.model} at {variant.rate}")
    if plan.dynamic_steps:
        return dict.fromkeys(plan.steps, compiled(max(plan.steps)))
    return {steps: compiled(steps) for steps in dict.fromkeys(plan.steps)}


def _variants(plan: Plan, folder: Path) -> Iterator[tuple[Variant, list[str]]]:
    """Each variant of the model, and who runs it."""
    first = AS_IS if AS_IS in plan.rates else DENSE
    dense = [peer for peer in plan.against if PEERS[peer].is_dense]
    for rate in dict.fromkeys((first, *plan.rates)):
        contenders = dense if rate == first else []
        if rate in plan.sparse_rates:
            contenders = contenders + [p for p in plan.against if PEERS[p].pattern == BSP]
        if rate in plan.rates:
            contenders = [*contenders, OURS]
        if not contenders:
            continue
        variant = make_variant(plan.model, rate, plan.inputs, folder)
        yield variant, contenders
        if rate not in plan.sparse_rates:
            continue
        for pattern in dict.fromkeys(PEERS[p].pattern for p in plan.against if PEERS[p].block):
            squares = make_squares(variant, int(pattern.partition("x")[0]))
            yield squares, [p for p in plan.against if PEERS[p].pattern == pattern]


def _entry(
    variant: Variant,
    contender: str,
    steps: int,
    plan: Plan,
    target: str,
    files: tuple[tuple[str, ...], tuple[str, ...]],
) -> Entry:
    folder = variant.folder / f"{contender}-{steps}"
    folder.mkdir()
    peer, ours = CONTENDERS[contender], contender == OURS
    threads = min(plan.settings.threads, peer.threads or plan.settings.threads)
    task = Task(
        contender=contender,
        model=variant.model,
        weights=str(variant.weights_file),
        inputs=files[0],
        expected=files[1],
        folder=str(folder),
        steps=steps,
        threads=threads,
        vmfb=str(variant.vmfb) if ours else None,
        device=plan.settings.device,
        target=target,
    )
    measurement = Measurement(
        contender,
        variant.rate,
        steps,
        "failed",
        "",
        variant.kept,
        variant.weights,
        size_bytes=variant.vmfb.stat().st_size if ours and variant.vmfb else None,
        prepare_s=variant.compile_s if ours else None,
        engine=peer.engine,
        version=version(peer.distribution),
        values=_our_values(plan) if ours else peer.values,
        pattern=variant.pattern,
        threads=threads,
    )
    return Entry(task, measurement)


def _our_values(plan: Plan) -> str:
    """What our weights are, and what they are multiplied with where that is not f32."""
    values, activations = plan.settings.values, plan.settings.activations
    return values if activations == "f32" else f"{values} x {activations}"
