"""A corpus as training and scoring read it: frames, phone numbers, references. Frames are cached.

The cache, `frames.safetensors` beside the manifest, holds the log-mel frames of all recordings one
after the other. It names the SHA-256 of what it was made from (recordings and the features' own
settings) and of what it holds; where either differs, it is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech import features
from rtmobile_iree.speech.corpus import (
    SILENCE,
    Corpus,
    OnBad,
    Split,
    Utterance,
    file_sha256,
    open_corpus,
)

CACHE = "frames.safetensors"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Item:
    """One utterance, ready.

    Attributes:
        frames: [T, 40] f32, `raw_log_mel`'s.
        utterance: what it is of.
    """

    frames: np.ndarray
    utterance: Utterance

    @property
    def name(self) -> str:
        return self.utterance.name

    def labels(self, phones: tuple[str, ...], stack: int) -> np.ndarray:
        """[T // stack] i64, number of the phone in the middle of every `stack` frames."""
        segments = self.utterance.segments
        numbers = np.array([phones.index(segment.phone) for segment in segments])
        ends = np.array([segment.end_s for segment in segments])
        middle_s = ((stack - 1) * features.HOP_MS + features.WINDOW_MS) / 2 / 1000
        times = np.arange(len(self.frames) // stack) * (stack * features.HOP_MS / 1000) + middle_s
        found = np.searchsorted(ends, times, side="right")
        labels: np.ndarray = numbers[np.minimum(found, len(numbers) - 1)]
        return labels


@dataclass(frozen=True)
class Dataset:
    """A corpus with its frames."""

    corpus: Corpus
    items: tuple[Item, ...]

    def split(self, name: Split) -> tuple[Item, ...]:
        """The items of one split.

        Raises:
            InputError: nothing in it.
        """
        self.corpus.split(name)
        return tuple(item for item in self.items if item.utterance.split == name)

    def reference(self, item: Item) -> list[str]:
        """The phones to find: folded, without silence."""
        return fold(self.corpus, [segment.phone for segment in item.utterance.segments])


def fold(corpus: Corpus, phones: list[str]) -> list[str]:
    """Training labels as they are scored: folded, silence left out."""
    folded = (corpus.folding[phone] for phone in phones)
    return [phone for phone in folded if phone != SILENCE]


def open_dataset(
    folder: str | Path,
    on_bad: OnBad = "stop",
    progress: Progress = lambda line: None,
    *,
    cache: bool = True,
) -> Dataset:
    """Opens a corpus; computes its frames, or takes those of the cache.

    Args:
        cache: False leaves the folder as it is.

    Raises:
        InputError: as `open_corpus`; a recording shorter than one window.
        OSError: the cache cannot be written.
    """
    corpus = open_corpus(folder, on_bad)
    path = Path(folder) / CACHE
    source = _digest(corpus)
    cached = _read_cache(path, source) if cache else None
    if cached is None:
        progress(f"computing frames of {len(corpus.utterances):,} recordings")
        cached = _all_frames(corpus)
        if cache:
            _write_cache(path, source, *cached)
    frames, lengths = cached
    parts = np.split(frames, np.cumsum(lengths)[:-1])
    return Dataset(corpus, tuple(map(Item, parts, corpus.utterances)))


def _all_frames(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Frames of all utterances one after the other, and how many each has."""
    each = [_frames(utterance) for utterance in corpus.utterances]
    return np.concatenate(each), np.array([len(frames) for frames in each])


def _frames(utterance: Utterance) -> np.ndarray:
    try:
        return features.raw_log_mel(*features.read_audio(utterance.audio))
    except InputError as error:
        raise InputError(f"{utterance.audio}: {error}") from error


def _digest(corpus: Corpus) -> str:
    """SHA-256 of what the frames depend on."""
    settings = (features.SAMPLE_RATE_HZ, features.WINDOW_MS, features.HOP_MS, features.BANDS)
    digest = hashlib.sha256(repr(settings).encode())
    for utterance in corpus.utterances:
        digest.update(f"{utterance.name} {file_sha256(utterance.audio)}\n".encode())
    return digest.hexdigest()


def _read_cache(path: Path, source: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames and lengths, or None where there are none of this source, or not whole."""
    try:
        with safe_open(path, framework="numpy") as file:
            made_from, _, holds = (file.metadata() or {}).get("sha256", "").partition(" ")
            if made_from != source:
                return None
            frames, lengths = file.get_tensor("frames"), file.get_tensor("lengths")
    except (FileNotFoundError, SafetensorError):
        return None
    return (frames, lengths) if holds == _sha256(frames) else None


def _write_cache(path: Path, source: str, frames: np.ndarray, lengths: np.ndarray) -> None:
    # one key: safetensors writes several in any order, and equal frames should give equal files
    metadata = {"sha256": f"{source} {_sha256(frames)}"}
    write_atomically(path, save({"frames": frames, "lengths": lengths}, metadata))


def _sha256(frames: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()
