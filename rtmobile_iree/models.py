"""RTMobile's evaluation model: a two-layer GRU over log-mel frames and a linear output layer.

The first piece of the flow: what `rtmobile demo` and `rtmobile bench` prune, compile and time. The
GRU is the one of the paper's Table II (arXiv 2002.11474): 2 layers, hidden 1024, 9.57 M weights.
Weights are random but always the same; one-shot pruning and timing do not need trained ones.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

SEED = 2002
ModuleT = TypeVar("ModuleT", bound="PaperGRU")


class PaperGRU(nn.Module):
    """The GRU alone, for which the paper states its sizes and times.

    Args:
        inputs: features of a frame.
        hidden: units of each layer.
        layers: GRU layers.
    """

    def __init__(self, inputs: int = 40, hidden: int = 1024, layers: int = 2) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[1, T, inputs] and [layers, 1, hidden] f32 -> [1, T, hidden] and the state after."""
        y, state = self.gru(x, state)
        return y, state

    def initial_state(self, batch: int = 1) -> Tensor:
        """The state before the first frame, [layers, batch, hidden] f32 zeros."""
        return torch.zeros(self.gru.num_layers, batch, self.gru.hidden_size)

    def example_inputs(self, steps: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
        """`steps` frames of unit normal numbers, and a state as if in the middle of a recording."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, steps, self.gru.input_size, generator=generator)
        # a zero state would hide a wrong recurrent weight from a check of a single step
        return x, self.initial_state().uniform_(-1, 1, generator=generator)


class SpeechGRU(PaperGRU):
    """GRU over frames, then class scores for every frame.

    Args:
        inputs: features of a frame.
        hidden: units of each GRU layer.
        layers: GRU layers.
        classes: scores a frame.
    """

    def __init__(
        self, inputs: int = 40, hidden: int = 1024, layers: int = 2, classes: int = 40
    ) -> None:
        super().__init__(inputs, hidden, layers)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Scores a chunk of frames and hands the state on to the next chunk.

        Args:
            x: [1, T, inputs] f32, T frames of 10 ms.
            state: [layers, 1, hidden] f32, zeros before the first chunk.

        Returns:
            scores: [1, T, classes] f32, before any softmax.
            state: [layers, 1, hidden] f32, after the last frame.
        """
        y, state = self.gru(x, state)
        return self.fc(y), state


def speech_gru(
    inputs: int = 40, hidden: int = 1024, layers: int = 2, classes: int = 40, seed: int = SEED
) -> SpeechGRU:
    """The evaluation model in eval mode; MODEL `rtmobile_iree.models:speech_gru` at the shell.

    Every parameter is uniform in +-1/sqrt(hidden), PyTorch's own initialization of a GRU, drawn
    from a generator of its own: equal seeds give equal weights and global state is left alone.
    """
    return _with_weights(SpeechGRU(inputs, hidden, layers, classes), seed)


def paper_gru(inputs: int = 40, hidden: int = 1024, layers: int = 2, seed: int = SEED) -> PaperGRU:
    """The GRU alone, 9.57 M parameters; MODEL `rtmobile_iree.models:paper_gru` at the shell."""
    return _with_weights(PaperGRU(inputs, hidden, layers), seed)


def tiny_speech_gru() -> SpeechGRU:
    """The same model with 32 hidden units, for tests and first tries."""
    return speech_gru(inputs=8, hidden=32, classes=8)


def tiny_paper_gru() -> PaperGRU:
    """The GRU alone with 32 hidden units."""
    return paper_gru(inputs=8, hidden=32)


def _with_weights(module: ModuleT, seed: int) -> ModuleT:
    """The module in eval mode, its parameters those of the seed."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(module.gru.hidden_size)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return module.eval()
