"""Scores of every step -> phones, for models trained with CTC: greedy and prefix beam search.

Source: Graves et al., Connectionist Temporal Classification (ICML 2006); the beam as in Hannun et
al. (arXiv 1408.2873) without a language model. The blank is the last class. A path becomes phones
by dropping repeats, then blanks; the beam adds up the paths of the same phones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rtmobile_iree.speech.decode import collapse, log_softmax

BEAM = 8
# phones less likely than this in a step start no new prefix
FLOOR = -9.0
Prefix = tuple[int, ...]


class GreedyDecoder:
    """The best class of every step, as scores come."""

    def __init__(self, blank: int) -> None:
        self.blank, self._last = blank, blank

    def accept(self, scores: np.ndarray) -> list[int]:
        """Scores [T, C] of the next steps; the phones they add."""
        path = [self._last, *scores.argmax(axis=-1).tolist()]
        self._last = path[-1]
        return [n for n in collapse(path)[1:] if n != self.blank]

    def finish(self) -> list[int]:
        """None are open; a new utterance may begin."""
        self._last = self.blank
        return []


def greedy(scores: np.ndarray) -> list[int]:
    """The phones of the best path; scores [T, C]."""
    return GreedyDecoder(scores.shape[1] - 1).accept(scores)


def beam_search(scores: np.ndarray, beam: int = BEAM, floor: float = FLOOR) -> list[int]:
    """The most probable phones, by prefix beam search.

    Args:
        scores: [T, C], before softmax; the last class is the blank.
        beam: prefixes kept after each step.
        floor: natural logarithm of the least probability of a phone that is followed.
    """
    blank = scores.shape[1] - 1
    # of every prefix: log probability of its paths that end in a blank, and in its last phone
    alive: dict[Prefix, tuple[float, float]] = {(): (0.0, -np.inf)}
    for step in log_softmax(scores.astype(np.float64)):
        ends: dict[Prefix, list[float]] = defaultdict(lambda: [-np.inf, -np.inf])
        likely = [n for n in np.flatnonzero(step > floor).tolist() if n != blank]
        for prefix, (in_blank, in_phone) in alive.items():
            both = np.logaddexp(in_blank, in_phone)
            _add(ends[prefix], 0, both + step[blank])
            if prefix:
                _add(ends[prefix], 1, in_phone + step[prefix[-1]])
            for phone in likely:
                before = in_blank if prefix and phone == prefix[-1] else both
                _add(ends[(*prefix, phone)], 1, before + step[phone])
        best = sorted(ends.items(), key=lambda item: -_total(item[1]))[:beam]
        alive = {prefix: (pair[0], pair[1]) for prefix, pair in best}
    best_prefix = max(alive.items(), key=lambda item: _total(item[1]))[0]
    return list(best_prefix)


def _total(pair: Sequence[float]) -> float:
    return float(np.logaddexp(pair[0], pair[1]))


def _add(pair: list[float], end: int, value: float) -> None:
    pair[end] = float(np.logaddexp(pair[end], value))
