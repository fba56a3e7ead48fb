"""PyTorch's dynamic quantization: int8 weights, activations quantized as they come."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import FastestCall
from rtmobile_iree.bench.peers.gru_task import GruModel, gru_task
from rtmobile_iree.bench.peers.torch_peer import called_module, task_module
from rtmobile_iree.errors import InputError

LAYERS = {nn.GRU, nn.LSTM, nn.GRUCell, nn.LSTMCell, nn.RNNCell, nn.Linear}


class TorchInt8Peer(FastestCall):
    """`quantize_dynamic` on the fastest of the quantized engines of this machine."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        module = task_module(task)
        if isinstance(module, GraphModule):
            module = _GruModule(gru_task(task).model)
        engines = [e for e in torch.backends.quantized.supported_engines if e != "none"]
        if not engines:
            raise InputError("this PyTorch has no quantized engine")
        super().__init__(
            [
                called_module(f"quantize_dynamic, {engine}", _quantized(module, engine), task)
                for engine in engines
            ],
            torch.inference_mode,
        )


def _quantized(module: nn.Module, engine: str) -> nn.Module:
    """A quantized copy; its weights are packed for the engine, which its calls then use."""
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantize_dynamic is deprecated, and still the way
        made: nn.Module = torch.ao.quantization.quantize_dynamic(copy.deepcopy(module), LAYERS)
    return made


class _GruModule(nn.Module):
    """The layers of an exported program, as layers again."""

    def __init__(self, model: GruModel) -> None:
        super().__init__()
        self.gru, self.fc = model.gru, model.fc

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.gru(x, state)
        return y if self.fc is None else self.fc(y), state
