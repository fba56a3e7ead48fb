"""A corpus: recordings with transcripts and phone labels, as training and scoring read it.

A preparation command (`rtmobile corpus`) writes a folder of WAV files and one `corpus.json`, the
manifest; `open_corpus` reads it and checks every file against the length and SHA-256 it names.
All audio is one channel, 16 bits, at `features.SAMPLE_RATE_HZ`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pydantic

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.features import read_audio

SCHEMA = 1
MANIFEST = "corpus.json"
SILENCE = "sil"
SPLITS = ("train", "valid", "test")
# the grid of times in the manifest; a sample of 16 kHz lasts 62.5 us
TIME_DIGITS = 5

Split = Literal["train", "valid", "test"]
OnBad = Literal["skip", "stop"]


@dataclass(frozen=True)
class Segment:
    """One phone: from `start_s` to `end_s` seconds into the recording."""

    start_s: float
    end_s: float
    phone: str


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes:
        name: unique in its corpus.
        speaker: who speaks, a person or a synthetic voice.
        split: what it may be used for.
        audio: WAV file, one channel at 8 kHz.
        transcript: the words.
        segments: phones in order, without gaps, from 0 to the end of the audio; `sil` where
            nobody speaks.
    """

    name: str
    speaker: str
    split: Split
    audio: Path
    transcript: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Corpus:
    """Utterances with one set of phones.

    Attributes:
        name: of the corpus, as `timit`.
        phones: labels of the segments, the classes of training.
        folding: training label -> label scored; Lee and Hon's 39 with `sil` among them.
        utterances: those whose files are whole, in the manifest's order.
        left_out: a line for each file that is not, its path first and then the reason.
    """

    name: str
    phones: tuple[str, ...]
    folding: Mapping[str, str]
    utterances: tuple[Utterance, ...]
    left_out: tuple[str, ...] = ()

    def split(self, name: Split) -> tuple[Utterance, ...]:
        """The utterances of one split.

        Raises:
            InputError: no such split, or nothing in it.
        """
        chosen = tuple(one for one in self.utterances if one.split == name)
        if chosen:
            return chosen
        has = sorted({one.split for one in self.utterances}, key=SPLITS.index)
        raise InputError(f"corpus {self.name}: nothing in split {name!r}; it has {has}")


@dataclass(frozen=True)
class Entry:
    """A line of the manifest: an utterance, its file as it was written.

    Attributes:
        audio: path relative to the manifest's folder.
        sha256: of the file.
        samples: at `features.SAMPLE_RATE_HZ`.
        segments: (start_s, end_s, phone).
    """

    name: str
    speaker: str
    split: Split
    audio: str
    sha256: str
    samples: int
    transcript: str
    segments: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Manifest:
    """What `corpus.json` holds.

    Attributes:
        schema_version: `SCHEMA`.
        sources: where the recordings are from and their licences, a line each.
        left_out: a line for each recording that preparation could not use, and why.
    """

    schema_version: int
    name: str
    phones: tuple[str, ...]
    folding: dict[str, str]
    sources: tuple[str, ...]
    left_out: tuple[str, ...]
    utterances: tuple[Entry, ...]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `corpus.json`, a line an utterance, under a temporary name first."""
    fields = asdict(manifest)
    entries = ",\n".join(json.dumps(entry) for entry in fields.pop("utterances"))
    head = json.dumps(fields, indent=1)[: -len("\n}")]
    text = f'{head},\n "utterances": [\n{entries}\n]\n}}\n'
    write_atomically(folder / MANIFEST, text.encode())


def read_manifest(folder: str | Path) -> Manifest:
    """Reads `corpus.json`; the files it names are not looked at.

    Raises:
        InputError: no manifest, not JSON, another schema, or fields that make no sense.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{path}: no such file; make the corpus with `rtmobile corpus`")
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); make the corpus again") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version != SCHEMA:
        raise InputError(f"{path}: schema {version}, this version reads {SCHEMA}; make it again")
    try:
        manifest = pydantic.TypeAdapter(Manifest).validate_python(fields)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}; make the corpus again") from error
    _check(path, manifest)
    return manifest


def open_corpus(folder: str | Path, on_bad: OnBad = "stop") -> Corpus:
    """The corpus in `folder`, every file of it checked.

    Args:
        folder: where `corpus.json` lies.
        on_bad: "skip" leaves out utterances whose files are missing, empty, cut short, changed or
            of another sample rate, and names each in `Corpus.left_out`; "stop" raises for them.

    Raises:
        InputError: no usable manifest, or bad files under "stop", or no good one under "skip".
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    good, bad = [], []
    for entry in manifest.utterances:
        reason = bad_file(folder, entry)
        if reason is None:
            good.append(_utterance(folder, entry))
        else:
            bad.append(reason)
    if bad and (on_bad == "stop" or not good):
        more = f", and {len(bad) - 1} more files like it" if len(bad) > 1 else ""
        raise InputError(f"{bad[0]}{more}; make the corpus again, it repairs what is bad")
    return Corpus(manifest.name, manifest.phones, manifest.folding, tuple(good), tuple(bad))


def bad_file(folder: Path, entry: Entry) -> str | None:
    """What is wrong with an entry's file, path first, or None."""
    path = folder / entry.audio
    try:
        samples, _ = read_audio(path)
    except InputError as error:
        return str(error)
    if len(samples) != entry.samples:
        return f"{path}: {len(samples)} samples, {entry.samples} in {MANIFEST}"
    if file_sha256(path) != entry.sha256:
        return f"{path}: SHA-256 is not the one in {MANIFEST}; the file was changed"
    return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _utterance(folder: Path, entry: Entry) -> Utterance:
    segments = tuple(Segment(*segment) for segment in entry.segments)
    return Utterance(
        entry.name, entry.speaker, entry.split, folder / entry.audio, entry.transcript, segments
    )


def _check(path: Path, manifest: Manifest) -> None:
    """Raises an `InputError` for a manifest whose parts do not fit each other."""
    unfolded = set(manifest.phones) - set(manifest.folding)
    if unfolded:
        raise InputError(f"{path}: folding: no label to score {min(unfolded)!r} as; make it again")
    names: set[str] = set()
    for entry in manifest.utterances:
        if entry.name in names:
            raise InputError(f"{path}: utterance {entry.name} is there twice; make it again")
        names.add(entry.name)
        _check_segments(path, entry, manifest.phones)


def _check_segments(path: Path, entry: Entry, phones: tuple[str, ...]) -> None:
    at = 0.0
    for start_s, end_s, phone in entry.segments:
        if phone not in phones:
            raise InputError(f"{path}: {entry.name}: unknown phone {phone!r}; make it again")
        if start_s != at or end_s <= start_s:
            raise InputError(
                f"{path}: {entry.name}: {phone} from {start_s} to {end_s} s does not follow "
                f"{at} s; make it again"
            )
        at = end_s
