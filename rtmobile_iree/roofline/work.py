"""What a model must do at least: kept weights, multiply-adds and activations, read off its IR."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.dialects.constants import constant_array
from rtmobile_iree.kinds import KINDS, Kind
from rtmobile_iree.passes.contraction import match_contraction
from rtmobile_iree.passes.encode import DENSE
from rtmobile_iree.passes.kernels.gates import live_gates
from rtmobile_iree.passes.packed_ops import PACKED, read_packed
from rtmobile_iree.passes.weights import walk
from rtmobile_iree.values import VALUE_BITS


@dataclass(frozen=True)
class MatrixWork:
    """One matrix: nonzero weights, and their bytes."""

    kept: int
    bytes: int


@dataclass(frozen=True)
class RecurrentWork:
    """One recurrent layer.

    Attributes:
        w_ih: read once a chunk.
        w_hh: read once a step: a projection of the units (LSTM's w_hr) included.
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
    ops = [(op, op.name.removeprefix(PACKED)) for op in walk(module.operation)]
    layers = [(op, KINDS[name]) for op, name in ops if name in KINDS and op.name != name]
    batch = ir.RankedTensorType(layers[0][0].operands[0].type).shape[1] if layers else 1
    linear = []
    for op, name in ops:
        if name == "matmul" and op.name != name:
            (packed,) = read_packed(op)
            linear.append(_linear(op.operands[0], _matrix(packed), batch))
        elif DENSE in op.attributes and (match := match_contraction(op)) is not None:
            kept = int(np.count_nonzero(match.weight))
            weight = MatrixWork(kept, kept * match.weight.itemsize)
            linear.append(_linear(match.x, weight, batch))
    return Work(tuple(_recurrent(*layer) for layer in layers), tuple(linear), batch)


def _recurrent(op: ir.Operation, kind: Kind) -> RecurrentWork:
    packed = read_packed(op)
    w_ih, *each_step = map(_matrix, packed)
    once_a_step = MatrixWork(sum(m.kept for m in each_step), sum(m.bytes for m in each_step))
    if kind.name == "gru":
        b_hh = constant_array(op.operands[len(op.operands) - 1])
        assert b_hh is not None
        live = live_gates(packed[0], packed[1], b_hh)
        return RecurrentWork(w_ih, once_a_step, gru_activations(live.r, live.z, live.n))
    stored = np.zeros(packed[1].shape[0], bool)
    for matrix in packed[:2]:
        stored[matrix.reorder] = True
    return RecurrentWork(w_ih, once_a_step, activations(kind, stored))


def gru_activations(r: np.ndarray, z: np.ndarray, n: np.ndarray) -> dict[str, int]:
    """Least activations of a GRU layer whose live units these are, by gate.

    A unit with both z and n live takes one state update, which computes them together.
    """
    both = np.intersect1d(z, n).size
    return {"sigmoid": r.size + z.size - both, "tanh": n.size - both, "gru_blend": both}


def activations(kind: Kind, stored: np.ndarray) -> dict[str, int]:
    """Least activations of an LSTM or plain RNN layer.

    Args:
        stored: [gates H] rows that any weight keeps; a gate without one is a constant.
    """
    gates = stored.reshape(kind.gates, -1)
    if kind.gates == 1:
        return {"tanh": int(gates.sum())} if kind.name == "rnn_tanh" else {}
    # c changes at every step, gates constant or not
    return {"lstm_cell": int(gates[:3].any(axis=0).sum()), "lstm_output": gates.shape[1]}


def _matrix(packed: PackedMatrix) -> MatrixWork:
    kept = int(np.count_nonzero(packed.values))
    return MatrixWork(kept, -(-kept * VALUE_BITS[packed.value_type] // 8))


def _linear(x: ir.Value, weight: MatrixWork, batch: int) -> LinearWork:
    """`x` [..., N]; an open size is that of the steps, with or without the batch in it."""
    kind = ir.RankedTensorType(x.type)
    axes = range(kind.rank - 1)
    if any(kind.is_dynamic_dim(axis) for axis in axes):
        return LinearWork(weight, batch, 0)
    return LinearWork(weight, 0, math.prod(kind.shape[axis] for axis in axes))
