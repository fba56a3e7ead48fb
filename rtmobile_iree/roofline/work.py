"""What a model must do at least: kept weights, multiply-adds and activations, read off its IR."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.passes.contraction import match_contraction
from rtmobile_iree.passes.encode import DENSE
from rtmobile_iree.passes.kernels.gates import live_gates
from rtmobile_iree.passes.lower import ARRAYS, read_packed
from rtmobile_iree.passes.weights import walk


@dataclass(frozen=True)
class MatrixWork:
    """One matrix: nonzero weights, and their bytes."""

    kept: int
    bytes: int


@dataclass(frozen=True)
class RecurrentWork:
    """One recurrent layer.

    Attributes:
        activations: how often each function of `Limits.activation_ns` is computed a step and
            batch entry, constant gates left out.
    """

    w_ih: MatrixWork
    w_hh: MatrixWork
    activations: dict[str, int]


@dataclass(frozen=True)
class LinearWork:
    """One linear layer; it meets `per_step` vectors a step and `fixed` more."""

    weight: MatrixWork
    per_step: int
    fixed: int

    def vectors(self, steps: int) -> int:
        return self.per_step * steps + self.fixed


@dataclass(frozen=True)
class Work:
    """A model; `batch`: sequences side by side."""

    recurrent: tuple[RecurrentWork, ...]
    linear: tuple[LinearWork, ...]
    batch: int

    @property
    def bytes(self) -> int:
        """Bytes of all kept weights."""
        matrices = [m for layer in self.recurrent for m in (layer.w_ih, layer.w_hh)]
        return sum(m.bytes for m in (*matrices, *(each.weight for each in self.linear)))

    @property
    def kept(self) -> int:
        """All kept weights."""
        matrices = [m for layer in self.recurrent for m in (layer.w_ih, layer.w_hh)]
        return sum(m.kept for m in (*matrices, *(each.weight for each in self.linear)))

    def working_sets(self) -> tuple[int, ...]:
        """Sizes in bytes that `lower_bound` asks the bandwidth of."""
        return (self.bytes, *(layer.w_hh.bytes for layer in self.recurrent))


def read_work(module: ir.Module) -> Work:
    """Reads a module after `bspc-pack`."""
    ops = list(walk(module.operation))
    layers = [op for op in ops if op.name == "bspc.packed_gru"]
    batch = ir.RankedTensorType(layers[0].operands[0].type).shape[1] if layers else 1
    linear = []
    for op in ops:
        if op.name == "bspc.packed_matmul":
            weight = _matrix(read_packed(op, 1, "shape"))
            linear.append(_linear(op.operands[0], weight, batch))
        elif DENSE in op.attributes and (match := match_contraction(op)) is not None:
            kept = int(np.count_nonzero(match.weight))
            weight = MatrixWork(kept, kept * match.weight.itemsize)
            linear.append(_linear(match.x, weight, batch))
    return Work(tuple(map(_gru, layers)), tuple(linear), batch)


def gru_activations(r: np.ndarray, z: np.ndarray, n: np.ndarray) -> dict[str, int]:
    """Least activations of a GRU layer whose live units these are, by gate.

    A unit with both z and n live takes one state update, which computes them together.
    """
    both = np.intersect1d(z, n).size
    return {"sigmoid": r.size + z.size - both, "tanh": n.size - both, "gru_blend": both}


def _gru(op: ir.Operation) -> RecurrentWork:
    w_ih, w_hh = read_packed(op, 2, "shape_ih"), read_packed(op, 2 + ARRAYS, "shape_hh")
    b_hh = np.array(op.operands[-1].owner.attributes["value"])
    live = live_gates(w_ih, w_hh, b_hh)
    return RecurrentWork(_matrix(w_ih), _matrix(w_hh), gru_activations(live.r, live.z, live.n))


def _matrix(packed: PackedMatrix) -> MatrixWork:
    kept = int(np.count_nonzero(packed.values))
    return MatrixWork(kept, kept * packed.values.itemsize)


def _linear(x: ir.Value, weight: MatrixWork, batch: int) -> LinearWork:
    """`x` [..., N]; an open size is that of the steps, with or without the batch in it."""
    kind = ir.RankedTensorType(x.type)
    axes = range(kind.rank - 1)
    if any(kind.is_dynamic_dim(axis) for axis in axes):
        return LinearWork(weight, batch, 0)
    return LinearWork(weight, 0, math.prod(kind.shape[axis] for axis in axes))
