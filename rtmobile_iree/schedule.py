"""What a CPU kernel may choose, and what is legal on a target. Data only; the tuner varies it.

A schedule never changes what is computed, up to the rounding of reordered sums and the error it
allows the activations.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import InputError, TargetError

FMA_IN_FLIGHT = 8  # latency 4 cycles x 2 FMA a cycle on the cores we know (Zen 4, Cortex-A76, -X1)
ACTIVATION_ERROR = 1e-6
# f32 arithmetic alone makes errors of 3e-7; over a tenth a gate is hardly a gate
ACTIVATION_ERRORS = (4e-7, 0.1)


def check_activation_error(error: float) -> None:
    """Raises an `InputError` unless sigmoid and tanh can be had with this absolute error."""
    low, high = ACTIVATION_ERRORS
    if not low <= error <= high:
        raise InputError(
            f"activation error {error:g}: sigmoid and tanh are f32; use {low:g} to {high:g} "
            f"(the default is {ACTIVATION_ERROR:g}, and 1e-3 does for f16)"
        )


@dataclass(frozen=True)
class Schedule:
    """Choices of the CPU kernel builder.

    Attributes:
        vector_width: f32 elements in a vector register.
        accumulators: registers one inner loop may use for sums; the rest hold weights and x.
        vector_tile: input vectors (time steps, batch entries) that share one load of a weight.
        time_chunk: steps whose input projection is computed before the scan runs over them.
        activation_error: greatest absolute error of sigmoid, tanh and a GRU's state update.
    """

    vector_width: int
    accumulators: int = 16
    vector_tile: int = 4
    time_chunk: int = 16
    activation_error: float = ACTIVATION_ERROR

    def __post_init__(self) -> None:
        for name in ("vector_width", "accumulators", "vector_tile"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise TargetError(f"schedule: {name} = {value} is not a power of two")
        if self.time_chunk < 1:
            raise TargetError(f"schedule: time_chunk = {self.time_chunk}; use 1 or more")
        check_activation_error(self.activation_error)

    def row_block(self, height: int, vectors: int) -> int:
        """Rows of a panel that one inner loop sums, so that all sums stay in registers."""
        return min(height, max(1, self.accumulators // vectors) * self.vector_width)

    def column_unroll(self, sums: int) -> int:
        """Columns an inner loop takes at once: enough independent sums to hide FMA latency."""
        return max(1, min(FMA_IN_FLIGHT, self.accumulators) // sums)
