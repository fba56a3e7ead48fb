"""Presets: the passes a module goes through, in order, as flat tuples."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rtmobile_iree.cores import CORES
from rtmobile_iree.errors import TargetError
from rtmobile_iree.options import Options
from rtmobile_iree.passes.eliminate_dead_units import EliminateDeadUnitsPass
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from rtmobile_iree.schedule import AUTO, INTEGER_DOTS
from rtmobile_iree.step_choices import step_choices
from rtmobile_iree.targets import CpuTarget, GpuTarget, Target

DEFAULTS = Options()
# steps projected at once; fewer where layers run beside each other, one chunk apart
TIME_CHUNK, SHARED_TIME_CHUNK = 16, 4
# threads of a scan's workgroup; drivers cut the registers of a thread where there are more
SCAN_THREADS = 256


def layout_pipeline(options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From linalg + bspc.gru with dense constants to packed ops; any target."""
    return (
        EliminateDeadUnitsPass(),
        EncodePass(),
        ReorderPass(),
        EliminateLoadsPass("f16" if options.activations == "f16" else "f32"),
        PackPass(options.values),
    )


def kernel_pipeline(target: Target, options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From packed ops to what IREE compiles for a target.

    Raises:
        TargetError: the target cannot do what the options ask, or is no GPU and they ask for one.
    """
    if isinstance(target, GpuTarget):
        return vulkan_pipeline(target, options)
    assert isinstance(target, CpuTarget)
    if options.gpu_kernel != AUTO:
        raise TargetError(
            f"target {target.name}: gpu_kernel {options.gpu_kernel} is a GPU's; leave it out"
        )
    return cpu_pipeline(target, options)


def vulkan_pipeline(target: GpuTarget, options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From packed ops to what IREE compiles for a GPU.

    Raises:
        TargetError: several threads, or quantized activations: choices of a CPU.
    """
    if options.threads != 1:
        raise TargetError(
            f"target {target.name}: threads {options.threads}; a GPU takes threads 1 alone"
        )
    is_half = options.activations == "f16"
    if options.activations not in ("f32", "f16") or (is_half and not target.gpu.storage_f16):
        works = "f32 or f16" if target.gpu.storage_f16 else "f32 alone"
        raise TargetError(
            f"target {target.name}: activations {options.activations}; this GPU takes {works}"
        )
    return (
        LowerVulkanPass(
            kernel=options.gpu_kernel,
            threads=min(SCAN_THREADS, target.gpu.workgroup_threads),
            registers=target.gpu.registers,
            resident_threads=target.gpu.workgroup_threads,
            workgroup_threads=target.gpu.workgroup_threads,
            shared_bytes=target.gpu.shared_bytes,
            storage_f16=target.gpu.storage_f16,
            activation_error=options.activation_error,
            is_half=is_half,
            **asdict(step_choices(target.gpu.name)),
        ),
    )


def cpu_pipeline(target: CpuTarget, options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From packed ops to what IREE compiles for a CPU.

    Raises:
        TargetError: quantized activations on a target without integer dot products; f16
            activations on one that does not compute in f16.
    """
    dot = ""
    if options.activations == "f16":
        _check_half(target)
    if options.activations == "i8":
        if target.integer_dot is None:
            raise TargetError(
                f"target {target.name}: its vector unit has no integer dot product "
                f"({' or '.join(INTEGER_DOTS)}); use activations f32 with values i8"
            )
        dot = target.integer_dot
    # Half the registers hold sums, the rest weights and inputs: 16 of AVX-512's and NEON's 32.
    return (
        LowerPass(
            vector_width=target.vector_width,
            accumulators=target.vector_registers // 2,
            time_chunk=TIME_CHUNK if options.threads == 1 else SHARED_TIME_CHUNK,
            cache_bytes=target.cache_bytes,
            workers=options.threads,
            expand=target.expand,
            integer_dot=dot,
            chunk_dot=(target.chunk_dot or "") if dot else "",
            activation_error=options.activation_error,
            element="f16" if options.activations == "f16" else "f32",
            half_cells=target.core is not None and target.core.fp16,
        ),
    )


def _check_half(target: CpuTarget) -> None:
    if target.core is None or not target.core.fp16:
        cores = ", ".join(name for name, core in CORES.items() if core.fp16)
        where = f"cpu {target.core.name}" if target.core else "its processor"
        raise TargetError(
            f"target {target.name}: {where} does not compute in f16; use activations f32 with "
            f"values f16, or target arm64-android with a cpu of {cores}"
        )
