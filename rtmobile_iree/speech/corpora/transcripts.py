"""Transcripts as words, and which of them are too alike to lie in different splits."""

from __future__ import annotations

import difflib
import math
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpus import Split

Words = tuple[str, ...]

# read aloud as a word each; longer numbers can be read in several ways
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SYMBOLS = MappingProxyType(
    {str(digit): word for digit, word in enumerate(DIGITS)} | {"*": "star", "#": "pound"}
)
REMARKS = re.compile(r"\([^)]*\)|\[[^]]*\]|<[^>]*>")
TOKENS = re.compile(r"[a-z']*[a-z][a-z']*|[0-9]+|[*#]")
# equal runs of so many words, or an equal share of so much, make two transcripts alike
RUN = 4
ALIKE = 0.75


def words_of(text: str) -> Words:
    """The words that are said: lower case, without punctuation and remarks in brackets.

    Raises:
        InputError: no words, or a number of two digits or more.
    """
    tokens = TOKENS.findall(REMARKS.sub(" ", text.lower()))
    words = tuple(SYMBOLS.get(token, token.strip("'")) for token in tokens)
    number = next((word for word in words if word.isdecimal()), None)
    if number is not None:
        raise InputError(f"{number!r} can be read aloud in several ways")
    if not words:
        raise InputError("nobody speaks")
    return words


def are_alike(one: Words, other: Words) -> bool:
    """Whether a model that learned one transcript would know much of the other.

    They are equal, or have a run of four words in common, or the shorter one, of two or three
    words, is part of the other, or three quarters of their words are the same in order.
    """
    return bool(_runs(one) & _runs(other)) or _within(one, other) or _share(one, other) >= ALIKE


def groups(transcripts: Sequence[Words]) -> list[list[int]]:
    """Numbers of the transcripts, those alike together, directly or through others."""
    found: list[list[int]] = []
    for number, words in enumerate(transcripts):
        joined, apart = [number], []
        for group in found:
            alike = any(are_alike(words, transcripts[other]) for other in group)
            (joined.extend(group) if alike else apart.append(group))
        found = [*apart, sorted(joined)]
    return sorted(found)


def split_groups(
    grouped: Sequence[list[int]],
    weights: Sequence[float],
    test: Collection[int] = (),
    valid_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> list[Split]:
    """Deals whole groups, shuffled; each to the split that lacks most of its share of that size.

    Args:
        grouped: as `groups` gives them.
        weights: of each transcript, its recording's seconds.
        test: transcripts that must be in the test split, with their groups.
        valid_share, test_share: of all weight, above 0; a group of more than a quarter of the
            lesser is left to training, so that no split is all one subject.
    """
    splits: list[Split] = ["train"] * len(weights)
    total = sum(weights)
    shares = _shares(valid_share, test_share)
    order = sorted(grouped)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: not set(group) & set(test))  # stable: those that must, first
    dealt: defaultdict[tuple[int, Split], float] = defaultdict(float)
    for group in order:
        weight = sum(weights[number] for number in group)
        size = math.frexp(weight)[1]
        split = min(shares, key=lambda name: dealt[size, name] / shares[name])
        if set(group) & set(test):
            split = "test"
        elif weight > min(valid_share, test_share) * total / 4:
            split = "train"
        dealt[size, split] += weight
        for number in group:
            splits[number] = split
    return splits


def unlike(candidates: Iterable[Words], others: Sequence[Words]) -> list[Words]:
    """The candidates, each once, that are like none of the others."""
    return [words for words in dict.fromkeys(candidates) if not leaks([words], others)]


def leaks(train: Iterable[Words], held_out: Iterable[Words]) -> list[tuple[Words, Words]]:
    """Pairs of a training transcript and one of another split that are alike."""
    others = list(dict.fromkeys(held_out))
    return [
        (words, other)
        for words in dict.fromkeys(train)
        for other in others
        if are_alike(words, other)
    ]


def _shares(valid: float, test: float) -> dict[Split, float]:
    return {"train": 1 - valid - test, "valid": valid, "test": test}


def _runs(words: Words) -> set[Words]:
    return {words} | {words[at : at + RUN] for at in range(len(words) - RUN + 1)}


def _within(one: Words, other: Words) -> bool:
    short, long = sorted((one, other), key=len)
    places = range(len(long) - len(short) + 1)
    return 2 <= len(short) < RUN and any(long[at : at + len(short)] == short for at in places)


def _share(one: Words, other: Words) -> float:
    """Twice the words in common and in order, over the words of both."""
    if 2 * min(len(one), len(other)) < ALIKE * (len(one) + len(other)):
        return 0.0  # cannot reach it
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= ALIKE else 0.0
