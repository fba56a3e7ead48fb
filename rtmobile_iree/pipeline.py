"""Presets: the passes a module goes through, in order, as flat tuples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtmobile_iree.errors import InputError, TargetError
from rtmobile_iree.passes.eliminate_dead_units import EliminateDeadUnitsPass
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.lower import LowerPass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from rtmobile_iree.schedule import ACTIVATION_ERROR, INTEGER_DOTS, check_activation_error
from rtmobile_iree.targets import Target
from rtmobile_iree.values import parse_rules

ACTIVATIONS = ("f32", "i8")


@dataclass(frozen=True)
class Options:
    """What a user may ask of the compiler beside the target.

    Attributes:
        values: rules that give each matrix its value type, see `rtmobile_iree.values`.
        activations: "f32", or "i8": what i8 matrices of recurrent layers are multiplied with is
            quantized on the fly, and products are integer dot products.
        activation_error: greatest absolute error of sigmoid and tanh.
    """

    values: str = "f32"
    activations: str = "f32"
    activation_error: float = ACTIVATION_ERROR

    def __post_init__(self) -> None:
        parse_rules(self.values)
        check_activation_error(self.activation_error)
        if self.activations not in ACTIVATIONS:
            raise InputError(
                f"activations {self.activations!r}; use one of {', '.join(ACTIVATIONS)}"
            )


DEFAULTS = Options()


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
            expand=target.expand,
            integer_dot=dot,
            activation_error=options.activation_error,
        ),
    )
