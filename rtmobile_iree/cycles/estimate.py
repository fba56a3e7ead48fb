"""From a model to an ESTIMATE of microseconds on a phone's core. docs/cycles.md says how.

Compiled for the core, the kernels run in an emulator that counts; llvm-mca says what the counted
blocks cost; bytes of weights over the bandwidth of the cache they fit say what memory costs.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch_mlir import ir

from rtmobile_iree.cores import Core
from rtmobile_iree.cycles.disassembly import Block, blocks, disassemble
from rtmobile_iree.cycles.emulate import count_instructions, export_names
from rtmobile_iree.cycles.kernels import Kernel, read_kernels
from rtmobile_iree.cycles.mca import Cost, Mca, costs, find_mca
from rtmobile_iree.cycles.models import MISPREDICT_CYCLES, Model, bandwidth, choose_model
from rtmobile_iree.errors import InputError, TargetError
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.options import Options
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.pipeline import cpu_pipeline, layout_pipeline
from rtmobile_iree.roofline.work import Work, read_work
from rtmobile_iree.schedule import Schedule
from rtmobile_iree.targets import CpuTarget

US = 1e6
# what a step touches beside its weights: gi, gh, states, biases, scales. Of 1024 GRU units: 72 KB.
STEP_BYTES = 128 << 10
PACKAGES = ("unicorn", "elftools")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """Cycles of one block of a kernel.

    Attributes:
        kernel: its name.
        block: the instructions, and how often they ran.
        cost: llvm-mca's.
    """

    kernel: str
    block: Block
    cost: Cost

    @property
    def cycles(self) -> float:
        """A loop pays its first pass and a mispredicted exit each time it is entered."""
        block, cost = self.block, self.cost
        if not block.is_loop:
            return block.times * cost.more
        first = cost.first + MISPREDICT_CYCLES
        return block.entries * first + (block.times - block.entries) * cost.more


@dataclass(frozen=True)
class Estimate:
    """What a call would take on a core, by models of it; nothing here was measured.

    Attributes:
        core: the core.
        model: whose schedule llvm-mca took, of LLVM `llvm`.
        steps: time steps of the call.
        parts: blocks of all kernels.
        memory_us: reading the weights from where they fit.
        multiply_us: the kept weights' products at the core's peak, and nothing else: no kernel of
            this form can take less.
    """

    core: Core
    model: Model
    llvm: int
    steps: int
    parts: tuple[Part, ...]
    memory_us: float
    multiply_us: float

    @property
    def instructions(self) -> int:
        return sum(part.block.times * len(part.block.instructions) for part in self.parts)

    @property
    def cycles(self) -> float:
        return sum(part.cycles for part in self.parts)

    @property
    def compute_us(self) -> float:
        return self.cycles / self.core.clock_hz * US

    @property
    def us(self) -> float:
        """Weights are read ahead while others are computed with: the longer of the two."""
        return max(self.compute_us, self.memory_us)

    @property
    def no_overlap_us(self) -> float:
        """If nothing were read ahead."""
        return self.compute_us + self.memory_us


@dataclass(frozen=True)
class CompiledKernels:
    """Our kernels of a program for a target.

    Attributes:
        kernels: as dispatched.
        files: their shared objects by name.
        work: what the model must read.
        schedule: their choices.
        left_out: functions that IREE made of the rest of the model, which are not estimated.
    """

    kernels: tuple[Kernel, ...]
    files: dict[str, Path]
    work: Work
    schedule: Schedule
    left_out: tuple[str, ...]


def estimate(
    source: Any,
    example_inputs: Sequence[Any] | None,
    target: CpuTarget,
    steps: Sequence[int] = (1, 30),
    options: Options | None = None,
    progress: Progress = lambda line: None,
) -> tuple[tuple[Estimate, ...], tuple[str, ...]]:
    """Estimates of calls of so many steps, and the functions that are in none of them.

    Args:
        source: what `rtmobile_iree.compile` takes.
        target: an AArch64 target.

    Raises:
        InputError: llvm-mca or a package is missing, or nothing in the model is a kernel of ours.
        TargetError, CompileError: see `get_cpu_target`, `rtmobile_iree.compile`.
    """
    core, options = target.core, options or Options()
    if core is None:
        raise TargetError(
            f"cycles: target {target.name} names no phone's core; use arm64-android, and a cpu as "
            "cortex-a76"
        )
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"cycles: {' and '.join(missing)} not installed; pip install 'rtmobile-iree[cycles]'"
        )
    mca = find_mca()
    model = choose_model(core, mca.version)
    with tempfile.TemporaryDirectory(prefix="rtmobile-cycles-") as folder:
        progress(f"compiling for {target.name}")
        made = compile_kernels(source, example_inputs, target, options, Path(folder))
        found = []
        for count in steps:
            progress(f"counting instructions of {count} steps")
            parts = [part for kernel in made.kernels for part in
                     _parts(kernel, made, count, mca, model)]  # fmt: skip
            memory_us = memory_seconds(made.work, core, count, made.schedule) * US
            multiply_us = made.work.kept * count / products_s(core, options) * US
            found.append(
                Estimate(core, model, mca.version, count, tuple(parts), memory_us, multiply_us)
            )
    return tuple(found), made.left_out


def compile_kernels(
    source: Any, inputs: Sequence[Any] | None, target: CpuTarget, options: Options, folder: Path
) -> CompiledKernels:
    """Compiles a model and keeps its executables' shared objects."""
    module = import_module(source, inputs).module
    run_passes(module, layout_pipeline(options))
    work = read_work(module)
    lower: LowerPass = cpu_pipeline(target, options)[-1]
    run_passes(module, [lower])
    kernels = read_kernels(module, work.batch)
    if not kernels:
        raise InputError("cycles: no recurrent or block-sparse layer: no kernel of ours to count")
    compile_text(
        _text(module), target, extra_flags=(f"--iree-hal-dump-executable-binaries-to={folder}",)
    )
    names = {kernel.name for kernel in kernels}
    files, left_out = {}, []
    for path in sorted(folder.glob("*_embedded_elf_arm_64.so")):
        for name in export_names(path.read_bytes()):
            if name in names:
                files[name] = path
            else:
                left_out.append(name)
    return CompiledKernels(kernels, files, work, lower.schedule, tuple(left_out))


