"""What an estimate must know of a core: its scheduling models in LLVM, clock and memory. Data."""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import TargetError
from rtmobile_iree.targets import CPU_FLAGS, Target

GHZ, KB, MB, GB = 1e9, 1 << 10, 1 << 20, 1e9
# Arm Cortex-A76 and Neoverse N1 technical overviews: 11 cycles; the same is taken for the others
MISPREDICT_CYCLES = 11


@dataclass(frozen=True)
class Model:
    """A scheduling model in LLVM.

    Attributes:
        cpu: what llvm-mca calls it.
        since: first LLVM that has it.
        note: whose model it is, where it is not the core's own.
    """

    cpu: str
    since: int
    note: str = ""


@dataclass(frozen=True)
class Core:
    """One core of one phone.

    Attributes:
        name: as in `--cpu`.
        where: the phone's chip, and which of its cores.
        clock_hz: greatest clock.
        decode: instructions taken a cycle at most.
        levels: (bytes that fit, bytes a second of one core), from the first cache to memory.
        source: where clock and levels come from; what is assumed is called so.
        models: the best first.
    """

    name: str
    where: str
    clock_hz: float
    decode: int
    levels: tuple[tuple[int, float], ...]
    source: str
    models: tuple[Model, ...]

    def model(self, llvm: int) -> Model:
        """The best scheduling model that this LLVM has.

        Raises:
            TargetError: it has none.
        """
        found = next((model for model in self.models if model.since <= llvm), None)
        if found is None:
            raise TargetError(
                f"cycles: LLVM {llvm} has no model for {self.name}; run `make llvm-mca`"
            )
        return found

    def bandwidth(self, size_bytes: int) -> float:
        """Bytes a second when so many bytes are read again and again."""
        return next((rate for size, rate in self.levels if size_bytes <= size), self.levels[-1][1])


def _levels(clock_hz: float, l2: int, l3: int, memory: float) -> tuple[tuple[int, float], ...]:
    """Levels of a core with two 128-bit loads a cycle, in the chip's shared cache and memory."""
    return (
        (64 * KB, 32 * clock_hz),
        (l2, 19.28 * clock_hz),
        (l3, 10 * clock_hz),
        (1 << 62, memory),
    )


A57_MODEL = "LLVM has no model of this core under its own name and takes Cortex-A57's, slower"
LEVELS_SOURCE = (
    "first level: two 128-bit loads a cycle (Arm's software optimization guide); second: 19.28 "
    "bytes a cycle, measured on Neoverse N1 (Chips and Cheese, 2021-10-22); third (10 bytes a "
    "cycle) and memory (60 % of the peak): assumed"
)
A76 = Core(
    "cortex-a76",
    "Snapdragon 855, its one prime core (Kryo 485 Gold, derived from Cortex-A76)",
    2.84 * GHZ,
    4,
    _levels(2.84 * GHZ, 512 * KB, 2 * MB, 0.6 * 34.1 * GB),
    "Qualcomm's product brief of Snapdragon 855: 2.84 GHz, LPDDR4X at 2133 MHz x 64 bit = 34.1 "
    "GB/s; caches 64 KB, 512 KB, 2 MB (AnandTech, 2019-01-15). " + LEVELS_SOURCE,
    (
        Model("neoverse-n1", 17, "Neoverse N1's, the server core derived from Cortex-A76"),
        Model("cortex-a76", 14, A57_MODEL),
    ),
)
CORES = {core.name: core for core in (A76,)}
# target -> what its triple ends in; API level 30 is Android 11
TRIPLES = {"arm64-android": "android30", "arm64-linux": "gnu"}
NEON = (4, 32, "Arm ARM A1.4: 32 registers of 128 bits")


def get_core(name: str) -> Core:
    """Looks a core up.

    Raises:
        TargetError: no such core, or none that estimates are made for.
    """
    if name not in CORES:
        raise TargetError(f"--cpu {name}: no estimate for it; use one of: {', '.join(CORES)}")
    return CORES[name]


def core_target(name: str, core: Core) -> Target:
    """What the compiler must know of a core.

    Raises:
        TargetError: no such target, or none of AArch64.
    """
    if name not in TRIPLES:
        raise TargetError(f"--cycles --target {name}: use one of: {', '.join(TRIPLES)}")
    flags = (
        f"--iree-llvmcpu-target-triple=aarch64-none-linux-{TRIPLES[name]}",
        f"--iree-llvmcpu-target-cpu={core.name}",
    )
    width, registers, source = NEON
    return Target(name, (*CPU_FLAGS, *flags), width, registers, "local-sync", source,
                  integer_dot="sdot")  # fmt: skip
