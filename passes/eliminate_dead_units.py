"""bspc-eliminate-dead-units: hidden units that nobody reads are not computed.

Rewrites:
    %y, %s = bspc.gru %x, %state, %w_ih, %w_hh, ...      (rows of a dead unit in both weights)
  ->
    the same op with those rows zero, so that every gate of the unit is a constant
    (passes/kernels/gates.py), its rows are stored nowhere, and its inputs may die in turn;
    bspc.lstm and the plain RNNs likewise

Unit j of a layer is live if it can be seen, which is the least solution of

    - y[.., j] is read by a linear layer with a weight in column j, or by anything unknown;
    - y[.., j] is read by the next layer: w_ih[i, j] != 0 in a row i of a live unit there;
    - w_hh[i, j] != 0 in a row i of a live unit of the same layer;
    - the state leaves the layer for anything but further layers, which keep and return its row.

All others are dead, units in a cycle that only feed each other included.

Why outputs are unchanged: let two runs differ in the rows of dead units alone. By induction over
steps and layers, every live unit has the same value in both: its gates sum w[i, j] * value[j], and
for each j either w[i, j] = 0, so that the term is zero in both runs (values are finite: from finite
states and biases no layer but an exploding rnn_relu makes others), or j is live by the rules above,
so that value[j] is the same (an LSTM's c[j] is read by h[j] alone). What leaves the function reads
live units only. Biases stay: a constant costs nothing.

Assumes: weights are plain constants; it runs before `bspc-encode`.
Does not handle: outputs or states that are cut, joined or padded along the units (concatenation of
two directions, slices of the final state), projected units (`bspc.lstmp`): those count as read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rtmobile_iree.passes.contraction import match_contraction
from rtmobile_iree.passes.weights import read_weights, walk, write_weights
from torch_mlir import ir
from torch_mlir.dialects import linalg

from rtmobile_iree.kinds import KINDS

DEAD_UNITS = "bspc.dead_units"
RECURRENT = {f"bspc.{kind.name}" for kind in KINDS.values()}
# What may be done with a dead unit's value without making 0 * value a NaN.
FINITE = {
    "arith.addf", "arith.subf", "arith.mulf", "arith.negf", "arith.maximumf", "arith.minimumf",
    "arith.cmpf", "arith.select", "arith.constant", "math.absf", "math.tanh", "linalg.yield",
}  # fmt: skip
Units = NDArray[np.bool_]


@dataclass(eq=False)
class Layer:
    """One recurrent op on its way to the fixed point.

    Attributes:
        w_ih, w_hh: [G H, I] and [G H, H].
        live: [H], units known to be seen.
        readers: layers that read y as their x.
    """

    op: ir.Operation
    w_ih: NDArray[np.float32]
    w_hh: NDArray[np.float32]
    live: Units
    readers: list[Layer]

    @property
    def rows(self) -> Units:
        """[G H], rows of live units."""
        return np.tile(self.live, len(self.w_hh) // self.live.size)

    def spread(self) -> bool:
        """Marks what live units read; whether anything was new."""
        seen = self.live | (self.w_hh[self.rows] != 0).any(axis=0)
        for reader in self.readers:
            seen |= (reader.w_ih[reader.rows] != 0).any(axis=0)
        grown = bool((seen != self.live).any())
        self.live = seen
        return grown


@dataclass(frozen=True)
class EliminateDeadUnitsPass:
    """Zeroes the rows of hidden units that nobody reads."""

    name: ClassVar[str] = "bspc-eliminate-dead-units"

    def run(self, module: ir.Operation) -> None:
        layers = [layer for op in walk(module) if (layer := _layer(op)) is not None]
        for layer in layers:
            _mark_seen(layer, layers)
        grown = True
        while grown:
            grown = sum(layer.spread() for layer in layers) > 0
        for layer in layers:
            _eliminate(layer)


def _layer(op: ir.Operation) -> Layer | None:
    """A recurrent op with plain weights, no unit known to be live."""
    if op.name not in RECURRENT:
        return None
    weights = read_weights(op)
    if len(weights) != 2 or any(weight.encoding is not None for weight in weights):
        return None
    w_ih, w_hh = (weight.array for weight in weights)
    return Layer(op, w_ih, w_hh, np.zeros(w_hh.shape[1], bool), [])


def _mark_seen(layer: Layer, layers: list[Layer]) -> None:
    """Units seen by other than recurrent layers, and the layers that read y."""
    y, *states = layer.op.results
    row = ir.IntegerAttr(layer.op.attributes["layer"]).value
    for op, operand, axis in _readers(y, ir.RankedTensorType(y.type).rank - 1):
        reader = next((each for each in layers if each.op == op), None)
        if reader is not None and operand == 0:
            layer.readers.append(reader)
        else:
            layer.live |= _columns_read(op, operand, axis, layer.live.size)
    if any(_leaves(state, row) for state in states):
        layer.live[:] = True


def _readers(value: ir.Value, axis: int) -> Iterator[tuple[ir.Operation, int, int]]:
    """(op, operand number, axis of the units) of whoever computes with a value's units.

    Ops that keep each unit to itself are looked through: casts, reshapes beside the units,
    transposes, and what linalg computes element by element with `FINITE`.
    """
    for use in value.uses:
        op = use.owner.operation
        if op.name == "tensor.dim":
            continue
        moved = _moved_axis(op, use.operand_number, axis)
        if moved is None:
            yield op, use.operand_number, axis
        else:
            yield from _readers(op.results[0], moved)


def _moved_axis(op: ir.Operation, operand: int, axis: int) -> int | None:
    """Where the axis of the units is in an op's result, if the op keeps each unit to itself."""
    if op.name == "tensor.cast":
        return axis
    if op.name in ("tensor.collapse_shape", "tensor.expand_shape"):
        return _reshaped_axis(op, axis)
    if not op.name.startswith("linalg.") or len(op.results) != 1 or not _is_parallel(op):
        return None
    maps = [ir.AffineMapAttr(each).value.results for each in linalg.get_indexing_maps(op)]
    before, after = (
        [e.position if isinstance(e, ir.AffineDimExpr) else None for e in results]
        for results in (maps[operand], maps[-1])
    )
    loop = before[axis]
    if loop is None or before.count(loop) > 1 or loop not in after:
        return None
    return after.index(loop)


