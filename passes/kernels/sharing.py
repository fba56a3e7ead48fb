"""How a stack of layers is shared out to several workers, decided while compiling.

Wavefront: whoever is free takes the next chunk of a layer whose input is there (`wavefront`).
Stripes: all run every layer, and share its matrices (`team`): for single layers. Stripes meet once
a layer and step, and so pay for large matrices only. Short calls are left to one worker: to wake
another takes longer than it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Measured on 2 virtual cores of a Zen 4, and of that order on phones. They decide who runs, never
# what is computed.
READ = 100.0  # bytes of weights a core reads in a nanosecond
MEET_NS = 5_000  # to meet, and to read the other's sums; 1,000 where the cores share a cache
WAKE_NS = 100_000  # until a second worker runs, on IREE's local-task


@dataclass(frozen=True)
class Sharing:
    """Who runs what.

    Attributes:
        workers: most workers there may be.
        stripes: whether they share every matrix; else they take chunks of layers.
        least_steps: steps from which a call is shared at all.
    """

    workers: int = 1
    stripes: bool = False
    least_steps: int = 0

    @property
    def is_wavefront(self) -> bool:
        """Whether workers take chunks of layers."""
        return self.workers > 1 and not self.stripes


def plan_sharing(bytes_a_step: Sequence[float], workers: int) -> Sharing:
    """Chooses what saves most time a step.

    Args:
        bytes_a_step: weights each layer reads a step.
        workers: how many there are.
    """
    costs = [size / READ for size in bytes_a_step]
    everything, busy = sum(costs), min(workers, len(costs))
    by_wavefront = everything - max(max(costs), everything / busy)
    by_stripes = everything * (1 - 1 / workers) - len(costs) * MEET_NS
    saved = max(by_wavefront, by_stripes)
    if workers == 1 or saved <= 0:
        return Sharing()
    stripes = by_stripes > by_wavefront
    return Sharing(workers if stripes else busy, stripes, max(2, int(WAKE_NS / saved) + 1))
