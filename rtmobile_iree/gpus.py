"""GPUs that speak Vulkan, as data: what a compiler and an estimate must know of each.

What no source states is called an estimate where it stands. Figures of arithmetic and memory are
peaks; what a kernel gets of them is for the estimate to say.
"""

from __future__ import annotations

from dataclasses import dataclass

KB, GB, GFLOP = 1 << 10, 1e9, 1e9
VULKAN_FLAGS = (
    "--iree-hal-target-device=vulkan",
    # chains of dispatches, one a step and layer, are longer than IREE's analysis follows by default
    "--iree-stream-affinity-solver-max-iterations=4096",
)
# SPIR-V that Vulkan 1.1 drivers take; with `Shader` alone, IREE adds what a kernel uses
SPIRV_1_3 = "--iree-vulkan-target-features=spirv:v1.3,cap:Shader"

# Mesa's freedreno: 96 vec4 for each thread of a pair of waves of 64
ADRENO_6XX_REGISTERS = 96 * 4 * 2 * 64


@dataclass(frozen=True)
class Gpu:
    """One GPU, or a family of them.

    Attributes:
        name: as on the command line.
        iree_target: what IREE calls it, in `--iree-vulkan-target`.
        iree_features: flags that narrow what IREE believes of it.
        vulkan: the version of Vulkan its drivers have, and so the environment SPIR-V is for.
        shared_bytes: shared memory of a workgroup (maxComputeSharedMemorySize).
        workgroup_threads: most threads of a workgroup (maxComputeWorkGroupInvocations).
        storage_f16, storage_i8: whether buffers may hold elements of 16 and of 8 bits; with 16,
            they compute in f16 and i16 too.
        wave_sizes: threads that run in step; our kernels do not depend on it.
        flops_s: f32 operations a second, two for a fused multiplication and addition.
        memory_bytes_s: what its memory moves at most.
        faults: of its drivers, known.
        sources: where the figures come from, and which are estimates.
    """

    name: str
    iree_target: str
    vulkan: str
    shared_bytes: int
    workgroup_threads: int
    storage_f16: bool
    storage_i8: bool
    wave_sizes: tuple[int, ...]
    registers: int
    flops_s: float | None
    memory_bytes_s: float | None
    faults: tuple[str, ...]
    sources: tuple[str, ...]
    iree_features: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """What iree-compile is told of it."""
        return (*VULKAN_FLAGS, f"--iree-vulkan-target={self.iree_target}", *self.iree_features)


# hal/drivers/vulkan/physical_device.c of IREE 3.13, supports_baseline
RUNTIME = (
    "IREE 3.13's runtime refuses drivers below Vulkan 1.3, or without timelineSemaphore, "
    "scalarBlockLayout or synchronization2"
)
ALL = (
    Gpu(
        "lavapipe", "llvmpipe", vulkan="1.3", shared_bytes=32 * KB, workgroup_threads=1024,
        storage_f16=True, storage_i8=True, wave_sizes=(8,), registers=ADRENO_6XX_REGISTERS,
        flops_s=None, memory_bytes_s=None, faults=(),
        sources=(
            "registers: none; as many as an Adreno 6xx, so that its kernels run here",
            "limits: IREE 3.13's target llvmpipe, and vkGetPhysicalDeviceProperties of Mesa 22.3",
            "speed: it is the host's CPU; its time is no GPU's",
        ),
    ),
    Gpu(
        "vulkan", "vp_android_baseline_2022", vulkan="1.1", shared_bytes=16 * KB,
        workgroup_threads=128, storage_f16=False, storage_i8=False,
        wave_sizes=(4, 8, 16, 32, 64, 128), registers=64 * 128, flops_s=None, memory_bytes_s=None,
        faults=(RUNTIME,),
        sources=(
            "registers: estimate, 64 for each thread of a full workgroup",
            "limits: Khronos, VP_ANDROID_baseline_2022, as IREE 3.13 has it",
            "kernels bind up to 10 storage buffers, as most drivers allow; Vulkan promises 4",
        ),
    ),
    Gpu(
        "adreno-640", "adreno", vulkan="1.1", shared_bytes=32 * KB, workgroup_threads=1024,
        storage_f16=True, storage_i8=False, wave_sizes=(64, 128), registers=ADRENO_6XX_REGISTERS,
        flops_s=899 * GFLOP, memory_bytes_s=34.1 * GB,
        faults=(
            f"{RUNTIME}: Qualcomm's for this GPU has 1.1, Mesa's turnip 1.3",
            "a Pixel 4 kills GPU work that takes longer than 2 s",
        ),
        sources=(
            "registers: Mesa's freedreno_devices.py, reg_size_vec4 96 of a6xx_gen2",
            "limits: IREE 3.13's target adreno; SPIR-V 1.3, as its drivers are Vulkan 1.1",
            "arithmetic: estimate, 768 lanes x 2 x 585 MHz, as reviews give the 855's clock",
            "memory: Snapdragon 855's product brief, 64-bit LPDDR4X at 2133 MHz",
        ),
        iree_features=(SPIRV_1_3,),
    ),
    Gpu(
        "adreno-7xx", "adreno", vulkan="1.3", shared_bytes=32 * KB, workgroup_threads=1024,
        storage_f16=True, storage_i8=False, wave_sizes=(64, 128), registers=ADRENO_6XX_REGISTERS,
        flops_s=2089 * GFLOP, memory_bytes_s=67.2 * GB, faults=(),
        sources=(
            "registers: Mesa's freedreno_devices.py, reg_size_vec4 96 of a7xx_base",
            "limits: IREE 3.13's target adreno",
            "arithmetic: estimate, Adreno 740: 1536 lanes x 2 x 680 MHz, as reviews give them",
            "memory: Snapdragon 8 Gen 2's product brief, 64-bit LPDDR5X at 4200 MHz",
        ),
    ),
    Gpu(
        "mali-valhall", "valhall", vulkan="1.1", shared_bytes=32 * KB, workgroup_threads=512,
        storage_f16=True, storage_i8=True, wave_sizes=(16,), registers=64 * 512,
        flops_s=1088 * GFLOP, memory_bytes_s=60.0 * GB, faults=(RUNTIME,),
        sources=(
            "registers: estimate, 64 for each thread of a full workgroup",
            "limits: IREE 3.13's target valhall; SPIR-V 1.3, as its first drivers are Vulkan 1.1",
            "arithmetic: estimate, Mali-G710 MP10: 10 x 64 lanes x 2 x 850 MHz",
            "memory: estimate, 64-bit LPDDR5X at 3750 MHz, as in Dimensity 9000",
        ),
        iree_features=(SPIRV_1_3,),
    ),
)  # fmt: skip
GPUS = {gpu.name: gpu for gpu in ALL}
