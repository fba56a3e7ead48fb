"""A GRU layer, forward and backward, as dense training runs it.

PyTorch's `nn.GRU` on a CPU adds up a weight's gradient step by step, and has no bf16 of its own.
Here a layer's inputs and its weights' gradients are one matrix product each for all steps, a step
is one product and few element-wise operations, and products can take bf16 operands (half the
bytes, twice the arithmetic where a CPU has AVX512-BF16 or AMX). Everything else stays f32.
Batches begin with a state of zeros. Measured on one core of a Zen 4, 2 x 512 units: see
docs/speech.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class GRULayer(torch.autograd.Function):
    """One layer over all steps; gates in PyTorch's order r, z, n.

    r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh)
    n    = tanh(W_ih x + b_ih + r (W_hh h + b_hh))
    h    = (1 - z) n + z h
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        """x [T, B, N], w_ih [3H, N], w_hh [3H, H], b_ih and b_hh [3H], all f32 -> [T, B, H]."""
        steps, batch, _ = x.shape
        units = w_hh.shape[1]
        x_low, w_ih_low, w_hh_low = x.to(dtype), w_ih.to(dtype), w_hh.to(dtype)
        into = (x_low.flatten(0, 1) @ w_ih_low.t()).float().view(steps, batch, -1)
        into += b_ih
        into[..., : 2 * units] += b_hh[: 2 * units]
        gates, candidate, recurrent = into[..., : 2 * units], into[..., 2 * units :], w_hh_low.t()
        hidden = x.new_zeros(steps + 1, batch, units)
        hidden_low = torch.zeros(steps + 1, batch, units, dtype=dtype)
        heard = x.new_empty(steps, batch, units)  # W_hn h + b_hn
        for t in range(steps):
            product = hidden_low[t] @ recurrent
            gates[t].add_(product[:, : 2 * units]).sigmoid_()
            torch.add(product[:, 2 * units :], b_hh[2 * units :], out=heard[t])
            candidate[t].addcmul_(gates[t, :, :units], heard[t]).tanh_()
            torch.lerp(candidate[t], hidden[t], gates[t, :, units:], out=hidden[t + 1])
            hidden_low[t + 1] = hidden[t + 1]
        ctx.save_for_backward(x_low, w_ih_low, w_hh_low, into, heard, hidden, hidden_low)
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of all arguments but the dtype; f32."""
        x, w_ih, w_hh, into, heard, hidden, hidden_low = ctx.saved_tensors
        steps, batch, units = heard.shape
        r, z, n = into.unflatten(-1, (3, units)).unbind(2)
        gates = torch.empty(steps, batch, 3, units, dtype=w_hh.dtype)
        into_n = torch.empty(steps, batch, units, dtype=w_hh.dtype)
        dh = grads[0].new_zeros(batch, units)
        # step by step, so that what a step computes stays in the cache
        for t in range(steps - 1, -1, -1):
            dh.add_(grads[0][t])
            dn = torch.addcmul(dh, dh, z[t], value=-1)  # before tanh: (1 - z) (1 - n n) dh
            dn.addcmul_(dn, n[t].square(), value=-1)
            into_n[t] = dn
            torch.mul(dn, r[t], out=gates[t, :, 2])
            torch.mul(dn.mul_(heard[t]), r[t] - r[t].square(), out=gates[t, :, 0])
            change = (hidden[t] - n[t]).mul_(z[t] - z[t].square())
            torch.mul(change, dh, out=gates[t, :, 1])
            dh.mul_(z[t]).add_(gates[t].flatten(1) @ w_hh)
        rows = gates.view(steps * batch, 3 * units)
        dw_hh = (rows.t() @ hidden_low[:-1].flatten(0, 1)).float()
        db_hh = rows.float().sum(0)
        gates[:, :, 2] = into_n
        dw_ih = (rows.t() @ x.flatten(0, 1)).float()
        dx = (rows @ w_ih).float().view(steps, batch, -1) if ctx.needs_input_grad[0] else None
        return dx, dw_ih, dw_hh, rows.float().sum(0), db_hh, None
