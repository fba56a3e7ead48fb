"""What one core of this machine can do, measured by our own kernels on our own runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rtmobile_iree.bench.timing import times_us
from rtmobile_iree.roofline.kernels import FUNCTIONS, Kernel
from rtmobile_iree.targets import CpuTarget

CURVE = tuple(2**power for power in range(15, 27))  # 32 KB to 64 MB
BYTES_PER_F32 = 4
# A call takes some 50 us to start from Python: that is under 1 % of the 5 ms or more these last.
READ_BYTES = 1 << 30
FUNCTION_ELEMENTS, FUNCTION_REPEATS = 4096, 8192
MULTIPLY_STEPS = 1 << 21


@dataclass(frozen=True)
class Limits:
    """One core.

    Attributes:
        bandwidth_curve: (working set in bytes, bytes a second read from it), ascending.
        multiply_adds_s: f32 multiply-adds a second.
        activation_ns: ns an element of each of our activations, and of a GRU's state update.
    """

    bandwidth_curve: tuple[tuple[int, float], ...]
    multiply_adds_s: float
    activation_ns: dict[str, float]

    def bandwidth(self, working_set: int) -> float:
        """Bytes a second read again and again from so many bytes.

        Between two measured sizes the time per byte is interpolated over the size's logarithm;
        beyond them it is that of the nearest.
        """
        sizes, rates = zip(*self.bandwidth_curve, strict=True)
        at = np.log(max(working_set, 1))
        return float(1 / np.interp(at, np.log(sizes), 1 / np.array(rates)))


Progress = Callable[[str], None]


def measure_limits(
    target: CpuTarget,
    working_sets: Sequence[int] = (),
    *,
    samples: int = 9,
    sample_s: float = 0.03,
    progress: Progress = lambda line: None,
) -> Limits:
    """Measures this machine; each figure is the fastest of its samples: a limit is no average.

    Args:
        target: what to compile for; must run here.
        working_sets: sizes in bytes to measure beside those of `CURVE`.
    """

    def fastest_s(call: Callable[[], object]) -> float:
        return min(times_us(call, samples, sample_s)) / 1e6

    read = Kernel("read", target)
    step = read.step * BYTES_PER_F32
    sizes = sorted({max(step, -(-size // step) * step) for size in (*CURVE, *working_sets)})
    curve = []
    for size in sizes:
        progress(f"reading {size:,} bytes")
        repeats = max(1, READ_BYTES // size)
        count = size // BYTES_PER_F32
        seconds = fastest_s(read.prepare(np.ones(count, np.float32), count, repeats))
        curve.append((size, size * repeats / seconds))
    progress("multiplying and adding")
    multiply = Kernel("multiply", target)
    x = np.linspace(0, 1, 2 + multiply.sums, dtype=np.float32)
    seconds = fastest_s(multiply.prepare(x, MULTIPLY_STEPS, 1))
    costs = {}
    for name in FUNCTIONS:
        progress(f"computing {name}")
        costs[name] = _function_ns(Kernel(name, target), fastest_s)
    return Limits(tuple(curve), MULTIPLY_STEPS * multiply.sums / seconds, costs)


def _function_ns(kernel: Kernel, fastest_s: Callable[[Callable[[], object]], float]) -> float:
    """ns an element, on numbers as gates see them."""
    x = np.random.default_rng(0).normal(scale=2, size=FUNCTION_ELEMENTS).astype(np.float32)
    seconds = fastest_s(kernel.prepare(x, x.size, FUNCTION_REPEATS))
    return seconds * 1e9 / (x.size * FUNCTION_REPEATS)
