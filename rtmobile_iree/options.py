"""What a user may ask of the compiler beside the target. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import InputError
from rtmobile_iree.schedule import (
    ACTIVATION_ERROR,
    AUTO,
    MOST_WORKERS,
    check_activation_error,
    check_gpu_kernel,
)
from rtmobile_iree.values import parse_rules

ACTIVATIONS = ("f32", "f16", "i8")


@dataclass(frozen=True)
class Options:
    """What a user may ask of the compiler beside the target.

    Attributes:
        values: rules that give each matrix its value type, see `rtmobile_iree.values`.
        activations: "f32", or "f16": recurrent layers, of f16 weights, are computed in f16, and on
            a GPU products with f16, i8 or i4 weights; or "i8": what i8 matrices of recurrent layers
            are multiplied with is quantized on the fly, and products are integer dot products.
        activation_error: greatest absolute error of sigmoid and tanh in f32.
        threads: most threads a recurrent kernel may use; fewer do the work too.
        gpu_kernel: of recurrent layers on a GPU, see `schedule.GpuSchedule.kernel`.
    """

    values: str = "f32"
    activations: str = "f32"
    activation_error: float = ACTIVATION_ERROR
    threads: int = 1
    gpu_kernel: str = AUTO

    def __post_init__(self) -> None:
        parse_rules(self.values)
        check_activation_error(self.activation_error)
        check_gpu_kernel(self.gpu_kernel)
        if not 1 <= self.threads <= MOST_WORKERS:
            raise InputError(f"threads {self.threads}; use 1 to {MOST_WORKERS}")
        if self.activations not in ACTIVATIONS:
            raise InputError(
                f"activations {self.activations!r}; use one of {', '.join(ACTIVATIONS)}"
            )
