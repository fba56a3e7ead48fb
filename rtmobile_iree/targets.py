"""What the compiler must know of a machine, as data.

A target says how IREE is asked for code, what its processor or GPU has, and which driver runs it.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.cores import DEFAULT_CORE, Core, get_core
from rtmobile_iree.errors import TargetError
from rtmobile_iree.gpus import GPUS, Gpu


@dataclass(frozen=True)
class Target:
    """One machine modules are compiled for: a `CpuTarget` or a `GpuTarget`.

    Attributes:
        name: as on the command line.
        iree_flags: what `iree-compile` needs to know of it.
        driver: IREE HAL driver that runs the module, on one thread of a CPU.
        source: where the figures come from.
    """

    name: str
    iree_flags: tuple[str, ...]
    driver: str
    source: str

    @property
    def cpu(self) -> str:
        """What `get_target` takes beside the name to make this target again; empty for none."""
        return ""


@dataclass(frozen=True)
class CpuTarget(Target):
    """A processor.

    Attributes:
        vector_width: f32 elements in one vector register.
        vector_registers: number of those.
        expand: whether it expands a register under a mask.
        integer_dot: its integer dot product, a name in `schedule.INTEGER_DOTS`.
        chunk_dot: that for several input vectors at once; None: the same.
        cache_bytes: a larger matrix, read again and again, is walked to and fro; 0: none is. L2 of
            a phone's core; what this machine's cores share here, where a phone's L3 is as small.
        core: the core that was named, or is taken; None of the host.
    """

    vector_width: int
    vector_registers: int
    expand: bool = False
    integer_dot: str | None = None
    chunk_dot: str | None = None
    cache_bytes: int = 0
    core: Core | None = None

    @property
    def cpu(self) -> str:
        """See `Target`; empty for the host."""
        return self.core.name if self.core else ""


@dataclass(frozen=True)
class GpuTarget(Target):
    """A GPU that speaks Vulkan; `gpu`: what is known of it."""

    gpu: Gpu


CPU_FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
)
# feature flag in /proc/cpuinfo -> (f32 elements in a register, registers, source); widest first
VECTOR_UNITS = {
    "avx512f": (16, 32, "Intel SDM vol. 1, 15.1: 32 registers of 512 bits"),
    "avx2": (8, 16, "Intel SDM vol. 1, 14.1: 16 registers of 256 bits"),
    "asimd": (4, 32, "Arm ARM A1.4: 32 registers of 128 bits"),
    "sse2": (4, 16, "Intel SDM vol. 1, 11.2: 16 registers of 128 bits"),
}
# feature flag -> integer dot product; the best first
DOT_UNITS = {
    "avx512_vbmi2": "vpdpbusd-vbmi2",  # every core with VBMI2 has VNNI
    "avx512_vnni": "vpdpbusd",  # Intel SDM vol. 2, VPDPBUSD
    "asimddp": "sdot",  # Arm ARM C7.2, SDOT (vector)
}


# target -> LLVM's triple of it
ARM64_TRIPLES = {
    "arm64-android": "aarch64-none-linux-android30",  # Android 11, IREE's own minimum in its docs
    "arm64-linux": "aarch64-unknown-linux-gnu",
}
ARM64_MACHINES = ("aarch64", "arm64")  # what `uname -m` says on Linux and macOS


def target_names() -> tuple[str, ...]:
    """Every target `get_target` knows."""
    return ("host", *ARM64_TRIPLES, *GPUS)


def get_target(name: str, cpu: str | None = None) -> Target:
    """Looks a target up.

    Args:
        cpu: a name in `cores.CORES`; None takes what runs on every core of the target.

    Raises:
        TargetError: no such target or core, the message lists those there are; or a core for the
            host or a GPU.
    """
    if name in ARM64_TRIPLES:
        return _arm64_target(name, get_core(cpu or DEFAULT_CORE))
    if name in GPUS and not cpu:
        return _gpu_target(GPUS[name])
    if name != "host" and name not in GPUS:
        known = ", ".join(target_names())
        raise TargetError(f"target {name!r} is not known; use one of: {known}")
    if cpu:
        others = " or ".join(ARM64_TRIPLES)
        its_cpu = "its cpu is this machine's" if name == "host" else "it is a GPU"
        raise TargetError(f"target {name}: {its_cpu}, not {cpu!r}; leave cpu out, or use {others}")
    return host_target()


def get_cpu_target(name: str, cpu: str | None = None) -> CpuTarget:
    """`get_target` for what is about a CPU alone.

    Raises:
        TargetError: as `get_target`, or it is a GPU.
    """
    target = get_target(name, cpu)
    if not isinstance(target, CpuTarget):
        known = ", ".join(("host", *ARM64_TRIPLES))
        raise TargetError(f"target {name} is a GPU; this is about a CPU: use one of {known}")
    return target


def runs_here(name: str) -> bool:
    """Whether this machine's processor is of the kind that a target is for; any GPU's drivers run
    a GPU's programs."""
    return name not in ARM64_TRIPLES or platform.machine() in ARM64_MACHINES


def _gpu_target(gpu: Gpu) -> GpuTarget:
    return GpuTarget(gpu.name, gpu.flags, "vulkan", "; ".join(gpu.sources), gpu)


def _arm64_target(name: str, core: Core) -> CpuTarget:
    flags = (*CPU_FLAGS, f"--iree-llvmcpu-target-triple={ARM64_TRIPLES[name]}", *core.flags)
    return CpuTarget(
        name,
        flags,
        "local-sync",
        "; ".join(core.sources),
        core.vector_width,
        core.vector_registers,
        integer_dot=core.integer_dot,
        chunk_dot=core.chunk_dot,
        cache_bytes=core.l2_bytes,
        core=core,
    )


@functools.cache
def host_target() -> CpuTarget:
    """This machine, its vector unit read from /proc/cpuinfo (128-bit vectors when it has none)."""
    features = cpu_features()
    unit = next((VECTOR_UNITS[f] for f in VECTOR_UNITS if f in features), (4, 16, "baseline"))
    flags = (*CPU_FLAGS, "--iree-llvmcpu-target-cpu=host")
    dot = next((dot for feature, dot in DOT_UNITS.items() if feature in features), None)
    return CpuTarget("host", flags, "local-sync", unit[2], unit[0], unit[1],
                     "avx512f" in features, dot,
                     cache_bytes=last_cache_bytes())  # fmt: skip


@functools.cache
def last_cache_bytes() -> int:
    """This machine's largest cache, as Linux tells it; 0 where it does not."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    texts = [size.read_text().strip() for size in sizes]
    return max((int(text[:-1]) << 10 for text in texts if text.endswith("K")), default=0)


@functools.cache
def cpu_features() -> frozenset[str]:
    """Instruction set features of this machine's first core, as Linux names them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset({"asimd"} if platform.machine() in ("arm64", "aarch64") else ())
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
