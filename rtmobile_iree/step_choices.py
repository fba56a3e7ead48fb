"""What a GPU's kernels of one step (`passes/vulkan/per_step.py`) choose, by target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepChoices:
    """Choices of `schedule.GpuSchedule`, by the names they have there."""

    step_threads: int = 64
    step_unroll: int = 4
    step_quads: int = 2
    word_bits: int = 0
    step_blocks: bool = False
    time_chunk: int = 1
    chunk_bytes: int = 0
    scan_weights: int = 0
    wave_chunk: int = 5
    streamed_steps: int = 0
    processors: int = 1


# Mesa's llvmpipe, from its source (lp_bld_nir_soa.c) and the code that 22.3.6 and 25.0.7 make:
# - a vector of 8 threads goes lane by lane wherever one loads or stores, with a branch on the mask
#   and one on the bounds of each component, whatever its bits. So loads are the widest there are,
#   4 words of 64 bits, and 32 rows share those of column and x; 64 take three times as long to
#   compile;
# - a workgroup of one such vector; more columns at once leave sums no registers;
# - a dispatch takes 0.4 ms beside IREE's threads, which spin while they wait and take up both
#   cores: so six steps of a layer are one, and the other core has the other layer. A few steps are
#   not worth that; a chunk of 5 steps then reads W_ih six times in 30 steps for 5 dispatches more.
LAVAPIPE = StepChoices(
    step_threads=8,
    step_unroll=1,
    step_quads=8,
    word_bits=64,
    time_chunk=5,
    scan_weights=500_000,
    wave_chunk=6,
    streamed_steps=12,
)
# By the estimate of docs/gpu_cost.md: fewer bytes of W_ih; units in workgroups whose lanes of eight
# rows fill whole waves (512 of a GRU, three waves); the persistent kernel that reads weights from
# memory for small stacks alone.
ADRENO = StepChoices(
    step_threads=1024,
    step_unroll=8,
    step_quads=2,
    word_bits=32,
    step_blocks=True,
    time_chunk=5,
    chunk_bytes=1 << 20,
    scan_weights=100_000,
    wave_chunk=15,
    processors=2,
)
CHOICES = {"lavapipe": LAVAPIPE, "adreno-640": ADRENO, "adreno-7xx": ADRENO}


def step_choices(target: str) -> StepChoices:
    """Those for a target."""
    return CHOICES.get(target, StepChoices())
