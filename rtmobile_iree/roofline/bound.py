"""The least time a call can take on one core: docs/roofline.md in code.

Bytes are those of kept weights, read as seldom as the schedule can; padding, indices and everything
else a kernel moves is its own overhead, and not in the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.roofline.limits import Limits
from rtmobile_iree.roofline.work import LinearWork, MatrixWork, RecurrentWork, Work

US = 1e6


@dataclass(frozen=True)
class Bound:
    """Least microseconds of each part of one call.

    Attributes:
        w_ih, w_hh: the input projections and the recurrent products of all layers.
        activations: sigmoid, tanh and state updates.
        linear: linear layers.
    """

    w_ih: float
    w_hh: float
    activations: float
    linear: float

    @property
    def total_us(self) -> float:
        return self.w_ih + self.w_hh + self.activations + self.linear


def lower_bound(work: Work, limits: Limits, steps: int, time_chunk: int) -> Bound:
    """The bound of a call of `steps` steps, `time_chunk` of them projected at once."""
    chunks = -(-steps // time_chunk)
    vectors = steps * work.batch

    def product_us(matrix: MatrixWork, bytes_s: float, vectors: int) -> float:
        return max(bytes_s, matrix.kept * vectors / limits.multiply_adds_s) * US

    def cold_s(matrix: MatrixWork) -> float:
        """Read once, all other weights having been read since."""
        return matrix.bytes / limits.bandwidth(work.bytes)

    def project_us(layer: RecurrentWork) -> float:
        return product_us(layer.w_ih, chunks * cold_s(layer.w_ih), vectors)

    def recur_us(layer: RecurrentWork) -> float:
        warm_s = layer.w_hh.bytes / limits.bandwidth(layer.w_hh.bytes)
        seconds = chunks * cold_s(layer.w_hh) + (steps - chunks) * warm_s
        return product_us(layer.w_hh, seconds, vectors)

    def activate_us(layer: RecurrentWork) -> float:
        costs = limits.activation_ns
        return vectors * sum(n * costs[name] for name, n in layer.activations.items()) / 1e3

    def linear_us(linear: LinearWork) -> float:
        return product_us(linear.weight, cold_s(linear.weight), linear.vectors(steps))

    return Bound(
        w_ih=sum(map(project_us, work.recurrent)),
        w_hh=sum(map(recur_us, work.recurrent)),
        activations=sum(map(activate_us, work.recurrent)),
        linear=sum(map(linear_us, work.linear)),
    )
