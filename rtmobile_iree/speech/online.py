"""Sound as it comes: blocks of samples from a file or a pipe, and their log-mel frames at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.features import (
    BANDS,
    MIN_DEVIATION,
    PCM_SCALE,
    SAMPLE_RATE_HZ,
    filter_bank,
    read_audio,
)

BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10  # 100 ms, what sound cards and phones hand over at a time
SAMPLE_BYTES = 2


def file_blocks(path: str | Path) -> Iterator[np.ndarray]:
    """Samples [S] f32 of an audio file, a block at a time.

    Raises:
        InputError: see `read_audio`.
    """
    samples, _ = read_audio(path)
    for start in range(0, len(samples), BLOCK_SAMPLES):
        yield samples[start : start + BLOCK_SAMPLES]


def pcm_blocks(source: BinaryIO, rate_hz: int) -> Iterator[np.ndarray]:
    """Samples [S] f32 of raw PCM, 16-bit little-endian, one channel, as they arrive.

    Args:
        source: unbuffered or buffered; read until it ends.

    Raises:
        InputError: another rate than 8000, or an end in the middle of a sample.
    """
    if rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"--rate {rate_hz}: resample it to {SAMPLE_RATE_HZ}")
    read = getattr(source, "read1", source.read)
    rest = b""
    while data := read(BLOCK_SAMPLES * SAMPLE_BYTES):
        data = rest + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / PCM_SCALE
    if rest:
        raise InputError("raw PCM ends in the middle of a sample; it must be 16-bit (s16le)")


class OnlineRawLogMel:
    """`raw_log_mel`'s frames of samples that keep coming.

    Args:
        bands: features of a frame.

    Raises:
        InputError: no filter bank has so many.
    """

    def __init__(self, bands: int = BANDS) -> None:
        self._bank, self._bands, self._count = filter_bank(bands), bands, 0

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """The frames [N, bands] f32 that these samples [S] complete; N may be 0."""
        bank = self._bank
        bank.accept_waveform(SAMPLE_RATE_HZ, (samples * PCM_SCALE).tolist())
        ready = range(self._count, bank.num_frames_ready)
        raw = np.array([bank.get_frame(i) for i in ready], np.float32).reshape(-1, self._bands)
        bank.pop(len(raw))
        self._count += len(raw)
        return raw


class OnlineLogMel:
    """Log-mel frames of samples that keep coming.

    Each band is shifted and scaled to mean 0 and deviation 1 over the frames so far, since those to
    come are not known: towards the end of a recording, `log_mel`'s frames.

    Args:
        bands: features of a frame.

    Raises:
        InputError: no filter bank has so many.
    """

    def __init__(self, bands: int) -> None:
        self._raw = OnlineRawLogMel(bands)
        self._count = 0
        self._sum, self._squares = np.zeros(bands), np.zeros(bands)

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """The frames [N, bands] f32 that these samples [S] complete; N may be 0."""
        raw = self._raw.accept(samples).astype(np.float64)
        if not len(raw):
            return raw.astype(np.float32)
        sums = self._sum + raw.cumsum(axis=0)
        squares = self._squares + (raw**2).cumsum(axis=0)
        counts = np.arange(self._count + 1, self._count + len(raw) + 1)[:, None]
        mean = sums / counts
        deviation = np.sqrt(np.maximum(squares / counts - mean**2, MIN_DEVIATION**2))
        self._count += len(raw)
        self._sum, self._squares = sums[-1], squares[-1]
        return ((raw - mean) / deviation).astype(np.float32)
