"""A GRU layer under masks, forward and backward, at the cost of the weights that are kept.

The same function as `dense.GRULayer`, in f32. Activations are [T, units, L]: the utterances of
a batch are the lanes, so that a weight multiplies all of them at once (`lanes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtmobile_iree.gru_training.lanes import LANES
from rtmobile_iree.gru_training.sparse_kernels import dots, gru_backward, gru_forward, products


@dataclass(frozen=True)
class Sparsity:
    """Where a matrix [M, N] has weights, in CSR; and its transpose's.

    Attributes:
        flat: [K] i64, each kept entry's place in the matrix; rows rise, then columns.
        bounds: [M + 1] i64, columns: [K] i32.
        order: [K] i64, the transpose's entries in terms of these; its bounds and rows likewise.
    """

    shape: tuple[int, int]
    flat: Tensor

    @staticmethod
    def of(kept: Tensor) -> Sparsity:
        """A mask's: [M, N] bool."""
        rows, columns = kept.shape
        return Sparsity((rows, columns), kept.flatten().nonzero().flatten())

    @cached_property
    def csr(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        flat = self.flat.numpy()
        return _bounds(flat // self.shape[1], self.shape[0]), _i32(flat % self.shape[1])

    @cached_property
    def transposed(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        flat = self.flat.numpy()[self.order]
        return _bounds(flat % self.shape[1], self.shape[1]), _i32(flat // self.shape[1])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        return np.argsort(self.flat.numpy() % self.shape[1], kind="stable")

    def values(self, matrix: Tensor) -> NDArray[np.float32]:
        """[K], of a matrix [M, N] f32."""
        found: NDArray[np.float32] = matrix.detach().flatten()[self.flat].numpy()
        return found

    def matrix(self, values: NDArray[np.float32]) -> Tensor:
        """[M, N], zeros elsewhere."""
        full = torch.zeros(self.shape[0] * self.shape[1])
        full[self.flat] = torch.from_numpy(values)
        return full.view(self.shape)


def _bounds(sorted_numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.searchsorted(sorted_numbers, np.arange(count + 1))


def _i32(numbers: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.ascontiguousarray(numbers, np.int32)


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
        products(*ih.csr, values_ih, start.numpy(), x.numpy(), gates.numpy())
        hidden = _rows(steps + 1, units, lanes)
        hidden[0] = 0
        bias = b_hh[2 * units :].numpy()
        gru_forward(*hh.csr, values_hh, bias, gates.numpy(), heard.numpy(), hidden.numpy())
        ctx.save_for_backward(x, gates, heard, hidden)
        ctx.sparse = ih, values_ih, hh, values_hh
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of the five tensors; f32."""
        x, gates, heard, hidden = ctx.saved_tensors
        ih, values_ih, hh, values_hh = ctx.sparse
        steps, units, lanes = heard.shape
        dgates, dn = _rows(steps, 3 * units, lanes), _rows(steps, units, lanes)
        gru_backward(
            *hh.transposed, values_hh[hh.order], gates.numpy(), heard.numpy(), hidden.numpy(),
            grads[0].contiguous().numpy(), dgates.numpy(), dn.numpy(),
            np.zeros((units, lanes), np.float32),
        )  # fmt: skip
        dw_hh, db_hh = _gradients(hh, dgates, hidden[:-1])
        dgates[:, 2 * units :] = dn
        dw_ih, db_ih = _gradients(ih, dgates, x)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _rows(steps, x.shape[1], lanes)
            zeros = np.zeros(x.shape[1], np.float32)
            products(*ih.transposed, values_ih[ih.order], zeros, dgates.numpy(), dx.numpy())
        return dx, dw_ih, dw_hh, db_ih, db_hh, None, None


def _gradients(sparsity: Sparsity, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the matrix and of the bias, from those of their sum."""
    values, sums = np.empty(len(sparsity.flat), np.float32), np.empty(rows.shape[1], np.float32)
    dots(*sparsity.csr, rows.numpy(), x.numpy(), values, sums)
    return sparsity.matrix(values), torch.from_numpy(sums)
