"""TIMIT (LDC93S1): read speech of 630 people, its phones labelled by hand.

The Linguistic Data Consortium's layout, in capitals or small letters:
`TRAIN/DR1/FCJF0/SI1027.WAV` with `.PHN`, `.TXT` and `.WRD` beside it. The sentences SA1 and SA2,
which everyone reads, are left out. TRAIN is for training, 24 speakers of TEST are the core test
set, 50 others are for validation, and the rest of TEST is not used.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.phones import LEFT_OUT, timit_table
from rtmobile_iree.speech.corpora.segments import Times, ended
from rtmobile_iree.speech.corpora.sounds import resampled, write_wav
from rtmobile_iree.speech.corpus import TIME_DIGITS, Entry, Split, file_sha256
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ, read_sound

# times in .PHN files are samples at this rate
RATE_HZ = 16000
KINDS = ("phn", "txt", "wav")
SENTENCE = re.compile(r"(train|test)/(dr[1-8])/([fm][a-z]{3}\d)/(s[ix]\d+)\.(wav|phn)")


@dataclass(frozen=True)
class Reading:
    """A task: one sentence read by one speaker.

    Attributes:
        region: `dr1` to `dr8`.
        stem: path of its files without their endings.
        files: the files by ending, in small letters, as `phn`.
    """

    region: str
    speaker: str
    sentence: str
    split: Split
    stem: str
    files: tuple[tuple[str, Path], ...]

    @property
    def name(self) -> str:
        return f"{self.split}/{self.region}/{self.speaker}/{self.sentence}"

    @property
    def recipe(self) -> str:
        return " ".join(f"{kind} {file_sha256(path)}" for kind, path in self.files)

    def make(self, folder: Path) -> Entry:
        """Resamples the sound; its labels are folded to the 48 of training.

        Raises:
            InputError: a file is missing, empty, cut short, not at 16 kHz, or not understood.
        """
        source = self._file("wav")
        samples, rate = read_sound(source)
        if rate != RATE_HZ:
            raise InputError(f"{source}: {rate} samples a second, not {RATE_HZ} as its labels")
        times = read_labels(self._file("phn"))
        if times[-1][1] > len(samples) / rate + 0.1:
            raise InputError(
                f"{source}: {len(samples) / rate:.2f} s, labels up to {times[-1][1]:.2f} s; "
                "one of the files is another's"
            )
        audio = f"{self.name}.wav"
        sha256, count = write_wav(folder / audio, resampled(samples, rate, SAMPLE_RATE_HZ))
        return Entry(
            self.name,
            self.speaker,
            self.split,
            audio,
            sha256,
            count,
            read_text(self._file("txt")),
            ended(times, count / SAMPLE_RATE_HZ),
        )

    def _file(self, kind: str) -> Path:
        found = dict(self.files).get(kind)
        if found is None:
            raise InputError(f"{self.stem}.{kind}: no such file, in capitals or small letters")
        return found


def readings(folder: Path) -> list[Reading]:
    """A task for each sentence of TRAIN, the validation and the core test speakers.

    Raises:
        InputError: no folder, or nothing in it looks like TIMIT.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one with TIMIT's TRAIN and TEST")
    found: dict[tuple[str, ...], dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        match = SENTENCE.fullmatch("/".join(path.parts[-4:]).lower())
        if match:
            found.setdefault(match.groups()[:4], {})[match[5]] = path
    if not found:
        raise InputError(
            f"{folder}: no TRAIN/DR1/FCJF0/SI1027.WAV or the like; name TIMIT's folder, "
            "as LDC93S1 has it"
        )
    return list(_tasks(found))


def missing_speakers(tasks: list[Reading]) -> list[str]:
    """Speakers of the validation and test parts that nothing was found of."""
    return sorted(set(split_speakers()) - {task.speaker for task in tasks})


@functools.cache
def split_speakers() -> dict[str, Split]:
    """Speakers of TEST that are used: in the core test set, or for validation."""
    file = resources.files("rtmobile_iree.speech.corpora") / "timit_speakers.tsv"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return {
        speaker: "test" if split == "test" else "valid"
        for speaker, split in csv.reader(lines, delimiter="\t")
    }


def read_labels(path: Path) -> Times:
    """A .PHN file as (start_s, end_s, one of 48 labels); a glottal stop joins its neighbour.

    Raises:
        InputError: empty, a line that is no label, gaps, or times that run backwards.
    """
    trained, _ = timit_table()
    times: list[tuple[float, float, str]] = []
    at = 0
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if not match or match[3] not in {*trained, LEFT_OUT}:
            raise InputError(f"{path}:{number}: {line!r} is no `start end label` of TIMIT")
        start, end = int(match[1]), int(match[2])
        if (times and start != at) or end <= start:
            raise InputError(f"{path}:{number}: {line!r} does not follow sample {at}")
        _add(times, end / RATE_HZ, trained.get(match[3]))
        at = end
    if not times:
        raise InputError(f"{path}: no labels in it")
    return tuple(times)


def read_text(path: Path) -> str:
    """The words of a .TXT file, without its two sample numbers."""
    return re.sub(r"^\s*\d+\s+\d+\s+", "", path.read_text(errors="replace")).strip()


def _tasks(found: dict[tuple[str, ...], dict[str, Path]]) -> Iterator[Reading]:
    for (part, region, speaker, sentence), files in found.items():
        split: Split | None = "train" if part == "train" else split_speakers().get(speaker)
        if split is None:
            continue
        any_file = next(iter(files.values()))
        beside = {path.suffix[1:].lower(): path for path in _siblings(any_file)}
        kept = tuple(
            sorted((kind, beside[kind]) for kind in ("wav", "phn", "txt") if kind in beside)
        )
        yield Reading(region, speaker, sentence, split, str(any_file.with_suffix("")), kept)


@functools.cache
def _folder(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.iterdir()))


def _siblings(path: Path) -> list[Path]:
    return [other for other in _folder(path.parent) if other.stem.lower() == path.stem.lower()]


def _add(times: list[tuple[float, float, str]], end_s: float, label: str | None) -> None:
    """Adds a label that ends there; None is added to the one before."""
    end_s = round(end_s, TIME_DIGITS)
    start_s = times[-1][1] if times else 0.0
    if label is not None:
        times.append((start_s, end_s, label))
    elif times:
        times[-1] = (times[-1][0], end_s, times[-1][2])
