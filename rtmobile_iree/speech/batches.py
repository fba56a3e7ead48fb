"""Batches of one epoch: utterances of similar length together, frames augmented, targets padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rtmobile_iree.speech.acoustic import ModelConfig, stack_frames
from rtmobile_iree.speech.dataset import Item
from rtmobile_iree.speech.decode import collapse
from rtmobile_iree.speech.features import BANDS
from rtmobile_iree.speech.recipe import Augment

# what a step without a label has; `cross_entropy` leaves it out
NO_LABEL = -100


@dataclass(frozen=True)
class Example:
    """An utterance as a model of one configuration trains on it.

    Attributes:
        x: [T, inputs] f32, stacked.
        labels: [T] i64, those of the first `delay` steps `NO_LABEL`.
        own: whether its speaker is one of those that will be tested.
        teacher: [T, classes] f32, what the dense model scores without augmentation; or None.
    """

    x: Tensor
    labels: Tensor
    own: bool = True
    teacher: Tensor | None = None

    @staticmethod
    def of(item: Item, config: ModelConfig, own: bool = True) -> Example:
        labels = item.labels(config.phones, config.stack)
        late = np.concatenate([np.full(config.delay, NO_LABEL), labels])
        x = torch.from_numpy(stack_frames(item.frames, config))
        return Example(x, torch.from_numpy(late), own)


@dataclass(frozen=True)
class Batch:
    """Examples padded to one length.

    Attributes:
        x: [B, T, inputs] f32.
        labels: [B, T] i64, `NO_LABEL` where there is none.
        lengths: [B] i64, steps.
        teacher: [B, T, classes] f32, or None where an example has none.
    """

    x: Tensor
    labels: Tensor
    lengths: Tensor
    teacher: Tensor | None = None

    @staticmethod
    def of(examples: Sequence[Example]) -> Batch:
        teachers = [e.teacher for e in examples if e.teacher is not None]
        return Batch(
            pad_sequence([e.x for e in examples], batch_first=True),
            pad_sequence([e.labels for e in examples], True, NO_LABEL),
            torch.tensor([len(e.x) for e in examples]),
            pad_sequence(teachers, True) if len(teachers) == len(examples) else None,
        )

    def phones(self) -> list[Tensor]:
        """Each utterance's phones in order, what CTC learns: labels without repeats."""
        rows = (row[row != NO_LABEL].tolist() for row in self.labels)
        return [torch.tensor(collapse(row)) for row in rows]


def epoch_numbers(
    examples: Sequence[Example], others_every: int, seed: int, epoch: int
) -> list[int]:
    """Which examples an epoch takes: all own ones, and each time the next part of the others.

    Every epoch takes equally many; up to `others_every - 1` of the others are never taken.
    """
    own = [n for n, example in enumerate(examples) if example.own]
    others = [n for n, example in enumerate(examples) if not example.own]
    size = len(others) // others_every
    shuffled = np.random.default_rng([seed, 2]).permutation(others).tolist()
    start = epoch % others_every * size
    return sorted([*own, *shuffled[start : start + size]])


def epoch_batches(examples: Sequence[Example], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Which examples go together, in the order of training; the same for the same seed and epoch.

    Lengths are shaken by a tenth before sorting, so batches differ from epoch to epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    lengths = np.array([len(e.x) for e in examples]) * rng.uniform(0.9, 1.1, len(examples))
    order = np.argsort(lengths, kind="stable").tolist()
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def augmented(
    batch: Batch, settings: Augment, mean: Tensor, scale: Tensor, rng: np.random.Generator
) -> Batch:
    """Masks spans and bands with the mean, and shifts each utterance's loudness.

    Args:
        mean, scale: [inputs], the model's normalisation; a unit of loudness is 1 / scale.
    """
    x = batch.x.clone()
    stacked = x.unflatten(-1, (-1, BANDS))  # a view: [B, T, stack, 40]
    average = mean.unflatten(-1, (-1, BANDS))
    unit = float((1 / scale).mean())
    for row, length in enumerate(batch.lengths.tolist()):
        x[row] += settings.loudness * unit * rng.standard_normal()
        for _ in range(settings.time_masks):
            width = int(rng.integers(0, settings.time_mask_steps + 1))
            start = int(rng.integers(0, max(1, length - width)))
            stacked[row, start : start + width] = average
        for _ in range(settings.band_masks):
            width = int(rng.integers(0, settings.band_mask_bands + 1))
            start = int(rng.integers(0, BANDS - width + 1))
            stacked[row, :, :, start : start + width] = average[:, start : start + width]
    return replace(batch, x=x)
