"""Phone error rate: recognised phones against a corpus' own, folded and without silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU, stack_frames
from rtmobile_iree.speech.ctc import beam_search, greedy
from rtmobile_iree.speech.dataset import Dataset, Item, fold
from rtmobile_iree.speech.decode import Decoding, collapse, viterbi

if TYPE_CHECKING:
    from rtmobile_iree.program import Program

BATCH = 32
Decoder = Literal["greedy", "beam"]
Scores = Iterator[tuple[Item, np.ndarray]]


@dataclass(frozen=True)
class PER:
    """A phone error rate.

    Attributes:
        errors: substitutions, insertions and deletions, the fewest that turn one into the other.
        phones: in the references.
    """

    errors: int
    phones: int

    @property
    def percent(self) -> float:
        return 100 * self.errors / self.phones

    def __str__(self) -> str:
        return f"PER {self.percent:.2f} % ({self.errors:,} errors in {self.phones:,} phones)"


def count_errors(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> PER:
    """PER of (reference, recognised) pairs, all utterances together.

    Raises:
        InputError: the references hold no phone.
    """
    errors = sum(Levenshtein.distance(reference, found) for reference, found in pairs)
    phones = sum(len(reference) for reference, _ in pairs)
    if not phones:
        raise InputError("PER: the references hold no phones; use other utterances")
    return PER(errors, phones)


def module_scores(module: PhoneGRU, items: Sequence[Item]) -> Scores:
    """What a module in eval mode says to each item, [T // stack, classes], similar lengths at once.

    Padding follows an item's end, where a causal model cannot hear it.
    """
    config = module.config
    ordered = sorted(items, key=lambda item: len(item.frames))
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        inputs = [torch.from_numpy(stack_frames(item.frames, config)) for item in batch]
        x = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
        with torch.inference_mode():
            scores, _ = module(x, module.initial_state(len(batch)))
        for item, given, row in zip(batch, inputs, scores.numpy(), strict=True):
            yield item, row[config.delay : len(given)]


def program_scores(program: Program, config: ModelConfig, items: Sequence[Item]) -> Scores:
    """The same of a compiled module, an utterance a call."""
    state = np.zeros((config.layers, 1, config.hidden), np.float32)
    for item in items:
        scores, _ = program(stack_frames(item.frames, config)[None], state)
        yield item, scores[0, config.delay :]


def decoder_of(
    config: ModelConfig, decoding: Decoding, kind: Decoder
) -> Callable[[np.ndarray], list[int]]:
    """Scores [T, classes] -> phone numbers. "beam" is Viterbi for models of aligned frames."""
    if config.loss == "ctc":
        return greedy if kind == "greedy" else beam_search
    if kind == "greedy":
        return lambda scores: collapse(scores.argmax(axis=-1).tolist())
    return lambda scores: viterbi(scores, decoding)


def score(
    dataset: Dataset,
    scores: Scores,
    config: ModelConfig,
    decoding: Decoding,
    kind: Decoder = "beam",
) -> PER:
    """Decodes and counts."""
    decode = decoder_of(config, decoding, kind)
    pairs = []
    for item, values in scores:
        found = fold(dataset.corpus, [config.phones[n] for n in decode(values)])
        pairs.append((dataset.reference(item), found))
    return count_errors(pairs)


def check_phones(dataset: Dataset, config: ModelConfig) -> None:
    """Raises an `InputError` for a corpus with other phones than the model's."""
    if dataset.corpus.phones != config.phones:
        raise InputError(
            f"corpus {dataset.corpus.name}: {len(dataset.corpus.phones)} phones, not the model's "
            f"{len(config.phones)} ({' '.join(config.phones)}); train on a corpus of this kind"
        )
