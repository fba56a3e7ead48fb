"""PyTorch's sparse matrices (MKL's, on x86), in a GRU written with them.

Layer by layer: the input weights times the frames of a whole chunk, then one product with the
recurrent weights a step. Few operators: each costs a microsecond or two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import GruTask, LayerWeights, gru_task
from rtmobile_iree.errors import InputError

# a square block of 1 would be CSR; MKL takes no others
BSR_BLOCKS = (2, 4, 8)
Layer = tuple[Tensor, Tensor, Tensor, Tensor]


class TorchCsrPeer(FastestCall):
    """Compressed rows, with 32-bit indices (with 64 a product takes a third longer)."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        super().__init__([_cells("CSR, i32 indices", gru_task(task), csr)], torch.inference_mode)


class TorchBsrPeer(FastestCall):
    """Square blocks over the zeros there are; the fastest of their sizes."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        gru = gru_task(task)
        sizes = [size for w in gru.model.layers() for matrix in w[:2] for size in matrix.shape]
        blocks = [block for block in BSR_BLOCKS if not any(size % block for size in sizes)]
        if not blocks:
            raise InputError(f"its square blocks, {BSR_BLOCKS}, do not divide the weights' sizes")
        super().__init__(
            [_cells(f"BSR, {b}x{b} blocks", gru, partial(bsr, block=b)) for b in blocks],
            torch.inference_mode,
        )


def csr(weight: np.ndarray) -> Tensor:
    """[M, N] f32 as compressed rows."""
    return _with_short_indices(lambda: torch.from_numpy(weight).to_sparse_csr())


def bsr(weight: np.ndarray, block: int) -> Tensor:
    """[M, N] f32 as compressed rows of square blocks."""
    return _with_short_indices(lambda: torch.from_numpy(weight).to_sparse_bsr((block, block)))


def _with_short_indices(make: Callable[[], Tensor]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compressed rows are a beta feature
        made = make()
        parts = made.crow_indices().int(), made.col_indices().int(), made.values()
        return torch.sparse_compressed_tensor(*parts, made.shape, layout=made.layout)


def _cells(name: str, gru: GruTask, sparse: Callable[[np.ndarray], Tensor]) -> Configuration:
    layers = [_layer(weights, sparse) for weights in gru.model.layers()]
    linear = gru.model.fc
    frames, first = torch.from_numpy(gru.frames), torch.from_numpy(gru.state)

    def run() -> tuple[Tensor, Sequence[Tensor]]:
        y, last = frames, []
        for layer, state in zip(layers, first, strict=True):
            y = _scan(layer, y, state)
            last.append(y[-1])
        return (y if linear is None else linear(y)), last

    def outputs() -> list[np.ndarray]:
        y, last = run()
        return gru.shaped(y.numpy(), torch.stack(list(last)).numpy())

    return Configuration(name, run, outputs)


def _layer(weights: LayerWeights, sparse: Callable[[np.ndarray], Tensor]) -> Layer:
    w_ih, w_hh, b_ih, b_hh = weights
    return sparse(w_ih), sparse(w_hh), torch.from_numpy(b_ih), torch.from_numpy(b_hh)


def _scan(layer: Layer, x: Tensor, h: Tensor) -> Tensor:
    """x [T, I] and h [H] -> [T, H]."""
    w_ih, w_hh, b_ih, b_hh = layer
    hidden = len(h)
    if len(x) == 1:
        inputs = torch.addmv(b_ih, w_ih, x[0])[None]
    else:
        inputs = (w_ih @ x.T).T + b_ih
    hs = []
    for row in inputs:
        product = torch.addmv(b_hh, w_hh, h)
        gates = torch.sigmoid(row[: 2 * hidden] + product[: 2 * hidden])
        n = torch.addcmul(row[2 * hidden :], gates[:hidden], product[2 * hidden :]).tanh_()
        h = torch.lerp(n, h, gates[hidden:])
        hs.append(h)
    return torch.stack(hs)
