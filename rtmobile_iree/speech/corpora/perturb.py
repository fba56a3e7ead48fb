"""Copies of training recordings at another speed and in noise (Ko et al., "Audio augmentation for
speech recognition", Interspeech 2015: speeds 0.9, 1.0 and 1.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.sounds import resampled, write_wav
from rtmobile_iree.speech.corpus import TIME_DIGITS, Entry
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ, read_audio

SPEEDS = (0.9, 1.0, 1.1)
SNR_DB = (5.0, 20.0)
BABBLERS = 4

NoiseKind = Literal["white", "pink", "babble"]
KINDS: tuple[NoiseKind, ...] = ("white", "pink", "babble")


@dataclass(frozen=True)
class Perturbed:
    """A task: an utterance of the training part, faster or slower, in noise.

    Attributes:
        entry: the utterance.
        number: of the copy, from 1.
        speed: 1.1 is a tenth faster.
        noise: its kind, or None.
        snr_db: power of the utterance over the noise's.
        babblers: WAV files of other training utterances, the voices of babble.
        seed: of the noise.
    """

    entry: Entry
    number: int
    speed: float
    noise: NoiseKind | None
    snr_db: float
    babblers: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        return f"{self.entry.name}~{self.number}"

    @property
    def recipe(self) -> str:
        how = f"{self.speed} {self.noise} {self.snr_db} {self.seed} {' '.join(self.babblers)}"
        return f"{self.entry.sha256} {how}"

    def make(self, folder: Path) -> Entry:
        """Writes the copy; times of its segments are scaled with it."""
        samples, rate = read_audio(folder / self.entry.audio)
        changed = resampled(samples, rate * self.speed, rate)
        if self.noise is not None:
            changed = add_noise(changed, self._noise(folder, len(changed)), self.snr_db)
        audio = f"{self.entry.audio.removesuffix('.wav')}~{self.number}.wav"
        sha256, count = write_wav(folder / audio, changed)
        return Entry(
            self.name,
            self.entry.speaker,
            "train",
            audio,
            sha256,
            count,
            self.entry.transcript,
            scaled(self.entry.segments, self.speed, count / rate),
        )

    def _noise(self, folder: Path, count: int) -> np.ndarray:
        generator = np.random.default_rng(self.seed)
        if self.noise == "babble":
            return babble([read_audio(folder / path)[0] for path in self.babblers], count)
        return colored(generator, count, 1.0 if self.noise == "pink" else 0.0)


def perturbations(entries: Sequence[Entry], copies: dict[str, int], seed: int) -> list[Perturbed]:
    """The copies to make of training utterances, each drawn from the seed and its name alone.

    Args:
        entries: of the training part, no copies among them.
        copies: of each speaker's utterances; those not named get 1.
    """
    files = sorted(entry.audio for entry in entries)
    return [
        _drawn(entry, number, files, random.Random(f"{seed} {entry.name} {number}"))
        for entry in entries
        for number in range(1, copies.get(entry.speaker, 1) + 1)
    ]


def scaled(
    segments: Sequence[tuple[float, float, str]], speed: float, end_s: float
) -> tuple[tuple[float, float, str], ...]:
    """Times of a recording played `speed` times as fast, the last ending with the sound."""
    ends = [round(end / speed, TIME_DIGITS) for _, end, _ in segments[:-1]]
    times = [0.0, *ends, round(end_s, TIME_DIGITS)]
    return tuple(
        (start, end, phone)
        for (start, end), (_, _, phone) in zip(pairwise(times), segments, strict=True)
    )


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """[S] f32 and [S] f32 -> [S] f32, the noise scaled to the ratio, all scaled down if too loud.

    Raises:
        InputError: silence, which has no ratio to noise.
    """
    power, disturbing = float(np.mean(samples**2)), float(np.mean(noise**2))
    if not power or not disturbing:
        raise InputError("silence cannot be mixed with noise at a ratio")
    mixed = samples + noise * np.sqrt(power / disturbing / 10 ** (snr_db / 10))
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def colored(generator: np.random.Generator, count: int, exponent: float) -> np.ndarray:
    """[count] noise with power falling as 1 / f**exponent; 0 is white, 1 is pink."""
    spectrum = np.fft.rfft(generator.normal(size=count))
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    frequencies[0] = frequencies[1] if count > 1 else 1.0
    return np.fft.irfft(spectrum / frequencies ** (exponent / 2), count)


def babble(voices: Sequence[np.ndarray], count: int) -> np.ndarray:
    """[count]: the voices at once, each equally loud and repeated to the length."""
    loudness = [max(float(np.sqrt(np.mean(voice**2))), 1e-6) for voice in voices]
    return np.sum(
        [np.resize(voice / level, count) for voice, level in zip(voices, loudness, strict=True)],
        axis=0,
    )


def _drawn(entry: Entry, number: int, files: Sequence[str], draw: random.Random) -> Perturbed:
    noise = draw.choice((None, *KINDS))
    # a copy that changes nothing would be no copy
    speed = draw.choice(SPEEDS) if noise else draw.choice((min(SPEEDS), max(SPEEDS)))
    others = [file for file in files if file != entry.audio]
    voices = draw.sample(others, min(BABBLERS, len(others))) if noise == "babble" else []
    if noise == "babble" and not voices:
        noise = "white"
    snr_db = round(draw.uniform(*SNR_DB), 1)
    return Perturbed(entry, number, speed, noise, snr_db, tuple(voices), draw.randrange(2**32))
