"""Stock IREE for Vulkan: what `iree-compile` makes of the model, for the same device as ours.

Its matrices are dense, zeros or not; or they are BSP's panels with their inputs gathered, the form
that makes the zeros of use to a compiler that knows nothing of them (see `iree_gather`).
"""

from __future__ import annotations

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.iree_gather_peer import IreeGatherPeer
from rtmobile_iree.bench.peers.iree_peer import CompiledModule, compile_dense
from rtmobile_iree.targets import get_target

# Data tiling, which helps on the CPU, changes nothing for a batch of one on llvmpipe.
STOCK_FLAGS = ("--iree-opt-level=O3",)


class IreeVulkanPeer(CompiledModule):
    """torch-mlir's own export, its steps unrolled; or an `.mlir` as it is."""

    def __init__(self, task: Task) -> None:
        vmfb, function = compile_dense(task, vulkan_flags(task))
        self.description = f"O3 for {task.target}, iree-benchmark-module"
        super().__init__(vmfb, task, function)


class IreeVulkanGatherPeer(IreeGatherPeer):
    """The zeros left out by hand, in linalg."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, vulkan_flags(task))


def vulkan_flags(task: Task) -> tuple[str, ...]:
    """What iree-compile is told."""
    return (*STOCK_FLAGS, *get_target(task.target).iree_flags)
