"""Where the terms of sums lie in shared memory.

The sums that have equally many terms are a class; a class lies together, first all its sums' first
terms, then all second ones. A sum ends up where its first term was. Or all sums are one class, and
whoever reads a sum adds its terms up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ZERO = 0  # a word of shared memory that is always 0: the sum of no terms
WAVE = 64  # threads that run in step on an Adreno, or half as many as do


@dataclass(frozen=True)
class SumClass:
    """Sums of so many terms: term t of number n is word first + t * count + n.

    Attributes:
        lacks: whether some have fewer terms.
    """

    first: int
    count: int
    terms: int
    lacks: bool = False

    @property
    def words(self) -> int:
        return self.count * self.terms


def lay_out(terms: np.ndarray, first: int) -> tuple[tuple[SumClass, ...], np.ndarray]:
    """Classes from word `first` on, and the word of each sum, ZERO where it has no terms.

    A class that no wave would fill joins the next one; the terms it lacks are words that nobody
    writes, and must be zeros.

    Args:
        terms: [sums] how many each has.
    """
    places = np.full(terms.size, ZERO, np.int64)
    classes: list[SumClass] = []
    counts = sorted(set(terms[terms > 0].tolist()))
    lowest = 0
    for count in counts:
        own = np.flatnonzero((terms > lowest) & (terms <= count))
        if own.size < WAVE and count != counts[-1]:
            continue
        places[own] = first + np.arange(own.size)
        lacks = bool((terms[own] < count).any())
        classes.append(SumClass(first, own.size, count, lacks))
        first += own.size * count
        lowest = count
    return tuple(classes), places


def lay_out_together(terms: np.ndarray, first: int) -> tuple[tuple[SumClass, ...], np.ndarray]:
    """As `lay_out` in one class; sums without terms share its last number, of words that nobody
    writes."""
    own = np.flatnonzero(terms)
    rest, most = int(own.size < terms.size), int(terms.max(initial=0))
    places = np.full(terms.size, first + own.size, np.int64)
    places[own] = first + np.arange(own.size)
    return (SumClass(first, own.size + rest, most, bool((terms[own] < most).any())),), places


def words_of(classes: Sequence[SumClass]) -> int:
    """Words of all their terms."""
    return sum(each.words for each in classes)
