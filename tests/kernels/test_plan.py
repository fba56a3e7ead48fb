"""Kernel plans, checked by walking them in NumPy exactly as the kernel does."""

import numpy as np
import pytest
from rtmobile_iree.passes.kernels.expand import plan_expansion, stored_places
from rtmobile_iree.passes.kernels.gates import (
    constant_gates,
    in_blocks,
    is_compact,
    live_gates,
)
from rtmobile_iree.passes.kernels.plan import TABLE_FIELDS, ConstantPool, plan_matrix

from rtmobile_iree.bspc import Group, convert, pack
from rtmobile_iree.errors import TargetError
from rtmobile_iree.schedule import Schedule


def walk(pool, plan, x, out):
    """What PanelKernel computes, from the pool's buffers alone."""
    values, index = pool.values(), pool.index().astype(np.int64)
    table = pool.table().reshape(-1, len(TABLE_FIELDS))
    for which in plan.classes:
        for row in table[which.table_start : which.table_start + which.count]:
            column, columns, value, bias, position, rows = row
            panel = values[value : value + columns * which.height].reshape(columns, which.height)
            result = (
                values[bias : bias + which.height] + x[index[column : column + columns]] @ panel
            )
            if which.scattered:
                for r in reversed(range(which.height)):
                    out[index[position + r]] = result[r]
            else:
                out[position : position + rows] = result[:rows]
    return out


def sparse(rng, shape, stripes, keep):
    """Row stripes with a random share of columns kept in each."""
    weight = np.zeros(shape, np.float32)
    for rows in np.array_split(np.arange(shape[0]), stripes):
        columns = np.flatnonzero(rng.random(shape[1]) < keep)
        weight[np.ix_(rows, columns)] = rng.standard_normal((rows.size, columns.size))
    return weight


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (63, 7), (65, 31), (192, 40), (131, 97)])
@pytest.mark.parametrize("stripes", [1, 3])
def test_a_plan_computes_the_matrix_times_x_plus_bias(shape, stripes):
    rng = np.random.default_rng(0)
    weight = sparse(rng, shape, min(stripes, shape[0]), 0.5)
    weight[rng.random(shape[0]) < 0.3] = 0
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    x = rng.standard_normal(shape[1]).astype(np.float32)
    pool = ConstantPool()
    pool.add_values(np.ones(3))  # so that no offset is zero by luck
    plan = plan_matrix(pool, pack(weight), bias)
    out = walk(pool, plan, x, bias.copy())
    np.testing.assert_allclose(out, weight @ x + bias, rtol=1e-5, atol=1e-5)
    assert plan.complete == bool((weight != 0).any(axis=1).all())


def test_consecutive_rows_are_stored_as_vectors_and_others_are_scattered():
    weight = np.ones((128, 4), np.float32)
    halves = [Group(np.arange(0, 128, 2), np.arange(4)), Group(np.arange(1, 128, 2), np.arange(4))]
    together = plan_matrix(ConstantPool(), pack(weight, [Group(np.arange(128), np.arange(4))]))
    apart = plan_matrix(ConstantPool(), pack(weight, halves))
    assert [which.scattered for which in together.classes] == [False]
    assert [which.scattered for which in apart.classes] == [True]


def test_positions_send_rows_elsewhere():
    weight = np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    positions = np.array([3, 0, 2, 1], np.int32)
    pool = ConstantPool()
    plan = plan_matrix(pool, pack(weight), positions=positions)
    out = walk(pool, plan, np.ones(2, np.float32), np.zeros(4, np.float32))
    np.testing.assert_array_equal(out[positions], weight.sum(axis=1))


def test_an_empty_pool_still_has_something_to_bind():
    pool = ConstantPool()
    plan = plan_matrix(pool, pack(np.zeros((3, 2), np.float32)))
    assert plan.classes == ()
    assert not plan.complete
    assert min(pool.values().size, pool.index().size, pool.table().size) >= 1


def test_the_index_widens_only_when_it_must():
    pool = ConstantPool()
    pool.add_index(np.array([65535]))
    assert pool.index().dtype == np.uint16
    pool.add_index(np.array([65536]))
    assert pool.index().dtype == np.int32


def gru_weights(rows):
    """H = 4: [12, 4] weights of ones with only `rows` kept."""
    weight = np.zeros((12, 4), np.float32)
    weight[rows] = 1
    return pack(weight)


def test_live_gates_are_stored_rows_and_what_depends_on_them():
    b_hh = np.zeros(12, np.float32)
    b_hh[8 + 1] = 0.5  # b_hn of unit 1: its n depends on its r
    live = live_gates(gru_weights([0, 1]), gru_weights([5, 11]), b_hh)
    assert live.r.tolist() == [0, 1]
    assert live.z.tolist() == [1]
    assert live.n.tolist() == [1, 3]
    assert live.positions.tolist() == [0, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, 4]


