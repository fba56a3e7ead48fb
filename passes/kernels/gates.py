"""Which gates of a GRU layer need computing at all.

Row pruning removes whole rows of W_ih and W_hh. A gate whose row is gone from both is a constant
of the biases: r, z = sigmoid(b), n = tanh(b_in + sigmoid(b_r) * b_hn). When most gates are (high
row rates), the kernel computes the live ones only, gate by gate in short dense vectors, and sends
the results to their units one by one; the constants are already there. When most gates are live,
sending costs more than it saves, and every unit is computed.

Outputs are unchanged: a row that is stored in neither matrix is zero in both, so its sums are the
biases at every step, whatever x and h are (finite), and one number stands for them all. It is
computed in f64 and rounded once, closer to the definition than the vector code would come.

    live(r) = rows of gate r stored in W_ih or W_hh;   live(z) likewise
    live(n) = rows of gate n stored in W_ih or W_hh, and units of live(r) with b_hn != 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rtmobile_iree.bspc import PackedMatrix

# Live share of the 3H gates under which computing them alone is faster. Measured on Zen 4: a gate
# in a full vector costs 1.2 cycles, sending one result costs 1.5 on top.
COMPACT_BELOW = 0.4
# In f16 results are not sent but found by tables (`expand`). By llvm-mca for Cortex-A76 8 live
# gates take 11 cycles, 8 units put together of them 8, and 8 units with all their gates 31.
COMPACT_HALF_BELOW = 0.7


@dataclass(frozen=True)
class LiveGates:
    """Live units of each gate, and where a row of the stacked [3H, .] weights puts its result.

    Attributes:
        r, z, n: unit numbers, ascending.
        starts: where the results of r, z and n start in a vector of live gates, and its length.
        positions: [3H] position of each row in that vector; -1 for a constant gate.
    """

    r: np.ndarray
    z: np.ndarray
    n: np.ndarray
    starts: tuple[int, int, int, int]
    positions: np.ndarray

    @property
    def count(self) -> int:
        return self.r.size + self.z.size + self.n.size

    def gate_places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[H] each: where a unit's r, z and n stand from their starts on; -1 if constant."""
        r, z, n = (
            np.where(own < 0, np.int32(-1), own - np.int32(start))
            for own, start in zip(self.positions.reshape(3, -1), self.starts, strict=False)
        )
        return r, z, n


@dataclass(frozen=True)
class ConstantGates:
    """What the gates are where they are constant, and any finite number where they are live.

    Attributes:
        r_of_n: [live n + 1] r of each live unit of n (and a place for those nobody reads).
        r_targets: [live r] where in r_of_n each live r goes.
        z, n: [H].
    """

    r_of_n: np.ndarray
    r_targets: np.ndarray
    z: np.ndarray
    n: np.ndarray


def live_gates(w_ih: PackedMatrix, w_hh: PackedMatrix, b_hh: np.ndarray) -> LiveGates:
    """Finds the live gates of a layer, one after another in their vector.

    Args:
        w_ih, w_hh: [3H, I] and [3H, H]. b_hh: [3H] f32.
    """
    hidden = w_hh.shape[1]
    stored = np.zeros(3 * hidden, bool)
    stored[w_ih.reorder] = True
    stored[w_hh.reorder] = True
    r, z, n = stored.reshape(3, hidden)
    n = n | (r & (b_hh[2 * hidden :] != 0))
    units = [np.flatnonzero(gate).astype(np.int32) for gate in (r, z, n)]
    starts = np.cumsum([0, *(each.size for each in units)]).tolist()
    positions = np.full(3 * hidden, -1, np.int32)
    for gate, (own, start) in enumerate(zip(units, starts, strict=False)):
        positions[gate * hidden + own] = start + np.arange(own.size)
    return LiveGates(units[0], units[1], units[2], tuple(starts), positions)


def in_blocks(live: LiveGates, runs: Sequence[np.ndarray], block: int) -> LiveGates | None:
    """The same gates with gaps among them, so that blocks of the vector can be read (`expand`).

    Every gate starts at a multiple of `block`. In a block of the vector those that `runs` has are
    neighbours there, the r of its n are neighbours in the vector, and so are the live gates of a
    block of units.

    Args:
        runs: [3H] each: where the sums of rows stand; -1 where a row has none.

    Returns:
        None where there is no such place for some gate.
    """
    hidden = live.positions.size // 3
    positions, starts = np.full(3 * hidden, -1, np.int32), [0]
    for gate, units in enumerate((live.r, live.z, live.n)):
        rows = gate * hidden + units
        own = [run[rows] for run in runs] + ([positions[units]] if gate == 2 else [])
        places = _places(units // block, own, block)
        if places is None:
            return None
        positions[rows] = starts[-1] + places
        length = int(places[-1]) + 1 if places.size else 0
        starts.append(starts[-1] + length + -length % block)
    r, z, n, stop = starts
    return replace(live, starts=(r, z, n, stop), positions=positions)


def _places(together: np.ndarray, runs: Sequence[np.ndarray], block: int) -> np.ndarray | None:
    """Ascending places for one gate's units; `together`: those of a number are neighbours."""
    places, end = np.zeros(together.size, np.int32), 0
    firsts = np.flatnonzero(np.diff(together, prepend=-1))
    for first, stop in zip(firsts, np.append(firsts, together.size)[1:], strict=True):
        for start in (end, end + -end % block):
            places[first:stop] = start + np.arange(stop - first)
            if all(_has_runs(places[:stop] // block, run[:stop]) for run in runs):
                break
        else:
            return None
        end = int(places[stop - 1]) + 1
    return places


def _has_runs(blocks: np.ndarray, run: np.ndarray) -> bool:
    """Whether entries of a block follow each other in `run`, where they are in it."""
    there = run >= 0
    same = np.diff(blocks[there]) == 0
    return bool((np.diff(run[there])[same] == 1).all())


def is_compact(live: LiveGates, is_half: bool) -> bool:
    """Whether computing the live gates alone is faster."""
    below = COMPACT_HALF_BELOW if is_half else COMPACT_BELOW
    return live.count < below * live.positions.size


def constant_gates(live: LiveGates, b_ih: np.ndarray, b_hh: np.ndarray) -> ConstantGates:
    """Evaluates the constant gates in f64; biases [3H] f32."""
    i_r, i_z, i_n = b_ih.astype(np.float64).reshape(3, -1)
    h_r, h_z, h_n = b_hh.astype(np.float64).reshape(3, -1)
    r, z = _sigmoid(i_r + h_r), _sigmoid(i_z + h_z)
    n = np.tanh(i_n + r * h_n)
    place = np.full(r.size, live.n.size, np.int32)
    place[live.n] = np.arange(live.n.size)
    r_of_n = np.append(r[live.n], 0.0)
    return ConstantGates(_f32(r_of_n), place[live.r], _f32(z), _f32(n))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _f32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)
