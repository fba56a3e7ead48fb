"""Engines that are called from Python, in the fastest of their configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from rtmobile_iree.bench.timing import times_us

# enough to tell configurations apart that differ by a few percent
TRIAL_ROUNDS, TRIAL_SAMPLE_S = 3, 0.1


@dataclass(frozen=True)
class Configuration:
    """One way to run the model.

    Attributes:
        name: what sets it apart.
        call: runs it once.
        outputs: runs it once and returns what it computed, shaped as PyTorch's.
    """

    name: str
    call: Callable[[], object]
    outputs: Callable[[], Sequence[np.ndarray]]


class FastestCall:
    """A contender: the fastest of its configurations, each timed for a moment when it starts.

    Args:
        configurations: all of them loaded.
        around: entered around every call that is timed or whose outputs are asked for.
    """

    def __init__(
        self,
        configurations: Sequence[Configuration],
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._around = around
        self._chosen, self.tried = configurations[0], ""
        if len(configurations) > 1:
            # in turns, so that a drift of the machine hits all of them
            rounds = [
                [self._times(c, 1, TRIAL_SAMPLE_S)[0] for c in configurations]
                for _ in range(TRIAL_ROUNDS)
            ]
            times = np.min(rounds, axis=0)
            self._chosen = configurations[int(np.argmin(times))]
            self.tried = ", ".join(
                f"{c.name} {time:.0f} us" for c, time in zip(configurations, times, strict=True)
            )
        self.description = self._chosen.name

    def outputs(self) -> Sequence[np.ndarray]:
        with self._around():
            return self._chosen.outputs()

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        return self._times(self._chosen, samples, sample_s)

    def _times(self, configuration: Configuration, samples: int, sample_s: float) -> list[float]:
        with self._around():
            return times_us(configuration.call, samples, sample_s)