def striped(hidden, stripe, share, seed):
    """[3 hidden, hidden] in f16: a column pattern for each `stripe` rows, a share of the rows."""
    rng = np.random.default_rng(seed)
    rows = np.arange(3 * hidden)
    weight = np.zeros((3 * hidden, hidden), np.float32)
    weight[rows, rows // stripe] = weight[rows, hidden - 1] = 1
    weight[rng.random(rows.size) >= share] = 0
    return convert(pack(weight), "f16")


@pytest.mark.parametrize("stripes", [(48, 48), (16, 40), (96, 24)])
def test_live_gates_in_blocks_are_read_where_their_sums_stand(stripes):
    """Panels are filled up to eight rows, so that sums of neighbouring stripes are none."""
    pool, hidden = ConstantPool("f16"), 64
    weights = [striped(hidden, stripe, 0.4, seed) for seed, stripe in enumerate(stripes)]
    tight = live_gates(*weights, np.ones(3 * hidden, np.float32))
    runs = [stored_places(pool, each, 8)[0] for each in weights]
    live = in_blocks(tight, runs, 8)
    assert in_blocks(tight, [], 8).starts != live.starts
    assert all(start % 8 == 0 for start in live.starts)
    gate_of = np.searchsorted(live.starts, live.positions, side="right") - 1
    for gate, units in enumerate((live.r, live.z, live.n)):
        own = live.positions[gate * hidden + units]
        assert (np.diff(own) > 0).all()
        assert (gate_of[gate * hidden + units] == gate).all()
    # what the kernel reads by blocks: sums of live gates, r of n, z and n of units
    kept, zeros = live.positions >= 0, np.zeros(live.starts[-1], np.float32)
    for run in runs:
        places = np.full(live.starts[-1], -1)
        places[live.positions[kept]] = run[kept]
        assert plan_expansion(pool, places, zeros, 8) is not None
    r, z, n = live.gate_places()
    r_of_n = np.full(live.starts[3] - live.starts[2], -1)
    r_of_n[n[live.n]] = r[live.n]
    for places in (r_of_n, z, n):
        assert plan_expansion(pool, places, zeros[: places.size], 8) is not None


def test_stripes_that_cut_a_block_of_units_have_no_blocks_of_sums():
    pool, weight = ConstantPool("f16"), striped(64, 20, 1.0, 0)
    live = live_gates(weight, weight, np.zeros(192, np.float32))
    assert in_blocks(live, [stored_places(pool, weight, 8)[0]], 8) is None
    assert in_blocks(live, [], 8) is not None


def test_constant_gates_are_functions_of_the_biases():
    rng = np.random.default_rng(0)
    b_ih, b_hh = rng.standard_normal((2, 12)).astype(np.float32)
    live = live_gates(gru_weights([0]), gru_weights([11]), b_hh)
    constant = constant_gates(live, b_ih, b_hh)
    r = 1 / (1 + np.exp(-(b_ih[:4] + b_hh[:4]).astype(np.float64)))
    np.testing.assert_allclose(constant.n, np.tanh(b_ih[8:] + r * b_hh[8:]), atol=1e-6)
    np.testing.assert_allclose(constant.r_of_n[:-1], r[live.n], atol=1e-6)
    assert live.n[constant.r_targets].tolist() == live.r.tolist()


def test_few_live_gates_are_computed_alone():
    b_hh = np.zeros(12, np.float32)
    assert is_compact(live_gates(gru_weights([0]), gru_weights([0]), b_hh), is_half=False)
    for kept, in_f32, in_f16 in ((12, False, False), (6, False, True)):
        live = live_gates(gru_weights(range(kept)), gru_weights([0]), b_hh)
        assert (is_compact(live, is_half=False), is_compact(live, is_half=True)) == (in_f32, in_f16)


@pytest.mark.parametrize("field", ["vector_width", "accumulators", "vector_tile"])
def test_a_schedule_that_is_no_power_of_two_is_refused(field):
    with pytest.raises(TargetError, match=f"{field} = 3"):
        Schedule(**{"vector_width": 4, field: 3})


def test_a_schedule_needs_a_step():
    with pytest.raises(TargetError, match="time_chunk = 0"):
        Schedule(4, time_chunk=0)


@pytest.mark.parametrize(
    ("height", "vectors", "expected"),
    [(64, 1, 64), (64, 4, 32), (72, 4, 24), (128, 2, 64), (56, 4, 32), (4, 4, 4), (8, 32, 8)],
)
def test_rows_of_a_panel_are_summed_in_even_parts(height, vectors, expected):
    assert Schedule(8, accumulators=16).row_block(height, vectors) == expected
