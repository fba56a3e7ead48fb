"""Everything static about a GRU kernel: constants in the pool, buffers in scratch (NumPy only).

Scratch holds a fixed part, then a part that grows with the steps of a chunk (`slots`), so that a
streaming call of one step does not pay for the memory of sixteen:

    offset of a buffer = fixed + slots * per_slot
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rtmobile_iree.passes.kernels.gates import constant_gates, is_compact, live_gates
from rtmobile_iree.passes.kernels.plan import ALIGN, ConstantPool, MatrixPlan, plan_matrix

from rtmobile_iree.bspc import PackedMatrix
from rtmobile_iree.schedule import Schedule


@dataclass(frozen=True)
class GRULayer:
    """One layer's weights: matrices in BSPC, biases [3H] f32 with gates r, z, n.

    Attributes:
        state: which row of the state [L, B, H] the layer owns.
    """

    state: int
    w_ih: PackedMatrix
    w_hh: PackedMatrix
    b_ih: np.ndarray
    b_hh: np.ndarray


@dataclass(frozen=True)
class LiveGatePlan:
    """Where a layer that computes live gates only keeps them.

    Attributes:
        counts: live units of r, z, n.
        r_targets, z_units, n_units: offsets in the index buffer: where each result goes.
        r_start, z_start, n_start: offsets in values: what the three buffers below start as.
        r, z, n: offsets in scratch: r of the live units of n, z and n of every unit.
        results: offset in scratch of the live results of one gate, before they are sent out.
    """

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


@dataclass(frozen=True)
class LayerPlan:
    """One layer.

    Attributes:
        gates: length of a vector of gates: 3H, or the number of live ones.
        ih_start, hh_start: offsets in values: outputs of pruned rows; None when all are written.
        gi: scratch per slot where the projected inputs [slots, B, gates] start.
        gh: scratch offset of the recurrent sums [B, gates].
        live: None when every unit is computed.
    """

    state: int
    ih: MatrixPlan
    hh: MatrixPlan
    gates: int
    ih_start: int | None
    hh_start: int | None
    gi: int
    gh: int
    live: LiveGatePlan | None


@dataclass(frozen=True)
class GRUStackPlan:
    """A stack of layers.

    Attributes:
        batch, hidden, inputs, states: B, H, I of the first layer, L of the state tensor.
        sequence: scratch per slot where [slots, B, H] between layers starts.
        fixed, per_slot: size of scratch in f32 elements: fixed + slots * per_slot.
        time_chunk: most slots there are.
    """

    batch: int
    hidden: int
    inputs: int
    states: int
    layers: tuple[LayerPlan, ...]
    sequence: int
    fixed: int
    per_slot: int
    time_chunk: int


@dataclass
class _Scratch:
    """Hands out scratch."""

    fixed: int = 0
    per_slot: int = 0

    def take(self, elements: int) -> int:
        start = self.fixed
        self.fixed += elements + -elements % ALIGN
        return start

    def take_per_slot(self, elements: int) -> int:
        start = self.per_slot
        self.per_slot += elements + -elements % ALIGN
        return start


def plan_gru_stack(
    pool: ConstantPool, layers: list[GRULayer], batch: int, states: int, schedule: Schedule
) -> GRUStackPlan:
    """Lays out a stack of layers, first layer first; `batch`, `states`: B and L of [L, B, H]."""
    scratch = _Scratch()
    plans = tuple(_plan_layer(pool, scratch, layer, batch) for layer in layers)
    hidden, inputs = layers[0].w_hh.shape[1], layers[0].w_ih.shape[1]
    sequence = scratch.take_per_slot(batch * hidden)
    return GRUStackPlan(
        batch, hidden, inputs, states, plans, sequence,
        scratch.fixed, scratch.per_slot, schedule.time_chunk,
    )  # fmt: skip


def _plan_layer(pool: ConstantPool, scratch: _Scratch, layer: GRULayer, batch: int) -> LayerPlan:
    hidden = layer.w_hh.shape[1]
    live = live_gates(layer.w_ih, layer.w_hh, layer.b_hh)
    compact = is_compact(live)
    gates = live.count if compact else 3 * hidden
    positions = live.positions if compact else np.arange(3 * hidden, dtype=np.int32)
    kept = positions >= 0
    # W_ih starts from every bias that needs no gate of its own, so that W_hh starts from zero.
    ih_bias, hh_bias = layer.b_ih.copy(), layer.b_hh.copy()
    ih_bias[: 2 * hidden] += hh_bias[: 2 * hidden]
    hh_bias[: 2 * hidden] = 0
    ih = plan_matrix(pool, layer.w_ih, ih_bias, positions, gates)
    hh = plan_matrix(pool, layer.w_hh, hh_bias, positions, gates)
    live_plan = None
    if compact:
        constant = constant_gates(live, layer.b_ih, layer.b_hh)
        live_plan = LiveGatePlan(
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
    return LayerPlan(
        layer.state,
        ih,
        hh,
        gates,
        None if ih.complete else pool.add_values(ih_bias[kept]),
        None if hh.complete else pool.add_values(hh_bias[kept]),
        scratch.take_per_slot(batch * gates),
        scratch.take(batch * gates),
        live_plan,
    )
