"""What a GPU can do in a second, as far as an estimate needs it; measured by others, or assumed.

Figures are of the whole GPU. A workgroup runs on one of its shader processors and reaches a share.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import TargetError
from rtmobile_iree.gpu_cost.grid import Latencies
from rtmobile_iree.gpus import GB, GPUS, KB, Gpu

GIGA, CLOCK_HZ = 1e9, 585e6
# Mesa's ir3_get_reg_dependent_max_waves: registers go to pairs of waves of 64 threads, by vec4
WAVE_PAIR, REGISTER_UNIT = 128, 4


@dataclass(frozen=True)
class Cache:
    """A level: working sets up to `size_bytes` are read from it at so many bytes a second."""

    name: str
    size_bytes: int
    bytes_s: float


@dataclass(frozen=True)
class Model:
    """One GPU.

    Attributes:
        gpu: its name in `gpus.GPUS`.
        processors: shader processors, each with a shared memory and a share of all rates below.
        resident_threads: most threads that a processor keeps at once.
        fma_s, half_s, integer_s, product_s, special_s: fused multiply-adds of f32 and of f16,
            integer additions, integer products, and reciprocals and the like a second.
        shared_bytes_s, lines_bytes_s: from shared memory, and of cache lines into the processors.
        l2_bytes_s: from the cache that all processors share, at most.
        caches: what lies behind, the smallest first; larger working sets come from memory.
        memory_bytes_s: from memory.
        latencies: see `grid.Latencies`.
        wave_ops_s: ops that one wave issues a second, at most.
        registers: 32-bit registers of a processor, and most a thread can have.
        barrier_ns: of a workgroup.
        dispatch_us: from the end of a dispatch to the begin of the next that reads its results.
        sources: where the figures come from; which are assumptions.
    """

    gpu: str
    processors: int
    resident_threads: int
    fma_s: float
    half_s: float
    integer_s: float
    product_s: float
    special_s: float
    shared_bytes_s: float
    lines_bytes_s: float
    l2_bytes_s: float
    caches: tuple[Cache, ...]
    memory_bytes_s: float
    latencies: Latencies
    wave_ops_s: float
    registers: tuple[int, int]
    barrier_ns: float
    dispatch_us: float
    sources: tuple[str, ...]

    def registers_a_thread(self, threads: int) -> int:
        """What each thread of so many on one processor has."""
        pairs = -(-threads // WAVE_PAIR)
        has, most = self.registers
        return min(most, has // (pairs * WAVE_PAIR * REGISTER_UNIT) * REGISTER_UNIT)

    def level(self, working_set: int) -> tuple[str, float]:
        """Which level a working set is read from, and its bytes a second."""
        for cache in self.caches:
            if working_set <= cache.size_bytes:
                return cache.name, cache.bytes_s
        return "memory", self.memory_bytes_s


L2_BYTES_S = 2 * 64 * CLOCK_HZ
ADRENO_640 = Model(
    "adreno-640",
    processors=2,
    resident_threads=2048,
    fma_s=407 * GIGA,
    half_s=2 * 407 * GIGA,
    integer_s=188 * GIGA,
    product_s=62 * GIGA,
    special_s=55 * GIGA,
    shared_bytes_s=88 * GB,
    lines_bytes_s=192 * GB,
    l2_bytes_s=L2_BYTES_S,
    caches=(Cache("L2", 128 * KB, L2_BYTES_S), Cache("system cache", 2048 * KB, 40 * GB)),
    memory_bytes_s=30 * GB,
    latencies=Latencies(64, arithmetic_ns=4e9 / CLOCK_HZ, shared_ns=37, global_ns=47e9 / CLOCK_HZ),
    wave_ops_s=CLOCK_HZ,
    registers=(GPUS["adreno-640"].registers, 192),
    barrier_ns=100,
    dispatch_us=3,
    sources=(
        "Chips and Cheese, Inside the Snapdragon 855's iGPU (2024), measured on a phone: "
        "arithmetic, shared memory, texture cache, system cache and memory rates, latencies, sizes",
        "2 shader processors of three texture pipes each: the same, and Mesa's freedreno for its "
        "neighbours",
        "f16: twice f32's rate; azhirnov's notes on the Adreno 600 series (cpu-gpu-arch) give 128 "
        "lanes for 64 of f32, and 1,797 GFLOPS for 899",
        "registers: Mesa's freedreno (freedreno_devices.py, ir3_compiler.c): 96 vec4 for each "
        "thread of a pair of waves of 64, 48 vec4 a thread at most",
        "ASSUMED: a wave issues one op a cycle, of two f16 elements where they are a pair; "
        "integers become f16 as fast; L2 gives each processor 64 bytes a cycle; "
        "arithmetic results after 4 cycles; 100 ns a barrier; 3 us between dispatches that depend "
        "on each other; 2,048 threads a processor; lines of 64 bytes",
    ),
)  # fmt: skip
MODELS = {model.gpu: model for model in (ADRENO_640,)}


def get_model(gpu: Gpu) -> Model:
    """What is known of a GPU.

    Raises:
        TargetError: nothing that an estimate could rest on.
    """
    if gpu.name not in MODELS:
        known = ", ".join(MODELS)
        raise TargetError(f"gpu_cost: no rates are known of {gpu.name}; use one of {known}")
    return MODELS[gpu.name]
