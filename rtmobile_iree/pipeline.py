"""Presets: the passes a module goes through, in order, as flat tuples."""

from __future__ import annotations

from typing import Any

from rtmobile_iree.errors import TargetError
from rtmobile_iree.options import Options
from rtmobile_iree.passes.eliminate_dead_units import EliminateDeadUnitsPass
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from rtmobile_iree.schedule import INTEGER_DOTS
from rtmobile_iree.targets import Target

DEFAULTS = Options()
# steps projected at once; fewer where layers run beside each other, one chunk apart
TIME_CHUNK, SHARED_TIME_CHUNK = 8, 4


def layout_pipeline(options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From linalg + bspc.gru with dense constants to packed ops; any target."""
    return (
        EliminateDeadUnitsPass(),
        EncodePass(),
        ReorderPass(),
        EliminateLoadsPass(),
        PackPass(options.values),
    )


def cpu_pipeline(target: Target, options: Options = DEFAULTS) -> tuple[Any, ...]:
    """From packed ops to what IREE compiles for a CPU.

    Raises:
        TargetError: quantized activations on a target without integer dot products.
    """
    dot = ""
    if options.activations == "i8":
        if target.integer_dot is None:
            raise TargetError(
                f"target {target.name}: its vector unit has no integer dot product "
                f"({' or '.join(INTEGER_DOTS)}); use activations f32 with values i8"
            )
        dot = target.integer_dot
    # Half the registers hold sums, the rest weights and inputs: 16 of AVX-512's and NEON's 32.
    return (
        LowerPass(
            vector_width=target.vector_width,
            accumulators=target.vector_registers // 2,
            time_chunk=TIME_CHUNK if options.threads == 1 else SHARED_TIME_CHUNK,
            workers=options.threads,
            expand=target.expand,
            integer_dot=dot,
            activation_error=options.activation_error,
        ),
    )
