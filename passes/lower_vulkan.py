"""bspc-lower-vulkan: packed ops become IREE dispatches of generated SPIR-V kernels.

Rewrites:
    %y0, %s0 = bspc.packed_gru %x, %state, ... {layer = 0}       # or any other recurrent layer
    %y1, %s1 = bspc.packed_gru %y0, %s0, ... {layer = 1}
  ->
    hal.executable.source @rtmobile_gru_0 { ... one persistent kernel: both layers, all steps,
                                                weights in registers where they suit ... }
    %y1, %s1 = flow.dispatch @rtmobile_gru_0::@rtmobile_gru_0[%T](%T, %x, %state, ...)
  or, where layers of their own keep their weights and the GPU has several processors,
    hal.executable.source @rtmobile_gru_0 { ... a chunk of steps, a workgroup a layer ... }
    scf.for { ... flow.dispatch @rtmobile_gru_0::@rtmobile_gru_0[%T](%T, %d, %x, ...) }
  or, where states and sums do not fit into shared memory,
    hal.executable.source @rtmobile_gru_0_step { ... one step of both layers ... }
    scf.for { ... flow.dispatch @rtmobile_gru_0_step::@rtmobile_gru_0_step[%T](%T, %d, %x, ...) }

    %y = bspc.packed_matmul %x, ...   ->   a kernel and a dispatch of its own

Layers are fused as `lower` fuses them.

Assumes: `bspc-pack` ran; the arrays of the packed ops are constants; batch and sizes are static.
Does not handle: several types of values in one stack; f16 values where buffers cannot hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rtmobile_iree.passes.packed_ops import chains, packed_ops
from rtmobile_iree.passes.vulkan.cells import CELLS
from rtmobile_iree.passes.vulkan.lowering import Lowering
from torch_mlir import ir

from rtmobile_iree.schedule import ACTIVATION_ERROR, AUTO, GpuSchedule


@dataclass(frozen=True)
class LowerVulkanPass:
    """Lowers packed ops to dispatches of SPIR-V kernels.

    Attributes:
        kernel, threads, step_threads, units, unroll, quads, vector_tile, registers,
        resident_threads, step_unroll, step_quads, word_bits, step_blocks, time_chunk,
        chunk_bytes, scan_weights, wave_chunk, streamed_steps, processors,
        is_half: see `GpuSchedule`.
        workgroup_threads: most threads a workgroup may have.
        shared_bytes: shared memory it may have.
        storage_f16: whether buffers may hold f16.
        activation_error: greatest absolute error of sigmoid and tanh.
    """

    name: ClassVar[str] = "bspc-lower-vulkan"

    kernel: str = AUTO
    threads: int = 256
    step_threads: int = 64
    units: int = 0
    unroll: int = 4
    quads: int = 2
    vector_tile: int = 4
    registers: int = 0
    resident_threads: int = 256
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
    is_half: bool = False
    workgroup_threads: int = 256
    shared_bytes: int = 32768
    storage_f16: bool = True
    activation_error: float = ACTIVATION_ERROR

    def run(self, module: ir.Operation) -> None:
        """Replaces every packed op of the module (see the module docstring)."""
        schedule = GpuSchedule(
            self.kernel,
            self.threads,
            self.step_threads,
            self.units,
            self.unroll,
            self.quads,
            self.vector_tile,
            self.registers,
            self.resident_threads,
            self.step_unroll,
            self.step_quads,
            self.word_bits,
            self.step_blocks,
            self.time_chunk,
            self.chunk_bytes,
            self.scan_weights,
            self.wave_chunk,
            self.streamed_steps,
            self.processors,
            self.is_half,
        )
        schedule.check_threads(self.workgroup_threads)
        block = module.regions[0].blocks[0]
        stacks = {kind: chains(packed_ops(module, kind)) for kind in CELLS}
        lowering = Lowering(
            block,
            schedule,
            self.shared_bytes,
            self.storage_f16,
            self.activation_error,
            sum(map(len, stacks.values())),
        )
        with module.context, ir.Location.unknown():
            for kind, found in stacks.items():
                for number, chain in enumerate(found):
                    lowering.stack(chain, kind, f"rtmobile_{kind}_{number}")
            for number, op in enumerate(packed_ops(module, "matmul")):
                lowering.matmul(op, f"rtmobile_matmul_{number}")
