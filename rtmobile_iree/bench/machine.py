"""What the figures were measured with: the machine and the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from rtmobile_iree.bench.peers.registry import LOCAL, VULKAN
from rtmobile_iree.targets import cpu_features
from rtmobile_iree.vulkan import VulkanDevice, describe

PACKAGES = (
    "rtmobile-iree",
    "torch",
    "torch-mlir",
    "iree-base-compiler",
    "iree-base-runtime",
    "onnx",
    "onnxruntime",
    "numpy",
    "scipy",
    "openvino",
    "nncf",
    "ai-edge-litert",
    "ncnn",
    "MNN",
)
# instruction sets that decide how fast a dense or sparse product can be
FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "amx_tile", "asimd", "asimddp", "asimdhp", "sve",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """Version of each package a benchmark may use, None where it is not installed."""
    return {name: version(name) for name in PACKAGES}


def version(package: str) -> str | None:
    """An installed package's version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine(device: str = LOCAL) -> dict[str, object]:
    """Processor, memory and system of this machine, and what runs its Vulkan where that is asked.

    Raises:
        DeviceError: there is no Vulkan here.
    """
    features = cpu_features()
    vulkan = {"vulkan": asdict(describe())} if device == VULKAN else {}
    return {
        **vulkan,
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "features": [name for name in FEATURES if name in features],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def place(machine: Mapping[str, Any]) -> str:
    """What ran the contenders: its processor, or its Vulkan device and whether that is one."""
    device = machine.get("vulkan")
    if device is None:
        return str(machine["cpu"])
    vulkan = VulkanDevice(**device)
    return f"{vulkan}, {machine['cpu']}" if vulkan.is_cpu else str(vulkan)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
