"""What training makes small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, ctc_loss, kl_div, log_softmax

from rtmobile_iree.speech.acoustic import ModelConfig
from rtmobile_iree.speech.batches import NO_LABEL, Batch


def training_loss(scores: Tensor, batch: Batch, config: ModelConfig, distill: float) -> Tensor:
    """Cross-entropy of the labelled steps or CTC, mixed with the distance from a teacher's.

    Args:
        scores: [B, T, classes] f32.
        distill: share of the distance from the teacher's scores, 0 to 1, where the batch has them
            (Hinton et al., arXiv 1503.02531, at temperature 1: Kullback-Leibler divergence of the
            classes of a step).

    Returns:
        A scalar, nats a step (CTC: nats a phone).
    """
    loss = _ctc(scores, batch) if config.loss == "ctc" else _frames(scores, batch)
    if batch.teacher is None or distill == 0:
        return loss
    heard = torch.arange(scores.shape[1]) < batch.lengths[:, None]
    student, wanted = log_softmax(scores[heard], -1), log_softmax(batch.teacher[heard], -1)
    distance = kl_div(student, wanted, reduction="batchmean", log_target=True)
    return (1 - distill) * loss + distill * distance


def _frames(scores: Tensor, batch: Batch) -> Tensor:
    return cross_entropy(scores.flatten(0, 1), batch.labels.flatten(), ignore_index=NO_LABEL)


def _ctc(scores: Tensor, batch: Batch) -> Tensor:
    phones = batch.phones()
    return ctc_loss(
        log_softmax(scores, -1).transpose(0, 1),
        torch.cat(phones),
        batch.lengths,
        torch.tensor([len(row) for row in phones]),
        blank=scores.shape[-1] - 1,
        zero_infinity=True,  # an utterance with more phones than steps teaches nothing
    )
