"""The GRU cell, with all gates or the live ones alone.

    r  = sigmoid(gi_r + gh_r);  z = sigmoid(gi_z + gh_z);  n = tanh(gi_n + r * gh_n)
    h  = (1 - z) * n + z * h

The bias b_hn stays with gh, which r multiplies; the others join gi. Where most gates are constant
(gates.py), only the live ones are computed, and each is sent to its unit.
Source: PyTorch's `nn.GRU`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from rtmobile_iree.passes.kernels.expand import Expansion, plan_expansion, stored_places
from rtmobile_iree.passes.kernels.gates import (
    LiveGates,
    constant_gates,
    in_blocks,
    is_compact,
    live_gates,
)
from rtmobile_iree.passes.kernels.plan import ConstantPool
from rtmobile_iree.passes.kernels.sums import Constants
from torch_mlir import ir
from torch_mlir.dialects import arith

GATES = 3
# Registers of live gates in f16 that are computed side by side. By llvm-mca for Cortex-A76 eight
# gates r or z take 14 cycles alone, 12 beside eight others and 11 beside three times eight.
TOGETHER_HALF = 4

# values of `size` elements from an offset on
Piece = Callable[[ir.Value, int], ir.Value]


def plan_gru(
    pool: ConstantPool, scratch: Scratch, layer: Layer, width: int
) -> tuple[GateRows, Cell]:
    """The rows of a GRU layer that need computing, and its cell."""
    hidden = layer.b_hh.size // GATES
    rows = every_row(layer, np.arange(GATES * hidden) < 2 * hidden, GATES, width)
    live = live_gates(layer.w_ih, layer.w_hh, layer.b_hh)
    if not is_compact(live, pool.element == "f16" and rows.block > 0):
        return rows, GRUCell(hidden)
    blocked = _in_blocks(pool, layer, live, rows.block) if rows.block else None
    if blocked is None:
        rows = replace(rows, count=live.count, positions=live.positions, block=0)
        return rows, _plan_live(pool, scratch, layer, live)
    rows = replace(rows, count=blocked.starts[-1], positions=blocked.positions)
    return rows, _plan_blocked(pool, scratch, layer, blocked, rows.block)


def _in_blocks(pool: ConstantPool, layer: Layer, live: LiveGates, width: int) -> LiveGates | None:
    """Live gates in blocks that are read from where the sums stand, or where those are sent to."""
    runs = [stored_places(pool, each, width)[0] for each in (layer.w_ih, layer.w_hh)]
    return in_blocks(live, runs, width) or in_blocks(live, [], width)


@dataclass(frozen=True)
class GRUCell(Cell):
    """Every gate of every unit."""

    hidden: int

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The next state of units [unit, unit + size)."""
        (gi_r, gh_r), (gi_z, gh_z), (gi_n, gh_n) = (
            step.gates(e, e.add(unit, gate * self.hidden), size) for gate in range(GATES)
        )
        h = step.state(e, 0, unit, size)
        r = sigmoid(e, arith.addf(gi_r, gh_r), size)
        return gru_blend(e, arith.addf(gi_z, gh_z), e.fma(r, gh_n, gi_n), h, size)


@dataclass(frozen=True)
class LiveGRUCell(Cell):
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


@dataclass(frozen=True)
class BlockedGRUCell(Cell):
    """The live gates alone, each gate's in whole registers; readers open the gaps.

    Attributes:
        starts: where r, z, n start in the vector of live gates, and its length.
        results: offset in scratch of the gates computed, laid out as that vector.
        r_of_n: how the n of a live unit finds its r.
        z_of_units, n_of_units: how a unit finds its z and n.
    """

    starts: tuple[int, int, int, int]
    results: int
    r_of_n: Expansion
    z_of_units: Expansion
    n_of_units: Expansion

    def begin(self, e: Emitter, step: StepVectors) -> None:
        """Computes the live gates."""
        scratch, (_, _, n_start, stop) = step.scratch, self.starts

        def put(at: ir.Value, value: ir.Value) -> None:
            e.vstore(value, scratch, e.add(at, self.results))

        def sum_sigmoid(at: ir.Value, size: int) -> None:
            put(at, sigmoid(e, arith.addf(*step.gates(e, at, size)), size))

        def new_gate(i: ir.Value, size: int) -> None:
            at = e.add(i, n_start)
            gi_n, gh_n = step.gates(e, at, size)
            r = step.read(e, self.r_of_n, (scratch, e.index(self.results)), i, size)
            put(at, tanh(e, e.fma(r, gh_n, gi_n), size))

        registers = TOGETHER_HALF if e.is_half else 1
        e.pieces(n_start, sum_sigmoid, registers)
        e.pieces(stop - n_start, new_gate, registers)

    def units(self, e: Emitter, step: StepVectors, unit: ir.Value, size: int) -> ir.Value:
        """The next state of units [unit, unit + size): n + z * (h - n)."""
        z_at, n_at = (e.index(self.results + start) for start in self.starts[1:3])
        z = step.read(e, self.z_of_units, (step.scratch, z_at), unit, size)
        n = step.read(e, self.n_of_units, (step.scratch, n_at), unit, size)
        return e.fma(z, arith.subf(step.state(e, 0, unit, size), n), n)


def _plan_blocked(
    pool: ConstantPool, scratch: Scratch, layer: Layer, live: LiveGates, width: int
) -> BlockedGRUCell:
    r, z, n = live.gate_places()
    constant = constant_gates(live, layer.b_ih, layer.b_hh)
    places = np.full(live.starts[3] - live.starts[2], -1, np.int32)
    gaps = np.zeros(places.size, np.float32)
    places[n[live.n]], gaps[n[live.n]] = r[live.n], constant.r_of_n[:-1]

    def plan(places: np.ndarray, gaps: np.ndarray) -> Expansion:
        expansion = plan_expansion(pool, places, gaps, width)
        assert expansion is not None, "live gates that are not in blocks"
        return expansion

    return BlockedGRUCell(
        live.starts,
        scratch.take(live.starts[-1]),
        plan(places, gaps),
        plan(z, constant.z),
        plan(n, constant.n),
    )


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
