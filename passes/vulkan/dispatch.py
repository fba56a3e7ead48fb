"""How Vulkan kernels are declared: one-dimensional workgroups, constants in flat buffers."""

from __future__ import annotations

import numpy as np
from rtmobile_iree.dialects.constants import element_type
from rtmobile_iree.passes.kernels.dispatch import Binding
from rtmobile_iree.passes.vulkan.emit import vector4
from torch_mlir import ir


def spirv(workgroup_size: int) -> str:
    """A kernel of IREE's SPIR-V back end with so many threads a workgroup, lowered as written."""
    return (
        "#iree_codegen.translation_info<pipeline = #iree_gpu.spirv_pipeline<BaseLowering> "
        f"workgroup_size = [{workgroup_size}, 1, 1]>"
    )


def constant_bindings(arrays: list[np.ndarray]) -> list[Binding]:
    """Read-only buffers of a pool's arrays: [., 4] as vectors of four."""
    found = []
    for array in arrays:
        element: ir.Type = element_type(array.dtype)
        if array.ndim == 2:
            element = vector4(element)
        found.append(Binding(element, 0, array.shape[0], True))
    return found
