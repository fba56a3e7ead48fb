"""PyTorch, eager, as the module was written."""

from __future__ import annotations

import torch
from torch import nn

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.model_source import load_module


def task_module(task: Task) -> nn.Module:
    """The task's module with the task's weights, in eval mode."""
    module = load_module(task.model)
    module.load_state_dict(torch.load(task.weights, weights_only=True))
    return module


def as_tuple(outputs: object) -> tuple[torch.Tensor, ...]:
    """What forward() returned, as a flat tuple of tensors."""
    return tuple(torch.utils._pytree.tree_leaves(outputs))


class TorchPeer(FastestCall):
    """`module(*inputs)` in inference mode."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        configuration = called_module("eager, inference mode", task_module(task), task)
        super().__init__([configuration], torch.inference_mode)


def called_module(name: str, module: nn.Module, task: Task) -> Configuration:
    """A module called on the task's inputs."""
    inputs = tuple(torch.from_numpy(array) for array in task.input_arrays())
    return Configuration(
        name,
        lambda: module(*inputs),
        lambda: [tensor.numpy() for tensor in as_tuple(module(*inputs))],
    )
