"""The GRU cell, with all gates or the live ones alone.

    r  = sigmoid(gi_r + gh_r);  z = sigmoid(gi_z + gh_z);  n = tanh(gi_n + r * gh_n)
    h  = (1 - z) * n + z * h

The bias b_hn stays with gh, which r multiplies; the others join gi. Where most gates are constant
(gates.py), only the live ones are computed, and each is sent to its unit.
Source: PyTorch's `nn.GRU`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.activation import gru_blend, sigmoid, tanh
from rtmobile_iree.passes.kernels.cells import (
    Cell,
    GateRows,
    Layer,
    Scratch,
    StepVectors,
    every_row,
)
from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.gates import LiveGates, constant_gates, is_compact, live_gates
from rtmobile_iree.passes.kernels.panels import Constants
from rtmobile_iree.passes.kernels.plan import ConstantPool
from torch_mlir import ir
from torch_mlir.dialects import arith

GATES = 3

# values of `size` elements from an offset on
Piece = Callable[[ir.Value, int], ir.Value]


def plan_gru(pool: ConstantPool, scratch: Scratch, layer: Layer) -> tuple[GateRows, Cell]:
    """The rows of a GRU layer that need computing, and its cell."""
    hidden = layer.b_hh.size // GATES
    rows = every_row(layer, np.arange(GATES * hidden) < 2 * hidden)
    live = live_gates(layer.w_ih, layer.w_hh, layer.b_hh)
    if not is_compact(live):
        return rows, GRUCell(hidden)
    rows = GateRows(live.count, live.positions, rows.ih_bias, rows.hh_bias)
    return rows, _plan_live(pool, scratch, layer, live)


@dataclass(frozen=True)
class GRUCell:
    """Every gate of every unit."""

    hidden: int

    def prepare(self, e: Emitter, constants: Constants, scratch: ir.Value) -> None:
        """Nothing to fill."""

    def begin(self, e: Emitter, step: StepVectors) -> None:
        """Nothing to do."""

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The next state of units [unit, unit + size)."""
        (gi_r, gh_r), (gi_z, gh_z), (gi_n, gh_n) = (
            step.gates(e, e.add(unit, gate * self.hidden), size) for gate in range(GATES)
        )
        h = step.state(e, 0, unit, size)
        r = sigmoid(e, arith.addf(gi_r, gh_r), size)
        return gru_blend(e, arith.addf(gi_z, gh_z), e.fma(r, gh_n, gi_n), h, size)


@dataclass(frozen=True)
class LiveGRUCell:
    """The live gates alone; the constant ones are in place from the start.

    Attributes:
        counts: live units of r, z, n.
        r_targets, z_units, n_units: offsets in the index buffer: where each result goes.
        r_start, z_start, n_start: offsets in values: what the three buffers below start as.
        r, z, n: offsets in scratch: r of the live units of n, z and n of every unit.
        results: offset in scratch of the live results of one gate, before they are sent out.
    """

    hidden: int
    counts: tuple[int, int, int]
    r_targets: int
    z_units: int
    n_units: int
    r_start: int
    z_start: int
    n_start: int
    r: int
    z: int
    n: int
    results: int

    def prepare(self, e: Emitter, constants: Constants, scratch: ir.Value) -> None:
        """Puts the constant gates in place."""
        for start, target, length in (
            (self.r_start, self.r, self.counts[2] + 1),
            (self.z_start, self.z, self.hidden),
            (self.n_start, self.n, self.hidden),
        ):
            e.copy(constants.values, e.index(start), scratch, e.index(target), length)

    def begin(self, e: Emitter, step: StepVectors) -> None:
        """Computes the live gates and sends each to its unit."""
        r_count, z_count, n_count = self.counts

        def sum_sigmoid(first: int) -> Piece:
            def piece(i: ir.Value, size: int) -> ir.Value:
                return sigmoid(e, arith.addf(*step.gates(e, e.add(i, first), size)), size)

            return piece

        def new_gate(i: ir.Value, size: int) -> ir.Value:
            gi_n, gh_n = step.gates(e, e.add(i, r_count + z_count), size)
            r = e.vload(step.scratch, e.add(i, self.r), size)
            return tanh(e, e.fma(r, gh_n, gi_n), size)

        self._send(e, step, r_count, sum_sigmoid(0), self.r_targets, self.r)
        self._send(e, step, z_count, sum_sigmoid(r_count), self.z_units, self.z)
        self._send(e, step, n_count, new_gate, self.n_units, self.n)

    def _send(
        self, e: Emitter, step: StepVectors, count: int, compute: Piece, places: int, target: int
    ) -> None:
        """target[places[i]] = compute(i) for i in [0, count)."""
        scratch, results = step.scratch, self.results
        e.pieces(count, lambda i, size: e.vstore(compute(i, size), scratch, e.add(i, results)))

        def one(i: ir.Value) -> None:
            place = e.load_index(step.constants.index, e.add(i, places))
            e.store(e.load(scratch, e.add(i, results)), scratch, e.add(place, target))

        e.loop(0, count, 1, [], one)

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The next state of units [unit, unit + size): n + z * (h - n)."""
        z = e.vload(step.scratch, e.add(unit, self.z), size)
        n = e.vload(step.scratch, e.add(unit, self.n), size)
        return e.fma(z, arith.subf(step.state(e, 0, unit, size), n), n)


def _plan_live(pool: ConstantPool, scratch: Scratch, layer: Layer, live: LiveGates) -> LiveGRUCell:
    hidden = layer.b_hh.size // GATES
    constant = constant_gates(live, layer.b_ih, layer.b_hh)
    return LiveGRUCell(
        hidden,
        (live.r.size, live.z.size, live.n.size),
        pool.add_index(constant.r_targets),
        pool.add_index(live.z),
        pool.add_index(live.n),
        pool.add_values(constant.r_of_n),
        pool.add_values(constant.z),
        pool.add_values(constant.n),
        scratch.take(constant.r_of_n.size),
        scratch.take(hidden),
        scratch.take(hidden),
        scratch.take(hidden),
    )
