"""A GRU layer under masks, forward and backward, at the cost of the weights that are kept.

The same function as `dense.GRULayer`, in f32. Activations are [T, units, L]: the utterances of
a batch are the lanes, so that a weight multiplies all of them at once (`lanes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtmobile_iree.gru_training import quad_kernels, row_kernels
from rtmobile_iree.gru_training.lanes import LANES
from rtmobile_iree.gru_training.row_kernels import STEPS

# Steps that one kernel takes after the other, so that what the first leaves is in the cache for the
# next: 4 x 3072 x 16 f32 of gates are 0.8 MB of a core's 1 MB. Backwards the sums of gradients pay
# for STEPS at once.
FORWARD_STEPS = 4


@dataclass(frozen=True)
class Sparsity:
    """Where a matrix [M, N] has weights: in CSR, of single rows or of four that share columns.

    Attributes:
        group: rows of an entry, R: 1 or 4.
        flat: [E, R] i64, the places in the matrix; groups of rows rise, then columns.
    """

    shape: tuple[int, int]
    group: int
    flat: Tensor

    @staticmethod
    def of(kept: Tensor) -> Sparsity:
        """A mask's: [M, N] bool."""
        rows, columns = kept.shape
        # a gate's rows are M / 3, and no group lies in two gates
        group = 1 if rows % 12 else 4
        first = kept.view(-1, group, columns)
        if not first.eq(first[:, :1]).all():
            group, first = 1, kept.view(-1, 1, columns)
        entries = first[:, 0].flatten().nonzero()
        start = entries // columns * group * columns + entries % columns
        return Sparsity((rows, columns), group, start + torch.arange(group) * columns)

    @property
    def kept(self) -> int:
        """Weights."""
        return self.flat.numel()

    @property
    def kernels(self) -> ModuleType:
        """`row_kernels`, or those of four rows."""
        return row_kernels if self.group == 1 else quad_kernels

    @cached_property
    def csr(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """`bounds` [M / R + 1] i64, where each group's entries begin, and `columns` [E] i32."""
        first = self.flat[:, 0].numpy()
        groups = first // (self.group * self.shape[1])
        bounds = np.searchsorted(groups, np.arange(self.shape[0] // self.group + 1))
        return bounds, np.ascontiguousarray(first % self.shape[1], np.int32)

    def values(self, matrix: Tensor) -> NDArray[np.float32]:
        """[E] or, of four rows, [E, 4], of a matrix [M, N] f32."""
        found: NDArray[np.float32] = matrix.detach().flatten()[self.flat].numpy()
        return found if self.group > 1 else found[:, 0]

    def matrix(self, values: NDArray[np.float32]) -> Tensor:
        """[M, N], zeros elsewhere."""
        full = torch.zeros(self.shape[0] * self.shape[1])
        full[self.flat.flatten()] = torch.from_numpy(values.reshape(-1))
        return full.view(self.shape)


def into_lanes(x: Tensor) -> Tensor:
    """[B, T, N] -> [T, N, L], utterances padded with zeros to whole lanes."""
    lanes = -(-len(x) // LANES) * LANES
    result = _rows(x.shape[1], x.shape[2], lanes)
    result[..., : len(x)] = x.permute(1, 2, 0)
    result[..., len(x) :] = 0
    return result


def _rows(steps: int, rows: int, lanes: int) -> Tensor:
    """[steps, rows, lanes], uninitialised. A step's pitch is odd in registers: at a power of two
    the same row of all steps would meet in a few sets of the caches."""
    return torch.empty(steps, rows | 1, lanes)[:, :rows]


class SparseGRULayer(torch.autograd.Function):
    """See the module; gates in PyTorch's order r, z, n."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        ih: Sparsity, hh: Sparsity,
    ) -> Tensor:  # fmt: skip
        """x [T, N, L], w_ih [3H, N], w_hh [3H, H], b_ih and b_hh [3H], all f32 -> [T, H, L].

        Of `w_ih` and `w_hh` counts what `ih` and `hh` keep.
        """
        steps, _, lanes = x.shape
        units = w_hh.shape[1]
        start = b_ih.clone()
        start[: 2 * units] += b_hh[: 2 * units]
        values_ih, values_hh = ih.values(w_ih), hh.values(w_hh)
        gates, heard = _rows(steps, 3 * units, lanes), _rows(steps, units, lanes)
        hidden = _rows(steps + 1, units, lanes)
        hidden[0] = 0
        bias = b_hh[2 * units :].numpy()
        for a, b in _chunks(steps, FORWARD_STEPS):
            own = gates[a:b].numpy()
            ih.kernels.products(*ih.csr, values_ih, start.numpy(), x[a:b].numpy(), own)
            after = heard[a:b].numpy(), hidden[a : b + 1].numpy()
            hh.kernels.gru_forward(*hh.csr, values_hh, bias, own, *after)
        ctx.save_for_backward(x, gates, heard, hidden)
        ctx.sparse = ih, values_ih, hh, values_hh
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of the five tensors; f32."""
        x, gates, heard, hidden = ctx.saved_tensors
        ih, values_ih, hh, values_hh = ctx.sparse
        steps, units, lanes = heard.shape
        dy, dh = grads[0].contiguous(), torch.zeros(units, lanes)
        dx = _rows(*x.shape).zero_() if ctx.needs_input_grad[0] else None
        of_ih, of_hh = _Gradient(ih), _Gradient(hh)
        dgates, dn = _rows(STEPS, 3 * units, lanes), _rows(STEPS, units, lanes)
        for a, b in reversed(_chunks(steps, STEPS)):
            own, own_n = dgates[: b - a], dn[: b - a]
            given = (each.numpy() for each in (gates[a:b], heard[a:b], hidden[a:b], dy[a:b]))
            hh.kernels.gru_backward(
                *hh.csr, values_hh, *given, own.numpy(), own_n.numpy(), dh.numpy()
            )
            of_hh.add(own, hidden[a:b])
            own[:, 2 * units :] = own_n
            of_ih.add(own, x[a:b])
            if dx is not None:
                ih.kernels.transposed_products(*ih.csr, values_ih, own.numpy(), dx[a:b].numpy())
        return dx, of_ih.matrix, of_hh.matrix, of_ih.bias, of_hh.bias, None, None


class _Gradient:
    """Of a matrix and of a bias, from those of their sums, a few steps at a time."""

    def __init__(self, sparsity: Sparsity) -> None:
        self._sparsity = sparsity
        shape = sparsity.flat.shape if sparsity.group > 1 else sparsity.kept
        self._values = np.zeros(shape, np.float32)
        self.bias = torch.zeros(sparsity.shape[0])

    def add(self, rows: Tensor, x: Tensor) -> None:
        """Rows [T, M, L] and what was multiplied, [T, N, L]."""
        own = self._sparsity
        own.kernels.dots(*own.csr, rows.numpy(), x.numpy(), self._values, self.bias.numpy())

    @property
    def matrix(self) -> Tensor:
        """[M, N]."""
        return self._sparsity.matrix(self._values)


def _chunks(steps: int, size: int) -> list[tuple[int, int]]:
    """Bounds of so many steps each, but the last."""
    return [(start, min(start + size, steps)) for start in range(0, steps, size)]
