"""The acoustic model: log-mel frames in, scores of phones out, a state from chunk to chunk.

A GRU stack and a linear layer over `stack` neighbouring frames at a time: at 2, 40 bands every
10 ms become 80 numbers every 20 ms, and the recurrent layers run half as often. It takes raw
log-mel frames: the training set's mean and deviation are buffers, so a stream needs none of its
own. The output of a step belongs to the sound `delay` steps before it, so that the model hears a
little of what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rtmobile_iree.speech.features import BANDS, MIN_DEVIATION

Loss = Literal["frames", "ctc"]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made from.

    Attributes:
        phones: classes; with CTC, one more follows them, the blank.
        hidden, layers: units of each GRU layer, and layers.
        stack: frames of 10 ms a step.
        delay: steps that outputs come late.
        dropout: in training, after every GRU layer.
        loss: "frames": cross-entropy of every step; "ctc": connectionist temporal classification.
    """

    phones: tuple[str, ...]
    hidden: int = 256
    layers: int = 2
    stack: int = 2
    delay: int = 4
    dropout: float = 0.0
    loss: Loss = "frames"

    @property
    def inputs(self) -> int:
        """Numbers a step."""
        return BANDS * self.stack

    @property
    def classes(self) -> int:
        """Scores a step."""
        return len(self.phones) + (self.loss == "ctc")

    @property
    def step_s(self) -> float:
        """Seconds a step."""
        return self.stack / 100


class PhoneGRU(nn.Module):
    """The model; `rt.compile` takes it in eval mode, `rt.BSPPruner` in training."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("scale", torch.ones(config.inputs))
        between = config.dropout if config.layers > 1 else 0.0
        self.gru = nn.GRU(
            config.inputs, config.hidden, config.layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(config.hidden, config.classes)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Scores a chunk.

        Args:
            x: [B, T, inputs] f32, raw log-mel frames, stacked.
            state: [layers, B, hidden] f32, zeros at first.

        Returns:
            scores: [B, T, classes] f32, before softmax.
            state: [layers, B, hidden] f32, after the last step.
        """
        y, state = self.gru((x - self.mean) * self.scale, state)
        return self.fc(self.dropout(y)), state

    def training_scores(self, x: Tensor, gru: Callable[[Tensor], Tensor]) -> Tensor:
        """What `self(x, zeros)` scores, by a `GRUPass` of `self.gru`."""
        scores: Tensor = self.fc(self.dropout(gru((x - self.mean) * self.scale)))
        return scores

    def initial_state(self, batch: int = 1) -> Tensor:
        """[layers, batch, hidden] f32 zeros."""
        return torch.zeros(self.gru.num_layers, batch, self.gru.hidden_size)

    def example_inputs(self, steps: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Frames like the training set's, and a state as if in the middle of a recording."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, steps, self.config.inputs, generator=generator)
        state = self.initial_state().uniform_(-1, 1, generator=generator)
        return x / self.scale + self.mean, state

    @torch.no_grad()
    def set_normalisation(self, frames: np.ndarray) -> None:
        """Takes mean and deviation of frames [T, 40] f32, the same in every stacked frame."""
        deviation = np.maximum(frames.std(axis=0, dtype=np.float64), MIN_DEVIATION)
        mean = frames.mean(axis=0, dtype=np.float64)
        stack = self.config.stack
        self.mean.copy_(torch.from_numpy(np.tile(mean, stack)))
        self.scale.copy_(torch.from_numpy(np.tile(1 / deviation, stack)))


def plain_copy(module: PhoneGRU) -> PhoneGRU:
    """A module of its own, in eval mode, with the weights as they are under masks."""
    copied = PhoneGRU(module.config)
    weights = {name: attrgetter(name)(module).detach() for name in copied.state_dict()}
    copied.load_state_dict(weights)
    return copied.eval()


def stack_frames(frames: np.ndarray, config: ModelConfig) -> np.ndarray:
    """A whole recording as the model takes it.

    Args:
        frames: [T, 40] f32, T at least `config.stack`.

    Returns:
        [T // stack + delay, inputs] f32, the last step repeated `delay` times so that outputs for
        all of the recording come.
    """
    steps = len(frames) // config.stack
    stacked = frames[: steps * config.stack].reshape(steps, config.inputs)
    return np.concatenate([stacked, np.repeat(stacked[-1:], config.delay, axis=0)])