def _reshaped_axis(op: ir.Operation, axis: int) -> int | None:
    """The axis behind a reshape; None when it is split, or joined with one of another size than 1.

    A group of axes on the larger side is one axis on the smaller side.
    """
    collapse = op.name == "tensor.collapse_shape"
    large = ir.RankedTensorType((op.operands[0] if collapse else op.results[0]).type)
    groups = [
        [ir.IntegerAttr(number).value for number in ir.ArrayAttr(group)]
        for group in ir.ArrayAttr(op.attributes["reassociation"])
    ]
    small = next(i for i, group in enumerate(groups) if axis in group) if collapse else axis
    group = groups[small]
    wide = [i for i in group if large.is_dynamic_dim(i) or large.shape[i] != 1] or group[-1:]
    if len(wide) > 1 or (collapse and wide != [axis]):
        return None
    return small if collapse else wide[0]


def _is_parallel(op: ir.Operation) -> bool:
    """Whether a linalg op computes element by element, and nothing infinite from finite numbers."""
    if op.name in ("linalg.transpose", "linalg.broadcast"):
        return True
    if op.name != "linalg.generic":
        return False
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    inside = [each.operation.name for each in op.regions[0].blocks[0].operations]
    return set(inside) <= FINITE and all("parallel" in kind for kind in kinds)


def _columns_read(op: ir.Operation, operand: int, axis: int, units: int) -> Units:
    """[H] units an op reads: columns of a linear layer that hold a weight, else all."""
    weight = None
    if op.name == "bspc.matmul" and operand == 0:
        rank = ir.RankedTensorType(op.operands[0].type).rank
        plain = read_weights(op)[0]
        weight = plain.array if axis == rank - 1 and plain.encoding is None else None
    else:
        match = match_contraction(op)
        if match is not None and match.x == op.operands[operand] and match.x_order[-1] == axis:
            weight = match.weight
    if weight is None or weight.shape[1] != units:
        return np.ones(units, bool)
    seen: Units = (weight != 0).any(axis=0)
    return seen


def _leaves(state: ir.Value, row: int) -> bool:
    """Whether row `row` of a state tensor is read by anything but layers that hand it on."""
    for use in state.uses:
        op = use.owner.operation
        if op.name == "tensor.dim":
            continue
        if op.name not in RECURRENT or not 0 < use.operand_number < len(op.results):
            return True
        own = ir.IntegerAttr(op.attributes["layer"]).value
        if own == row or _leaves(op.results[use.operand_number], row):
            return True
    return False


def _eliminate(layer: Layer) -> None:
    """Zeroes the rows of dead units, and counts those that had any."""
    dead = ~layer.rows
    stored = (layer.w_ih != 0).any(axis=1) | (layer.w_hh != 0).any(axis=1)
    count = int((dead & stored).reshape(-1, layer.live.size).any(axis=0).sum())
    if not count:
        return
    weights = [
        replace(weight, array=np.where(dead[:, None], np.float32(0), weight.array))
        for weight in read_weights(layer.op)
    ]
    op = write_weights(layer.op, weights)
    with op.context:
        i64 = ir.IntegerType.get_signless(64)
        op.attributes[DEAD_UNITS] = ir.IntegerAttr.get(i64, count)
