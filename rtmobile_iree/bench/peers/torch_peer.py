"""PyTorch, eager, as the module was written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.timing import times_us
from rtmobile_iree.model_source import load_module


def task_module(task: Task) -> nn.Module:
    """The task's module with the task's weights, in eval mode."""
    module = load_module(task.model)
    module.load_state_dict(torch.load(task.weights, weights_only=True))
    return module


def as_tuple(outputs: object) -> tuple[torch.Tensor, ...]:
    """What forward() returned, as a flat tuple of tensors."""
    return tuple(torch.utils._pytree.tree_leaves(outputs))


class TorchPeer:
    """`module(*inputs)` in inference mode."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self._module = task_module(task)
        self._inputs = tuple(torch.from_numpy(array) for array in task.input_arrays())
        self.description = "eager, inference mode"

    def outputs(self) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            return [tensor.numpy() for tensor in as_tuple(self._module(*self._inputs))]

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        with torch.inference_mode():
            return times_us(lambda: self._module(*self._inputs), samples, sample_s)
