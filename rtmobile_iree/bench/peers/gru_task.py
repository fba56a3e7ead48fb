"""A task whose model is one GRU and at most one linear layer, as arrays.

Engines that do not read PyTorch modules are given these: in a graph built for them, or cell by
cell. Formulas: PyTorch's nn.GRU, gates stacked r, z, n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.torch_peer import task_module
from rtmobile_iree.errors import InputError

LayerWeights = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class GruModel:
    """The parts of a module whose forward is `fc(gru(x, state))`."""

    gru: nn.GRU
    fc: nn.Linear | None

    def weights(self, layer: int) -> LayerWeights:
        """w_ih [3H, I], w_hh [3H, H], b_ih [3H], b_hh [3H] of a layer; zeros without biases."""
        w_ih, w_hh = (_array(self.gru, f"weight_{side}_l{layer}") for side in ("ih", "hh"))
        if not self.gru.bias:
            zeros = np.zeros(len(w_ih), np.float32)
            return w_ih, w_hh, zeros, zeros
        b_ih, b_hh = (_array(self.gru, f"bias_{side}_l{layer}") for side in ("ih", "hh"))
        return w_ih, w_hh, b_ih, b_hh

    def layers(self) -> list[LayerWeights]:
        """`weights` of every layer, first to last."""
        return [self.weights(layer) for layer in range(self.gru.num_layers)]

    def linear(self) -> tuple[np.ndarray, np.ndarray] | None:
        """w [C, H] and b [C] of the linear layer, if there is one; zeros without a bias."""
        if self.fc is None:
            return None
        weight = _array(self.fc, "weight")
        if self.fc.bias is None:
            return weight, np.zeros(len(weight), np.float32)
        return weight, _array(self.fc, "bias")


def _array(module: nn.Module, name: str) -> np.ndarray:
    parameter: torch.Tensor = getattr(module, name)
    return parameter.detach().numpy()


@dataclass(frozen=True)
class GruTask:
    """The model and one call of it.

    Attributes:
        model: the weights.
        frames: [T, I] f32.
        state: [L, H] f32, before the first frame.
        y_shape: of the first output as PyTorch gives it, [1, T, C] or [T, 1, C].
    """

    model: GruModel
    frames: np.ndarray
    state: np.ndarray
    y_shape: tuple[int, ...]

    def shaped(self, y: np.ndarray, state: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Results of all frames and the last state of each layer, shaped as PyTorch's."""
        layers, hidden = self.state.shape
        last = np.asarray(state, np.float32).reshape(layers, 1, hidden)
        return [np.asarray(y, np.float32).reshape(self.y_shape), last]


def gru_task(task: Task) -> GruTask:
    """The task's model and inputs as arrays.

    Raises:
        InputError: the module is something else.
    """
    from rtmobile_iree.bench.peers.gru_exported import exported_gru_model

    inputs, outputs = task.input_arrays(), task.expected_arrays()
    if (len(inputs), len(outputs)) != (2, 2):
        raise InputError(
            f"its graph takes a chunk and the state and returns both; this model has {len(inputs)} "
            f"inputs and {len(outputs)} outputs"
        )
    x, state = inputs
    if state.ndim != 3 or state.shape[1] != 1:
        raise InputError(f"its graph is for batch 1, not for a state {list(state.shape)}")
    module = task_module(task)
    if isinstance(module, GraphModule):
        model = exported_gru_model(module)
    else:
        model = gru_model(module)
    return GruTask(model, x.reshape(-1, x.shape[-1]), state[:, 0], outputs[0].shape)


def gru_model(module: nn.Module) -> GruModel:
    """Finds the one nn.GRU and the at most one nn.Linear of a module.

    Raises:
        InputError: the module has other parameters, so this graph would not compute the same.
    """
    grus = [m for m in module.modules() if isinstance(m, nn.GRU)]
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    known = {id(p) for m in (*grus, *linears) for p in m.parameters()}
    others = [name for name, p in module.named_parameters() if id(p) not in known]
    if len(grus) != 1 or len(linears) > 1 or others or grus[0].bidirectional:
        raise InputError(
            f"{type(module).__name__} must be one nn.GRU and at most one "
            f"nn.Linear (found {len(grus)} and {len(linears)}; others: {', '.join(others) or 'no'})"
        )
    return GruModel(grus[0], linears[0] if linears else None)
