"""Log-mel frames of recorded speech, the model's input.

The first step of `rtmobile demo`. Frames follow the field's habit (Kaldi): 25 ms windows every
10 ms, 40 mel bands, natural logarithm; `kaldi-native-fbank` computes them, `soundfile` reads audio.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import kaldi_native_fbank
import numpy as np
import soundfile

from rtmobile_iree.errors import InputError

SAMPLE_RATE_HZ = 8000
WINDOW_MS = 25.0
HOP_MS = 10.0
BANDS = 40
# Kaldi's floor under the logarithm is meant for samples in 16-bit units
PCM_SCALE = 32768
# a band that never changes (silence) is divided by this, not by its zero deviation
MIN_DEVIATION = 1e-3
# what a program that streams a WAV file writes for a length it does not know yet
UNKNOWN_SIZE = 0xFFFFFFFF


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        name: file name.
        transcript: what is said.
        samples: [S] f32 in -1 to 1, one channel.
        rate_hz: samples a second.
    """

    name: str
    transcript: str
    samples: np.ndarray
    rate_hz: int


def load_clips() -> tuple[Clip, ...]:
    """The recordings shipped with the package, about 17 s of one speaker at 8 kHz.

    Their licence (CC-BY-SA 3.0) lies beside them in `speech/clips/LICENSE`.
    """
    folder = resources.files("rtmobile_iree.speech") / "clips"
    with resources.as_file(folder) as path:
        with (path / "transcripts.tsv").open(newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))
        return tuple(Clip(name, text, *read_audio(path / name)) for name, text in rows)


def clip_frames() -> np.ndarray:
    """Log-mel frames of all shipped clips one after the other, [T, 40] f32, T over 1,000."""
    return np.concatenate([log_mel(clip.samples, clip.rate_hz) for clip in load_clips()])


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads a one-channel 8 kHz audio file of any format libsndfile knows.

    Returns:
        samples: [S] f32 in -1 to 1.
        rate_hz: 8000.

    Raises:
        InputError: no such file, not audio, cut short, stereo, or another sample rate.
    """
    samples, rate = read_sound(path)
    if rate != SAMPLE_RATE_HZ:
        raise InputError(f"{path}: {rate} samples a second; resample it to {SAMPLE_RATE_HZ}")
    return samples, rate


def read_sound(path: str | Path) -> tuple[np.ndarray, int]:
    """Reads a one-channel audio file of any sample rate, as `read_audio` does.

    Raises:
        InputError: no such file, not audio, cut short or stereo.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        with soundfile.SoundFile(path) as file:
            expected, rate, channels = file.frames, file.samplerate, file.channels
            samples = file.read(dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).replace(str(path), "the file").rstrip(".")
        raise InputError(f"{path}: not readable as audio ({reason}); use WAV or FLAC") from error
    if channels != 1:
        raise InputError(f"{path}: {channels} channels; mix it down to 1")
    expected = max(expected, declared_samples(path))
    if len(samples) < expected:
        raise InputError(
            f"{path}: cut short, {len(samples)} of {expected} samples are there; "
            "fetch the whole file"
        )
    return samples, rate


def declared_samples(path: Path) -> int:
    """Samples that a plain 16-bit RIFF or NIST SPHERE header promises, 0 for any other file.

    libsndfile quietly shortens a file whose end is missing, so its header is asked.
    """
    head = path.read_bytes()[:4096]
    if head.startswith(b"NIST_1A"):
        count = re.search(rb"^sample_count -i (\d+)", head, re.MULTILINE)
        return int(count[1]) if count else 0
    data = head.find(b"data")
    if head[:4] != b"RIFF" or data < 0 or head[34:36] != b"\x10\x00":
        return 0
    size_bytes = int.from_bytes(head[data + 4 : data + 8], "little")
    return 0 if size_bytes == UNKNOWN_SIZE else size_bytes // 2


def log_mel(samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Log-mel frames, each band shifted and scaled to mean 0 and deviation 1 over the recording.

    Args:
        samples: [S] in -1 to 1, one channel; at least one window (25 ms).
        rate_hz: samples a second, 8000.

    Returns:
        [T, 40] f32, T = 1 + (S - 200) // 80 frames of 10 ms.

    Raises:
        InputError: another shape or rate, too few samples, or NaN or infinite ones.
    """
    frames = raw_log_mel(samples, rate_hz)
    deviation = np.maximum(frames.std(axis=0), MIN_DEVIATION)
    return ((frames - frames.mean(axis=0)) / deviation).astype(np.float32)


def raw_log_mel(samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Log-mel frames as they are, for models that normalise them themselves.

    Arguments, shape and errors as `log_mel`'s.
    """
    samples = np.asarray(samples)
    check_samples(samples, rate_hz)
    bank = filter_bank(BANDS)
    bank.accept_waveform(rate_hz, (samples.astype(np.float32) * PCM_SCALE).tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)]).astype(np.float32)


def filter_bank(bands: int) -> Any:
    """Kaldi's filter bank with our windows, at 8 kHz.

    Raises:
        InputError: too few bands, or too many for the windows.
    """
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE_HZ
    options.frame_opts.frame_length_ms = WINDOW_MS
    options.frame_opts.frame_shift_ms = HOP_MS
    options.frame_opts.dither = 0.0  # dither is random; equal samples must give equal frames
    options.mel_opts.num_bins = bands
    try:
        return kaldi_native_fbank.OnlineFbank(options)
    except ValueError as error:
        raise InputError(
            f"frames of {bands} mel bands: {str(error).rstrip('.')}; use about 3 to 80"
        ) from error


def check_samples(samples: np.ndarray, rate_hz: int) -> None:
    """Raises an `InputError` for samples that `log_mel` cannot take."""
    if samples.ndim != 1:
        raise InputError(f"audio samples {list(samples.shape)}: one channel [S] is needed")
    if rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"audio at {rate_hz} samples a second; resample it to {SAMPLE_RATE_HZ}")
    window = int(rate_hz * WINDOW_MS / 1000)
    if len(samples) < window:
        raise InputError(
            f"audio of {len(samples)} samples; one {WINDOW_MS:g} ms window takes {window}"
        )
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise InputError(f"audio sample {bad} is {samples[bad]}; samples must be finite")
