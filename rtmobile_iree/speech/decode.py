"""Scores of every step -> phones, for models trained on aligned frames: Viterbi over phones.

The hybrid way (Bourlard and Morgan, Connectionist Speech Recognition, chapter 7): the model's
posteriors divided by the phones' priors stand for likelihoods, and a hidden Markov model of one
state a phone, whose transitions a step are counted in the aligned training set, says how long
phones last and which follow which. `ViterbiDecoder` takes scores as they come, and gives out what
no later score can change; all scores at once give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decoding:
    """The decoder's numbers.

    Attributes:
        log_prior: [C] f32, of each phone a step.
        log_transition: [C, C] f32, from phone to phone a step, itself included.
        prior_scale: how much of the prior is divided out, 0 to 1.
        acoustic_scale: weight of the scores beside the transitions.
    """

    log_prior: np.ndarray
    log_transition: np.ndarray
    prior_scale: float = 0.5
    acoustic_scale: float = 0.5


def estimate_decoding(labels: Iterable[np.ndarray], classes: int) -> Decoding:
    """Counts priors and transitions; each count is one more than found, so nothing is impossible.

    Args:
        labels: of each utterance, [T] phone numbers, a step each.
        classes: C.
    """
    prior, transition = np.ones(classes), np.ones((classes, classes))
    for sequence in labels:
        prior += np.bincount(sequence, minlength=classes)
        np.add.at(transition, (sequence[:-1], sequence[1:]), 1)
    return Decoding(
        np.log(prior / prior.sum()).astype("f4"),
        np.log(transition / transition.sum(axis=1, keepdims=True)).astype("f4"),
    )


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, f32."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def collapse(numbers: Sequence[int]) -> list[int]:
    """A path without repeats: what greedy decoding makes of the best phone of each step."""
    return [n for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1]]


def viterbi(scores: np.ndarray, decoding: Decoding) -> list[int]:
    """The most probable phones of a whole utterance.

    Args:
        scores: [T, C], before softmax.
    """
    decoder = ViterbiDecoder(decoding)
    decoder.advance(scores)
    return decoder.finish()


class ViterbiDecoder:
    """Phones of scores that keep coming."""

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding
        self._best: np.ndarray | None = None
        self._back: list[np.ndarray] = []
        self._last: int | None = None

    def accept(self, scores: np.ndarray) -> list[int]:
        """Scores [T, C] of the next steps; the phones that have become certain, oldest first."""
        found = []
        for step in scores:
            self.advance(step[None])
            found += self._certain()
        return found

    def advance(self, scores: np.ndarray) -> None:
        """As `accept`, but everything is left to `finish`."""
        settings = self.decoding
        likelihood = log_softmax(scores) - settings.prior_scale * settings.log_prior
        for step in settings.acoustic_scale * likelihood:
            self._advance(step)

    def finish(self) -> list[int]:
        """The phones still open; afterwards a new utterance may begin."""
        path = [] if self._best is None else self._trace(int(self._best.argmax()))
        found = self._new(path)
        self._best, self._back, self._last = None, [], None
        return found

    def _advance(self, step: np.ndarray) -> None:
        if self._best is None:
            self._best = step + self.decoding.log_prior
            self._back = [np.arange(len(step))]
            return
        paths = self._best[:, None] + self.decoding.log_transition
        back = paths.argmax(axis=0)
        best = paths[back, np.arange(len(step))] + step
        self._best = best - best.max()  # else sums would lose digits over hours
        self._back.append(back)

    def _certain(self) -> list[int]:
        """Gives out what all paths have in common, and forgets it."""
        alive = np.arange(len(self._back[-1]))
        for at in range(len(self._back) - 1, 0, -1):
            alive = np.unique(self._back[at][alive])
            if len(alive) == 1:
                path = self._trace(int(alive[0]), at - 1)
                self._back = self._back[at:]
                return self._new(path)
        return []

    def _trace(self, phone: int, last: int | None = None) -> list[int]:
        """Phones of the steps kept up to `last`, which ends in `phone`; all of them by default."""
        path = [phone]
        last = len(self._back) - 1 if last is None else last
        for back in reversed(self._back[1 : last + 1]):
            path.append(int(back[path[-1]]))
        return path[::-1]

    def _new(self, path: list[int]) -> list[int]:
        """The phones a piece of path adds to what was given out."""
        steps = path if self._last is None else [self._last, *path]
        found = collapse(steps)[self._last is not None :]
        self._last = steps[-1] if steps else None
        return found
