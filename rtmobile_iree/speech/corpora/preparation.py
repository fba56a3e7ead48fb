"""Makes a corpus from its sources: tasks, what they give, and the manifest over it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.asterisk import SPEAKER, known_words, recordings, syntheses
from rtmobile_iree.speech.corpora.building import Built, Report, Task, build
from rtmobile_iree.speech.corpora.perturb import Perturbed, perturbations
from rtmobile_iree.speech.corpora.phones import CMU, CMU_FOLDING, timit_table
from rtmobile_iree.speech.corpora.sources import debian_folder, example_sentences
from rtmobile_iree.speech.corpora.timit import missing_speakers, readings
from rtmobile_iree.speech.corpora.transcripts import Words, leaks, unlike
from rtmobile_iree.speech.corpora.voices import TRAINED, UNSEEN
from rtmobile_iree.speech.corpus import SCHEMA, SILENCE, Entry, Manifest, write_manifest

UNSEEN_FOLDER = "unseen-voice"
SENTENCE_WORDS = range(5, 13)
ASTERISK_SOURCES = (
    "allison: Asterisk core sounds 1.6.1, English, Copyright Allison Smith, CC-BY-SA-3.0",
    "sentences of synthetic voices: the same, and examples of WordNet 3.0, Princeton University, "
    "WordNet licence",
)
TIMIT_SOURCES = ("TIMIT, LDC93S1, Linguistic Data Consortium: under the licence it came with",)


@dataclass(frozen=True)
class How:
    """How a corpus is made.

    Attributes:
        jobs: processes.
        strict: stop at the first bad file.
        report: told of each recording left out.
        stage: told of each stage's name and number of tasks; gives what is to be called with the
            number of those done.
    """

    jobs: int = 1
    strict: bool = False
    report: Report = lambda line: None
    stage: Callable[[str, int], Callable[[int], None]] = lambda name, count: lambda done: None

    def run(self, name: str, folder: Path, tasks: Sequence[Task]) -> Built:
        """One stage."""
        advance = self.stage(name, len(tasks))
        return build(folder, name, tasks, self.jobs, self.strict, self.report, advance)


@dataclass(frozen=True)
class Amounts:
    """How much of what.

    Attributes:
        sentences: of each synthetic voice.
        copies: perturbed ones of each training recording of the human speaker; each synthetic
            one gets one if there are any.
        seed: of every choice.
    """

    sentences: int = 180
    copies: int = 3
    seed: int = 0


def corpora_folder() -> Path:
    """Where corpora lie unless told otherwise."""
    return cache_folder() / "corpora"


def prepare_asterisk(folder: Path, how: How, amounts: Amounts = Amounts()) -> None:
    """Makes `folder/corpus.json` and `folder/unseen-voice/corpus.json`, or what is missing of it.

    Raises:
        InputError: the sources cannot be had, or under `how.strict` a file of them is bad.
    """
    debian = debian_folder()
    people, unknown = recordings(debian)
    for line in unknown:
        how.report(line)
    heard = how.run("recordings", folder, people)
    held_out = [task.words for task in people if task.split != "train"]
    taught = [task.words for task in people if task.split == "train"]
    count = amounts.sentences * len(TRAINED)
    sentences = spoken_sentences(debian, taught, held_out, count, amounts.seed)
    voices = syntheses(debian, TRAINED, sentences, amounts.sentences, "train", amounts.seed)
    spoken = how.run("voices", folder, voices)
    originals = [*heard.entries, *spoken.entries]
    said = [(entry.split, tuple(entry.transcript.split())) for entry in originals]
    assert not leaks([w for s, w in said if s == "train"], [w for s, w in said if s != "train"])
    copies = how.run("perturbed", folder, copies_of(originals, amounts))
    left_out = (*unknown, *heard.left_out, *spoken.left_out, *copies.left_out)
    write_manifest(folder, _manifest("asterisk", left_out, [*originals, *copies.entries]))
    _prepare_unseen(folder / UNSEEN_FOLDER, debian, held_out, how)


def prepare_timit(source: Path, folder: Path, how: How) -> None:
    """Makes `folder/corpus.json` of TIMIT as the Linguistic Data Consortium distributes it.

    Raises:
        InputError: `source` is not TIMIT, or under `how.strict` a file of it is bad.
    """
    tasks = readings(source)
    for speaker in missing_speakers(tasks):
        how.report(f"{speaker}: no recordings of this speaker of the core test or validation part")
    built = how.run("recordings", folder, tasks)
    _, folding = timit_table()
    labels = tuple(sorted(folding))
    write_manifest(
        folder,
        Manifest(SCHEMA, "timit", labels, folding, TIMIT_SOURCES, built.left_out, built.entries),
    )


def spoken_sentences(
    debian: Path, taught: Sequence[Words], held_out: Sequence[Words], count: int, seed: int
) -> list[Words]:
    """What synthetic voices say in training: the training part's sentences, then WordNet's.

    None of them is like a transcript of the other splits.
    """
    long_enough = [words for words in dict.fromkeys(taught) if len(words) in SENTENCE_WORDS]
    examples = example_sentences(debian)
    random.Random(seed).shuffle(examples)
    chosen = list(unlike(long_enough, held_out))
    for text in examples:
        if len(chosen) >= count:
            break
        words = _example(text)
        if words and words not in chosen and unlike([words], held_out):
            chosen.append(words)
    return chosen[:count]


def copies_of(originals: Sequence[Entry], amounts: Amounts) -> list[Perturbed]:
    """Perturbed copies of the training part."""
    if not amounts.copies:
        return []
    training = [entry for entry in originals if entry.split == "train"]
    return perturbations(training, {SPEAKER: amounts.copies}, amounts.seed)


def _prepare_unseen(folder: Path, debian: Path, held_out: Sequence[Words], how: How) -> None:
    """The held-out sentences in a voice that is in no other part."""
    sentences = [words for words in dict.fromkeys(held_out) if len(words) >= min(SENTENCE_WORDS)]
    tasks = syntheses(debian, [UNSEEN], sentences, len(sentences), "test")
    built = how.run("unseen voice", folder, tasks)
    write_manifest(folder, _manifest("asterisk-unseen-voice", built.left_out, built.entries))


def _example(text: str) -> Words | None:
    """The words of an example, if it is a sentence with known words and of a fair length."""
    try:
        words = known_words(text)
    except InputError:
        return None
    return words if len(words) in SENTENCE_WORDS else None


def _manifest(name: str, left_out: Sequence[str], entries: Sequence[Entry]) -> Manifest:
    voices = tuple(f"{voice.name}: {voice.licence}" for voice in (*TRAINED, UNSEEN))
    return Manifest(
        SCHEMA,
        name,
        (SILENCE, *CMU),
        dict(CMU_FOLDING),
        (*ASTERISK_SOURCES, *voices),
        tuple(left_out),
        tuple(entries),
    )
