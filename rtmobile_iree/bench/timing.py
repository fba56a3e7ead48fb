"""Timing of calls made from Python, for the peers that are Python libraries.

A sample is the mean over enough calls to last `sample_s`, as iree-benchmark-module does it for
compiled modules, so that both report the same statistic.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def times_us(call: Callable[[], object], samples: int, sample_s: float) -> list[float]:
    """Microseconds a call, one mean a sample; one untimed call and one pilot sample go first."""
    call()
    calls = calls_for(call, sample_s)
    gc.collect()
    gc.disable()
    try:
        return [_mean_us(call, calls) for _ in range(samples)]
    finally:
        gc.enable()


def calls_for(call: Callable[[], object], sample_s: float) -> int:
    """How many calls take `sample_s`, by doubling, at least 1."""
    calls = 1
    while True:
        seconds = _mean_us(call, calls) * calls / 1e6
        if seconds >= sample_s / 2:
            return max(1, round(calls * sample_s / seconds))
        calls *= 2


def _mean_us(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls / 1000
