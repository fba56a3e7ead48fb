"""Presets: the passes a module goes through, in order, as flat tuples."""

from __future__ import annotations

from typing import Any

from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from rtmobile_iree.schedule import ACTIVATION_ERROR
from rtmobile_iree.targets import Target


def layout_pipeline() -> tuple[Any, ...]:
    """From linalg + bspc.gru with dense constants to packed ops; any target."""
    return (EncodePass(), ReorderPass(), EliminateLoadsPass(), PackPass())


def cpu_pipeline(target: Target, *, activation_error: float = ACTIVATION_ERROR) -> tuple[Any, ...]:
    """From linalg + bspc.gru to what IREE compiles for a CPU."""
    lower = LowerPass(
        vector_width=target.vector_width,
        # half the registers hold sums, the rest weights and x: 16 of AVX-512's and NEON's 32
        accumulators=target.vector_registers // 2,
        activation_error=activation_error,
    )
    return (*layout_pipeline(), lower)
