"""Samples between files and rates: every corpus ends as 16-bit WAV at `SAMPLE_RATE_HZ`."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ

# a corpus of shorter sounds cannot be learned from: one window of features
MIN_S = 0.025


def resampled(samples: np.ndarray, rate_hz: float, to_hz: float) -> np.ndarray:
    """[S] f32 at one rate -> [S * to_hz / rate_hz] f32 at another, band-limited."""
    if rate_hz == to_hz:
        return samples
    return soxr.resample(samples.astype(np.float32), rate_hz, to_hz)


def read_g722(path: Path) -> np.ndarray:
    """A raw G.722 file, 64 kbit/s -> [S] f32 at 16 kHz.

    Raises:
        InputError: no such file, an empty one, or not G.722.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        with av.open(str(path), format="g722") as file:
            blocks = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{path}: not readable as G.722 ({error})") from error
    if not blocks:
        raise InputError(f"{path}: no sound in it")
    return np.concatenate(blocks).astype(np.float32) / 32768


def write_wav(path: Path, samples: np.ndarray) -> tuple[str, int]:
    """Writes [S] f32 at `SAMPLE_RATE_HZ` as 16-bit WAV, under a temporary name first.

    Returns:
        The file's SHA-256 and its number of samples.

    Raises:
        InputError: under 25 ms of sound, or samples that are not finite.
    """
    if len(samples) < MIN_S * SAMPLE_RATE_HZ:
        raise InputError(f"{path.stem}: {len(samples)} samples; {MIN_S * 1000:g} ms are needed")
    if not np.isfinite(samples).all():
        raise InputError(f"{path.stem}: samples that are not finite")
    file = io.BytesIO()
    clipped = np.clip(samples, -1, 1 - 2**-15)
    soundfile.write(file, clipped, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = file.getvalue()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest(), len(samples)
