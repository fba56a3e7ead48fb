"""Speech through a stream: blocks of samples -> frames -> chunks, each timed. `rtmobile stream`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ
from rtmobile_iree.speech.online import OnlineLogMel
from rtmobile_iree.streaming import Stream

# steps whose times are kept for the median and the 99th percentile: the latest
KEPT_TIMES = 100_000


@dataclass
class Tally:
    """What has been heard so far, and how long it took on this machine.

    Attributes:
        frames: run through the program.
        samples: heard.
        busy_s: seconds spent on features and the program; waiting for sound does not count.
        steps_s: seconds of the latest steps of full chunks.
    """

    frames: int = 0
    samples: int = 0
    busy_s: float = 0.0
    steps_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))

    @property
    def audio_s(self) -> float:
        return self.samples / SAMPLE_RATE_HZ

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.busy_s if self.busy_s else 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of work a second of sound; below 1 it keeps up."""
        return self.busy_s / self.audio_s if self.samples else 0.0

    def step_us(self, percentile: float) -> float:
        """Microseconds of a step; NaN before the first."""
        return float(np.percentile(self.steps_s, percentile)) * 1e6 if self.steps_s else np.nan


def run_live(
    stream: Stream, blocks: Iterable[np.ndarray], tally: Tally, chunk: int = 1
) -> Iterator[np.ndarray]:
    """Runs sound through a stream, and yields the outputs of each chunk as they come.

    Args:
        blocks: samples [S] f32, 8 kHz.
        tally: is kept up to date.
        chunk: frames a step; the last may have fewer, where the program takes any number.

    Yields:
        What `Stream.step` returns: copy it to keep it.

    Raises:
        InputError: a program whose frames are no log-mel frames of one sequence.
    """
    bands = stream.frames.shape[-1] if stream.frames.shape else None
    if bands is None:
        raise InputError(f"frames {stream.frames}: the number of features is open; fix it")
    bank = OnlineLogMel(bands)
    waiting = np.empty((0, bands), np.float32)
    for block in blocks:
        start = time.perf_counter()
        waiting = np.concatenate([waiting, bank.accept(block)])
        tally.samples += len(block)
        tally.busy_s += time.perf_counter() - start
        while len(waiting) >= chunk:
            yield _timed_step(stream, waiting[:chunk], tally)
            waiting = waiting[chunk:]
    if len(waiting) and None in stream.frames.shape:
        yield _timed_step(stream, waiting, tally, counts=False)


def _timed_step(
    stream: Stream, frames: np.ndarray, tally: Tally, counts: bool = True
) -> np.ndarray:
    """One step; `counts`: among those whose times are kept."""
    start = time.perf_counter()
    result = stream.step(frames)
    seconds = time.perf_counter() - start
    tally.frames += len(frames)
    tally.busy_s += seconds
    if counts:
        tally.steps_s.append(seconds)
    return result[0] if isinstance(result, tuple) else result