def _text(module: ir.Module) -> str:
    return str(module.operation.get_asm(assume_verified=True))


def _parts(kernel: Kernel, made: CompiledKernels, steps: int, mca: Mca, model: Model) -> list[Part]:
    """Blocks of one kernel that ran, with their costs."""
    path = made.files[kernel.name]
    counts = count_instructions(path.read_bytes(), kernel, kernel.items(steps))
    ran = blocks(disassemble(path, mca.objdump), counts)
    texts = [[each.text for each in block.instructions] for block in ran]
    return [
        Part(kernel.name, block, cost)
        for block, cost in zip(ran, costs(mca, model.cpu, model.decode, texts), strict=True)
    ]


def products_s(core: Core, options: Options) -> float:
    """Products a second at most: f32 sums take a lane each, f16 half a one, dot products of bytes
    do four in one."""
    a_lane = {"i8": 4, "f16": 2}.get(options.activations, 1)
    return core.fma_pipes * core.vector_width * a_lane * core.clock_hz


def memory_seconds(work: Work, core: Core, steps: int, schedule: Schedule) -> float:
    """Reading the weights, by docs/roofline.md: a matrix comes from the level that holds what is
    read between two of its readings, its own rows within a chunk and the whole model otherwise."""
    chunks = -(-steps // chunk_steps(work, schedule))
    cold, total = bandwidth(core, work.bytes), 0.0
    for layer in work.recurrent:
        total += chunks * (layer.w_ih.bytes + layer.w_hh.bytes) / cold
        total += (steps - chunks) * again_seconds(layer.w_hh.bytes, core, schedule)
    return total + sum(linear.weight.bytes for linear in work.linear) / cold


def chunk_steps(work: Work, schedule: Schedule) -> int:
    """Steps of a chunk of the recurrent layers."""
    layers = work.recurrent
    sizes = ([layer.w_ih.bytes for layer in layers], [layer.w_hh.bytes for layer in layers])
    return schedule.steps_together(*(max(each, default=0) for each in sizes))


def again_seconds(size: int, core: Core, schedule: Schedule) -> float:
    """Reading a matrix that was read a step before.

    One that is walked to and fro is found where a cache holds what was read last: of the caches'
    bytes all but those that a step touches besides. L3 holds what L2 does not.
    """
    if not schedule.is_large(size):
        return size / bandwidth(core, size)
    seconds, left = 0.0, size
    levels = (
        (core.l2_bytes - STEP_BYTES, core.l2_bytes_s),
        (core.l3_bytes, core.l3_bytes_s),
        (left, core.memory_bytes_s),
    )
    for capacity, rate in levels:
        own = min(left, max(0, capacity))
        seconds, left = seconds + own / rate, left - own
    return seconds
