"""Phone labels by forced alignment: pocketsphinx with its own US English model and dictionary.

Two passes over 16 kHz sound: the first finds when each word is said, in which of its
pronunciations, and where nobody speaks; the second the phones within.
"""

from __future__ import annotations

import csv
import functools
import re
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np
import pocketsphinx

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.segments import Times
from rtmobile_iree.speech.corpora.transcripts import Words
from rtmobile_iree.speech.corpus import SILENCE, TIME_DIGITS

RATE_HZ = 16000
FRAME_S = 0.01
# nearly silent sound before and after, so that silence at the ends is found as such
PAD_S = 0.3
PAD_NOISE = 3 / 32768
# Log likelihood a frame in pocketsphinx's units. Of Asterisk's 549 recordings the median is -10 and
# the second worst -22; with one another's transcripts the median is -36.
WORST_SCORE = -25.0


class AlignmentError(InputError):
    """A recording that does not say its transcript, or words that no dictionary has."""


@functools.cache
def pronunciations() -> dict[str, list[str]]:
    """Word -> its phones, in each way it is said: pocketsphinx's dictionary, and words it lacks."""
    found: dict[str, list[str]] = {}
    theirs = Path(pocketsphinx.get_model_path()) / "en-us/cmudict-en-us.dict"
    for line in theirs.read_text().splitlines():
        word, phones = line.split(maxsplit=1)
        found.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(phones)
    ours = resources.files("rtmobile_iree.speech.corpora") / "words.tsv"
    lines = [line for line in ours.read_text().splitlines() if not line.startswith("#")]
    for word, phones in csv.reader(lines, delimiter="\t"):
        found.setdefault(word, []).append(phones)
    return found


def unknown_words(words: Words) -> list[str]:
    """Those without a pronunciation, in order."""
    return [word for word in dict.fromkeys(words) if word not in pronunciations()]


def align(samples: np.ndarray, words: Words, worst_score: float = WORST_SCORE) -> Times:
    """When each phone is said.

    Args:
        samples: [S] f32 at 16 kHz.
        words: what is said.
        worst_score: log likelihood a frame under which it says something else.

    Returns:
        (start_s, end_s, phone) on a grid of 10 ms, phones in small letters, `sil` between them,
        without gaps from 0 to the end of the samples.

    Raises:
        AlignmentError: a word no dictionary has, too short, or the sound does not fit the words.
    """
    unknown = unknown_words(words)
    if unknown:
        raise AlignmentError(f"no pronunciation of {', '.join(unknown)}")
    phones = [phone for phone in _search(_padded(samples), words) if phone.duration > 0]
    score = sum(phone.score for phone in phones) / sum(phone.duration for phone in phones)
    if score < worst_score:
        raise AlignmentError(
            f"the sound does not fit its transcript: {score:.1f} a frame, {worst_score:g} or more "
            "is needed"
        )
    return _times(phones, len(samples) / RATE_HZ)


def _padded(samples: np.ndarray) -> bytes:
    count = int(PAD_S * RATE_HZ)
    noise = np.random.default_rng(0).normal(0, PAD_NOISE, 2 * count)
    whole = np.concatenate([noise[:count], samples, noise[count:]])
    return (np.clip(whole, -1, 1 - 2**-15) * 32768).astype("<i2").tobytes()


def _decoder(words: Words) -> pocketsphinx.Decoder:
    """A fresh one for each sentence, 40 ms, with its words alone: what a decoder heard before
    moves its next labels by a frame now and then.

    Pruning of hypotheses is all but off: the search is over one sentence, and small.
    """
    lines = [
        f"{word}({number}) {phones}" if number > 1 else f"{word} {phones}"
        for word in sorted(set(words))
        for number, phones in enumerate(pronunciations()[word], 1)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as dictionary:
        dictionary.write("\n".join(lines) + "\n")
        dictionary.flush()
        return pocketsphinx.Decoder(
            samprate=RATE_HZ,
            loglevel="FATAL",
            lm=None,
            dict=dictionary.name,
            bestpath=False,
            silprob=0.1,
            beam=1e-100,
            wbeam=1e-100,
            pbeam=1e-100,
        )


def _search(sound: bytes, words: Words) -> list[pocketsphinx.AlignmentEntry]:
    """Phones of the alignment; the second pass must not begin where the first found nothing."""
    search = _decoder(words)
    search.set_align_text(" ".join(words))
    _feed(search, sound)
    if search.hyp() is None:
        raise AlignmentError("the sound does not fit its transcript: no path through its words")
    search.set_alignment()
    _feed(search, sound)
    return [phone for word in search.get_alignment() for phone in word]


def _feed(search: pocketsphinx.Decoder, sound: bytes) -> None:
    search.start_utt()
    search.process_raw(sound, full_utt=True)
    try:
        search.end_utt()
    except RuntimeError as error:
        raise AlignmentError(f"the sound does not fit its transcript ({error})") from error


def _times(phones: list[pocketsphinx.AlignmentEntry], end_s: float) -> Times:
    """Cuts off the padding and joins silences; fillers as breath are silence too."""
    merged: list[tuple[float, float, str]] = []
    for phone in phones:
        start = max(0.0, phone.start * FRAME_S - PAD_S)
        end = min(end_s, (phone.start + phone.duration) * FRAME_S - PAD_S)
        name = phone.name.lower() if phone.name.isalpha() else SILENCE
        if end <= start:
            continue
        if merged and merged[-1][2] == name == SILENCE:
            start = merged.pop()[0]
        merged.append((round(start, TIME_DIGITS), round(end, TIME_DIGITS), name))
    start, _, name = merged[-1]
    if name == SILENCE or end_s - merged[-1][1] < 2 * FRAME_S:
        merged[-1] = (start, round(end_s, TIME_DIGITS), name)
    else:
        merged.append((merged[-1][1], round(end_s, TIME_DIGITS), SILENCE))
    return tuple(merged)
