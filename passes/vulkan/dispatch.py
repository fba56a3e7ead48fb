"""How Vulkan kernels are declared: one-dimensional workgroups, constants in flat buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rtmobile_iree.dialects.constants import constant, element_type
from rtmobile_iree.passes.kernels.dispatch import Binding
from rtmobile_iree.passes.vulkan.blocks import Pool
from torch_mlir import ir


def spirv(workgroup_size: int) -> str:
    """A kernel of IREE's SPIR-V back end with so many threads a workgroup, lowered as written."""
    return (
        "#iree_codegen.translation_info<pipeline = #iree_gpu.spirv_pipeline<BaseLowering> "
        f"workgroup_size = [{workgroup_size}, 1, 1]>"
    )


def workgroup_size(work: int, most: int) -> int:
    """Threads for so much work: a power of two, no more than needed."""
    size = 1
    while size < min(work, most):
        size *= 2
    return min(size, most)


@dataclass(frozen=True)
class PoolBuffers:
    """The constants of a finished pool; `arrays`: one a buffer, [., n] holds vectors of n."""

    pool: Pool
    arrays: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        return len(self.arrays)

    def bindings(self) -> list[Binding]:
        """Read-only buffers, in this order."""
        return array_bindings(self.arrays)

    def with_biases_by_four(self) -> PoolBuffers:
        """The same, biases in vectors of four."""
        *others, biases = self.arrays
        padded = np.pad(biases, (0, -biases.size % 4))
        return PoolBuffers(self.pool, (*others, padded.reshape(-1, 4)))

    def values(self) -> list[ir.Value]:
        """What a dispatch hands over, made at the insertion point."""
        return [constant(array) for array in self.arrays]

    def inside(self, buffers: Sequence[ir.Value]) -> Any:
        """The pool's constants: the same buffers inside the kernel."""
        return self.pool.inside(buffers)


def array_bindings(arrays: Sequence[np.ndarray]) -> list[Binding]:
    """Read-only buffers of constants."""
    return [Binding(_element(array), 0, array.shape[0], True) for array in arrays]


def pool_buffers(pool: Pool) -> PoolBuffers:
    """The constants of a pool that grows no more."""
    return PoolBuffers(pool, tuple(pool.arrays()))


def _element(array: np.ndarray) -> ir.Type:
    element: ir.Type = element_type(array.dtype)
    return ir.VectorType.get([array.shape[1]], element) if array.ndim == 2 else element
