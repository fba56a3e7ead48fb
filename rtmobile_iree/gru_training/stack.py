"""A GRU stack over whole utterances, with gradients: each way of running it where it is faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from rtmobile_iree.gru_training.dense import GRULayer
from rtmobile_iree.gru_training.sparse import SparseGRULayer, Sparsity, into_lanes
from rtmobile_iree.prune.masks import Mask

__all__ = ["GRUPass", "Precision", "operand_type"]

Precision = Literal["auto", "f32", "bf16"]
# The sparse way is faster than dense products with this share of the weights or less, by the type
# of the dense operands and by the rows that share columns; 16 utterances of 100 steps, one core.
# bf16 on a Zen 4, 2 x 1024 units: 400 ms dense, a layer; 230 at 1/10 (115 by fours), 70 at 1/43
# (45). f32 on a Zen 3, 2 x 512, a training step: 600 ms dense; 370 at 1/4, 290 at 1/2 by fours.
SPARSE_BELOW = {
    torch.bfloat16: {1: 1 / 12, 4: 1 / 4},
    torch.float32: {1: 1 / 3, 4: 1.0},
}


class GRUPass:
    """Calls an `nn.GRU` on utterances that begin with a state of zeros.

    Where masks (`rt.BSPPruner`'s) keep few weights, it computes with those alone.
    """

    def __init__(self, gru: nn.GRU, precision: Precision) -> None:
        """Precision is that of the operands of dense products (see `operand_type`); sparse ones are
        f32."""
        self.gru, self.dtype = gru, operand_type(precision)
        self._seen: dict[str, tuple[int, Sparsity]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, T, inputs] f32 -> [B, T, hidden] f32, with dropout in training mode."""
        masks = self._masks()
        kept = [self._sparsity(name, mask) for name, mask in masks.items()]
        if len(kept) < 2 * self.gru.num_layers:
            return self._dense(x)
        weights = sum(one.shape[0] * one.shape[1] for one in kept)
        below = SPARSE_BELOW[self.dtype]
        if sum(one.kept / below[one.group] for one in kept) > weights:
            return self._dense(x)
        return self._sparse(x, iter(kept))

    def _dense(self, x: Tensor) -> Tensor:
        y = x.transpose(0, 1)
        for layer in range(self.gru.num_layers):
            matrices = (getattr(self.gru, name) for name in _matrices(layer))
            y = GRULayer.apply(self._dropped(y, layer), *matrices, *self._biases(layer), self.dtype)
        return y.transpose(0, 1)

    def _sparse(self, x: Tensor, kept: Iterator[Sparsity]) -> Tensor:
        y = into_lanes(x)
        for layer in range(self.gru.num_layers):
            matrices = (self._parametrizations(name).original for name in _matrices(layer))
            y = SparseGRULayer.apply(
                self._dropped(y, layer), *matrices, *self._biases(layer), next(kept), next(kept)
            )
        return y[..., : len(x)].permute(2, 0, 1)

    def _dropped(self, y: Tensor, layer: int) -> Tensor:
        return dropout(y, self.gru.dropout, self.gru.training) if layer else y

    def _biases(self, layer: int) -> Iterator[Tensor]:
        return (getattr(self.gru, f"bias_{of}_l{layer}") for of in ("ih", "hh"))

    def _parametrizations(self, name: str) -> ParametrizationList:
        found = cast(nn.ModuleDict, self.gru.parametrizations)[name]
        return cast(ParametrizationList, found)

    def _masks(self) -> dict[str, Mask]:
        """Of the matrices that have one and nothing else, layer by layer."""
        names = [name for layer in range(self.gru.num_layers) for name in _matrices(layer)]
        chains = {n: list(self._parametrizations(n)) for n in names if is_parametrized(self.gru, n)}
        return {n: c[0] for n, c in chains.items() if len(c) == 1 and isinstance(c[0], Mask)}

    def _sparsity(self, name: str, mask: Mask) -> Sparsity:
        """A mask's, found anew when the mask has changed."""
        version, found = self._seen.get(name, (-1, None))
        if found is None or version != mask.kept._version:
            found = Sparsity.of(mask.kept)
            self._seen[name] = mask.kept._version, found
        return found


def operand_type(precision: Precision) -> torch.dtype:
    """Of dense products; "auto": bf16 where the CPU multiplies that, which is twice as fast there;
    elsewhere it is over ten times slower."""
    if precision == "auto":
        named = torch.cpu.get_capabilities().items()
        precision = "bf16" if any(has for name, has in named if name.endswith("bf16")) else "f32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _matrices(layer: int) -> tuple[str, str]:
    return f"weight_ih_l{layer}", f"weight_hh_l{layer}"
