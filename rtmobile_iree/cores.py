"""ARM64 cores of phones, as data: what a compiler and an estimate must know of each.

The same core differs between chips in its caches and clock; the figures are those of the chip that
`chip` names. What no source states is called an estimate where it stands. Peaks of memory: 64-bit
LPDDR4X at 2133 MHz, LPDDR5 at 3200, LPDDR5X at 4200 and 4800. Clocks and caches of Snapdragon 855,
and the sizes that Cortex-X caches come in, were checked with WikiChip, HMC-Tech and Wikipedia;
what Arm's and Qualcomm's documents are named for was not read again for this file.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import TargetError

KB, MB = 1 << 10, 1 << 20
MHZ, GB = 1e6, 1e9
# Armv8-A's vector unit. Arm ARM A1.4: 32 registers of 128 bits.
NEON_WIDTH, NEON_REGISTERS = 4, 32
# Some phones whose cores have SVE ship with it off (Snapdragon 8 Gen 1 to 3); NEON runs on all.
NO_SVE = "-sve,-sve2,-sve-bitperm"


@dataclass(frozen=True)
class Core:
    """One kind of core, as one chip has it.

    Attributes:
        name: as on the command line.
        llvm_cpu: what LLVM calls it.
        llvm_features: added to those LLVM knows of it.
        vector_width: f32 elements in a vector register.
        vector_registers: number of those.
        fp16: whether it multiplies f16 (FEAT_FP16); every core converts f16 to f32.
        dotprod: whether it has SDOT (FEAT_DotProd).
        i8mm: whether it has SMMLA (FEAT_I8MM).
        fma_pipes: 128-bit FMLAs started in a cycle.
        load_pipes: 128-bit loads started in a cycle.
        chip: whose caches, clock and bandwidths these are.
        l1d_bytes, l2_bytes: the core's own caches.
        l3_bytes: cache that the chip's cores share.
        clock_hz: greatest clock.
        peak_memory_bytes_s: what the chip's memory moves at most.
        is_in_order: whether it starts instructions in the program's order.
        sources: where the figures come from, and which are estimates.
    """

    name: str
    llvm_cpu: str
    fp16: bool
    dotprod: bool
    i8mm: bool
    fma_pipes: float
    load_pipes: float
    chip: str
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    clock_hz: float
    peak_memory_bytes_s: float
    sources: tuple[str, ...]
    is_in_order: bool = False
    llvm_features: str = ""
    vector_width: int = NEON_WIDTH
    vector_registers: int = NEON_REGISTERS

    @property
    def integer_dot(self) -> str | None:
        """Its name in `schedule.INTEGER_DOTS`."""
        return "sdot" if self.dotprod else None

    @property
    def chunk_dot(self) -> str | None:
        """The same for several input vectors at once."""
        return "smmla" if self.i8mm else None

    @property
    def l2_bytes_s(self) -> float:
        """What it reads from L2: 19 bytes a cycle, as measured on Neoverse N1 (Chips and Cheese,
        Deep Diving Neoverse N1, 2021-10-22); estimate: the same for the others, 16 in order."""
        return (16 if self.is_in_order else 19) * self.clock_hz

    @property
    def l3_bytes_s(self) -> float:
        """What it reads from L3. Estimate: 10 bytes a cycle, 5 in order."""
        return (5 if self.is_in_order else 10) * self.clock_hz

    @property
    def memory_bytes_s(self) -> float:
        """What it reads from memory. Estimate: 60 % of the peak, 8 bytes a cycle at most, 4 in
        order."""
        return min(0.6 * self.peak_memory_bytes_s, (4 if self.is_in_order else 8) * self.clock_hz)

    @property
    def flags(self) -> tuple[str, ...]:
        """What iree-compile is told of it."""
        cpu = f"--iree-llvmcpu-target-cpu={self.llvm_cpu}"
        if not self.llvm_features:
            return (cpu,)
        return (cpu, f"--iree-llvmcpu-target-cpu-features={self.llvm_features}")


LPDDR4X_855, LPDDR5_888 = 34.1 * GB, 51.2 * GB
LPDDR5X_8G2, LPDDR5X_8G3 = 67.2 * GB, 76.8 * GB
ALL = (
    Core(
        "generic", "generic", fp16=False, dotprod=False, i8mm=False,
        fma_pipes=1, load_pipes=0.5, chip="no chip: what every Armv8.2-A core can do",
        l1d_bytes=32 * KB, l2_bytes=128 * KB, l3_bytes=1 * MB,
        clock_hz=1800 * MHZ, peak_memory_bytes_s=LPDDR4X_855, is_in_order=True,
        sources=(
            "instruction set: Arm ARM, FEAT_FP16 and FEAT_DotProd are optional in Armv8.2",
            "estimates: pipes of Cortex-A55, the smallest core here; caches and clock at the low "
            "end of phones",
        ),
        llvm_features="+v8.2a",
    ),
    Core(
        "cortex-a55", "cortex-a55", fp16=True, dotprod=True, i8mm=False,
        fma_pipes=1, load_pipes=0.5, chip="Snapdragon 855, silver cores (Kryo 485)",
        l1d_bytes=32 * KB, l2_bytes=128 * KB, l3_bytes=2 * MB,
        clock_hz=1800 * MHZ, peak_memory_bytes_s=LPDDR4X_855, is_in_order=True,
        sources=(
            "instruction set: Arm Cortex-A55 TRM, 1.3",
            "pipes: LLVM's AArch64SchedA55.td, after Arm's Cortex-A55 Software Optimization Guide: "
            "two 64-bit vector pipes, a 128-bit load every two cycles",
            "clock: WikiChip, Snapdragon 855; caches: HMC-Tech's listing of it (Qualcomm has none)",
        ),
    ),
    Core(
        "cortex-a76", "cortex-a76", fp16=True, dotprod=True, i8mm=False,
        fma_pipes=2, load_pipes=2, chip="Snapdragon 855, prime core (Kryo 485 Gold)",
        l1d_bytes=64 * KB, l2_bytes=512 * KB, l3_bytes=2 * MB,
        clock_hz=2840 * MHZ, peak_memory_bytes_s=LPDDR4X_855,
        sources=(
            "instruction set, L1: Arm Cortex-A76 TRM, 1.3 and 1.4",
            "pipes: Arm Cortex-A76 Software Optimization Guide, FMLA: throughput 2; LDR Q: 2",
            "clock: WikiChip, Snapdragon 855; L2: HMC-Tech's listing of it; L3: AnandTech, The "
            "Snapdragon 855 Performance Preview (2019-01-15)",
        ),
    ),
    Core(
        "cortex-x1", "cortex-x1", fp16=True, dotprod=True, i8mm=False,
        fma_pipes=4, load_pipes=3, chip="Snapdragon 888, prime core",
        l1d_bytes=64 * KB, l2_bytes=1 * MB, l3_bytes=4 * MB,
        clock_hz=2840 * MHZ, peak_memory_bytes_s=LPDDR5_888,
        sources=(
            "instruction set, L1: Arm Cortex-X1 TRM",
            "pipes: Arm Cortex-X1 Software Optimization Guide: four vector pipes, three loads",
            "caches, clock: AnandTech on Snapdragon 888 (2020-12-02)",
        ),
    ),
    Core(
        "cortex-x3", "cortex-x3", fp16=True, dotprod=True, i8mm=True,
        fma_pipes=4, load_pipes=3, chip="Snapdragon 8 Gen 2, prime core",
        l1d_bytes=64 * KB, l2_bytes=1 * MB, l3_bytes=8 * MB,
        clock_hz=3200 * MHZ, peak_memory_bytes_s=LPDDR5X_8G2,
        sources=(
            "instruction set, L1: Arm Cortex-X3 TRM; SVE2 is left out, see NO_SVE",
            "pipes: Arm Cortex-X3 Software Optimization Guide: four vector pipes, three loads",
            "clock, L3, memory: Qualcomm's product brief of Snapdragon 8 Gen 2; L2: estimate, the "
            "larger of the TRM's two sizes",
        ),
        llvm_features=NO_SVE,
    ),
    Core(
        "cortex-x4", "cortex-x4", fp16=True, dotprod=True, i8mm=True,
        fma_pipes=4, load_pipes=3, chip="Snapdragon 8 Gen 3, prime core",
        l1d_bytes=64 * KB, l2_bytes=2 * MB, l3_bytes=12 * MB,
        clock_hz=3300 * MHZ, peak_memory_bytes_s=LPDDR5X_8G3,
        sources=(
            "instruction set, L1: Arm Cortex-X4 TRM; SVE2 is left out, see NO_SVE",
            "pipes: Arm Cortex-X4 Software Optimization Guide: four vector pipes, three loads",
            "clock, L3, memory: Qualcomm's product brief of Snapdragon 8 Gen 3; L2: estimate, the "
            "largest of the TRM's sizes",
        ),
        llvm_features=NO_SVE,
    ),
)  # fmt: skip
CORES = {core.name: core for core in ALL}
DEFAULT_CORE = "generic"


def get_core(name: str) -> Core:
    """Looks a core up.

    Raises:
        TargetError: no such core; the message lists those there are.
    """
    if name not in CORES:
        raise TargetError(f"cpu {name!r} is not known; use one of: {', '.join(CORES)}")
    return CORES[name]
