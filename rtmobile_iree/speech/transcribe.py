"""Phones of sound as it comes, through a compiled model. `rtmobile transcribe`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.acoustic import ModelConfig
from rtmobile_iree.speech.checkpoint import Checkpoint
from rtmobile_iree.speech.corpus import SILENCE
from rtmobile_iree.speech.ctc import GreedyDecoder
from rtmobile_iree.speech.decode import ViterbiDecoder
from rtmobile_iree.speech.features import BANDS
from rtmobile_iree.speech.online import OnlineRawLogMel
from rtmobile_iree.streaming import Stream

if TYPE_CHECKING:
    from rtmobile_iree.program import Program


def check_program(program: Program, config: ModelConfig) -> None:
    """Raises an `InputError` for a program that was not compiled from such a model."""
    shapes = [spec.shape for spec in (*program.inputs, *program.outputs)]
    state = (config.layers, 1, config.hidden)
    wanted = [(1, None, config.inputs), state, (1, None, config.classes), state]
    if shapes != wanted:
        raise InputError(
            f"the program takes {program.inputs[0]} and gives {program.outputs[0]}; the "
            f"checkpoint's model takes [1, any, {config.inputs}] and gives [1, any, "
            f"{config.classes}]; compile it from this checkpoint"
        )


class Transcriber:
    """Keeps the features', the model's and the decoder's state from block to block."""

    def __init__(self, stream: Stream, checkpoint: Checkpoint) -> None:
        """Begins an utterance.

        Args:
            stream: of the compiled model, in any state; it is reset.
            checkpoint: what it was compiled from.
        """
        check_program(stream.program, checkpoint.config)
        self._stream, self._checkpoint = stream, checkpoint
        config = checkpoint.config
        self._decoder: GreedyDecoder | ViterbiDecoder = (
            GreedyDecoder(len(config.phones))
            if config.loss == "ctc"
            else ViterbiDecoder(checkpoint.decoding)
        )
        self._bank = OnlineRawLogMel()
        self._waiting = np.empty((0, BANDS), np.float32)
        self._late = config.delay
        self._last: np.ndarray | None = None
        stream.reset()

    def accept(self, samples: np.ndarray) -> list[str]:
        """Samples [S] f32, 8 kHz; the phones that have become certain, folded, without silence."""
        stack = self._checkpoint.config.stack
        frames = np.concatenate([self._waiting, self._bank.accept(samples)])
        steps = len(frames) // stack
        self._waiting = frames[steps * stack :]
        return self._run(frames[: steps * stack].reshape(steps, stack * BANDS))

    def finish(self) -> list[str]:
        """The phones still open, once all sound is in."""
        found: list[str] = []
        if self._last is not None:
            found = self._run(np.repeat(self._last, self._checkpoint.config.delay, axis=0))
        return found + self._names(self._decoder.finish())

    def _run(self, steps: np.ndarray) -> list[str]:
        found: list[str] = []
        for step in steps:
            self._last = step[None]
            scores = self._stream.step(self._last)
            assert isinstance(scores, np.ndarray), "checked: one output that is no state"
            if self._late:  # the answer to sound before the first
                self._late -= 1
                continue
            found += self._names(self._decoder.accept(scores))
        return found

    def _names(self, numbers: Iterable[int]) -> list[str]:
        phones, folding = self._checkpoint.config.phones, self._checkpoint.folding
        folded = (folding[phones[n]] for n in numbers)
        return [phone for phone in folded if phone != SILENCE]


def transcribe(
    stream: Stream, checkpoint: Checkpoint, blocks: Iterable[np.ndarray]
) -> Iterator[list[str]]:
    """Phones of each block of samples [S] f32 as they become certain; the last are the rest."""
    transcriber = Transcriber(stream, checkpoint)
    for block in blocks:
        yield transcriber.accept(block)
    yield transcriber.finish()
