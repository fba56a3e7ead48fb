"""The corpus that anyone can have: Asterisk's recorded prompts and synthetic voices.

One person, Allison Smith, speaks the prompts; they are split by sentence. Synthetic voices speak
the training part's sentences and WordNet's examples; one of them is never trained on and makes a
corpus of its own, `unseen-voice/`, beside the first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.alignment import RATE_HZ, align, unknown_words
from rtmobile_iree.speech.corpora.segments import ended
from rtmobile_iree.speech.corpora.sounds import read_g722, resampled, write_wav
from rtmobile_iree.speech.corpora.sources import SOUNDS, transcripts
from rtmobile_iree.speech.corpora.transcripts import Words, groups, split_groups, words_of
from rtmobile_iree.speech.corpora.voices import Voice, speak
from rtmobile_iree.speech.corpus import Entry, Split, file_sha256
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ, load_clips, read_sound

SPEAKER = "allison"
# shares of the recordings' time
VALID_SHARE = 0.1
TEST_SHARE = 0.15
# a program says what it is told to, in sound that pocketsphinx's model of people fits less
WORST_SYNTHETIC = -40.0


@dataclass(frozen=True)
class Recording:
    """A task: one prompt, its labels from the 16 kHz copy of the same recording.

    Attributes:
        prompt: name in the package, as `digits/1`.
        sounds: folder of the recordings.
    """

    prompt: str
    words: Words
    split: Split
    sounds: Path

    @property
    def name(self) -> str:
        return f"{SPEAKER}/{self.prompt}"

    @property
    def recipe(self) -> str:
        source = self.sounds / f"{self.prompt}.wav"
        digest = file_sha256(source) if source.is_file() else "none"
        return f"{digest} {self.split} {' '.join(self.words)}"

    def make(self, folder: Path) -> Entry:
        """Copies the sound as it is.

        Raises:
            InputError: a file of the prompt is missing, empty, cut short or not at its rate.
        """
        source = self.sounds / f"{self.prompt}.wav"
        samples, rate = read_sound(source)
        if rate != SAMPLE_RATE_HZ:
            raise InputError(f"{source}: {rate} samples a second, not {SAMPLE_RATE_HZ}")
        wide = read_g722(self.sounds / f"{self.prompt}.g722")
        if abs(len(wide) / RATE_HZ - len(samples) / rate) > 0.1:
            raise InputError(
                f"{source}: {len(samples) / rate:.2f} s, {len(wide) / RATE_HZ:.2f} s "
                "as G.722; one is cut short"
            )
        times = ended(align(wide, self.words), len(samples) / rate)
        audio = f"{self.name}.wav"
        sha256, count = write_wav(folder / audio, samples)
        return Entry(
            self.name, SPEAKER, self.split, audio, sha256, count, " ".join(self.words), times
        )


@dataclass(frozen=True)
class Synthesis:
    """A task: a sentence in a synthetic voice.

    Attributes:
        number: of the sentence with this voice.
        debian: where the programs are unpacked.
    """

    voice: Voice
    number: int
    words: Words
    split: Split
    debian: Path

    @property
    def name(self) -> str:
        return f"{self.voice.name}/{self.number:04d}"

    @property
    def recipe(self) -> str:
        return f"{self.voice} {self.split} {' '.join(self.words)}"

    def make(self, folder: Path) -> Entry:
        """Speaks, aligns and writes it."""
        samples, rate = speak(self.debian, self.voice, self.words)
        narrow = resampled(samples, rate, SAMPLE_RATE_HZ)
        times = align(resampled(samples, rate, RATE_HZ), self.words, WORST_SYNTHETIC)
        audio = f"{self.name}.wav"
        sha256, count = write_wav(folder / audio, narrow)
        return Entry(
            self.name,
            self.voice.name,
            self.split,
            audio,
            sha256,
            count,
            " ".join(self.words),
            ended(times, count / SAMPLE_RATE_HZ),
        )


def recordings(debian: Path) -> tuple[list[Recording], list[str]]:
    """A task for each prompt whose words are known, dealt into splits, and why others are not.

    The prompts shipped as clips are in the test part: the demonstration scores them.
    """
    sounds = debian / SOUNDS
    spoken: dict[str, Words] = {}
    left_out = []
    for prompt, text in transcripts(debian).items():
        try:
            if not any((sounds / f"{prompt}.{kind}").is_file() for kind in ("wav", "g722")):
                raise InputError("the package has its words and no recording")
            spoken[prompt] = known_words(text)
        except InputError as error:
            left_out.append(f"{SPEAKER}/{prompt}: {error}")
    shipped = {clip.name.removesuffix(".wav") for clip in load_clips()}
    prompts = list(spoken)
    splits = split_groups(
        groups(list(spoken.values())),
        [_seconds(sounds / f"{prompt}.wav") for prompt in prompts],
        {prompts.index(name) for name in shipped},
        VALID_SHARE,
        TEST_SHARE,
    )
    dealt = zip(spoken.items(), splits, strict=True)
    return [Recording(name, words, split, sounds) for (name, words), split in dealt], left_out


def syntheses(
    debian: Path,
    voices: Sequence[Voice],
    sentences: Sequence[Words],
    each: int,
    split: Split = "train",
    seed: int = 0,
) -> list[Synthesis]:
    """Deals sentences out to voices, `each` to a voice, no sentence to two of them."""
    shuffled = list(sentences)
    random.Random(seed).shuffle(shuffled)
    return [
        Synthesis(voice, number, words, split, debian)
        for at, voice in enumerate(voices)
        for number, words in enumerate(shuffled[at * each : (at + 1) * each])
    ]


def known_words(text: str) -> Words:
    """The words of a transcript.

    Raises:
        InputError: none, a long number, or a word that no dictionary has.
    """
    words = words_of(text)
    unknown = unknown_words(words)
    if unknown:
        raise InputError(f"no pronunciation of {', '.join(unknown)}")
    return words


def _seconds(path: Path) -> float:
    """0 for a file that is no sound; its task reports it."""
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError:
        return 0.0
