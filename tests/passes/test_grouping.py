"""Groups of rows: merging keeps every weight, and never costs a load or a cycle."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rtmobile_iree.passes import grouping
from rtmobile_iree.passes.encode import encoding
from rtmobile_iree.passes.grouping import cycles, dense_group, layout, loads, merge_groups
from rtmobile_iree.passes.reorder import balance

from rtmobile_iree.bspc import Group, find_groups, load_counts, matvec, pack

SIZES = [1, 2, 3, 4, 5, 7, 13, 31, 63, 64, 65]
THRESHOLD = 0.7


@st.composite
def matrices(draw):
    """Rows of a few patterns with some weights knocked out: structure with noise, or none."""
    rows, columns = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    patterns = draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    noise = draw(st.sampled_from([0.0, 0.05, 0.5]))
    rng = np.random.default_rng(seed)
    support = (rng.random((patterns, columns)) < density)[rng.integers(0, patterns, rows)]
    support &= rng.random(support.shape) >= noise
    return np.where(support, rng.normal(size=support.shape), 0).astype(np.float32)


@given(matrices())
@settings(deadline=None)
def test_merging_keeps_weights_and_saves(w):
    before, after = find_groups(w), layout(w)
    packed = pack(w, after)  # refuses groups that overlap or lose a weight
    x = np.linspace(-1, 1, w.shape[1], dtype=np.float32)
    np.testing.assert_allclose(matvec(packed, x), w @ x, rtol=1e-4, atol=1e-4)
    assert sorted(np.concatenate([[], *(g.rows for g in after)])) == list(
        np.flatnonzero((w != 0).any(axis=1))
    )
    assert loads(after) <= loads(before)
    assert cycles(after) <= cycles(before) * (1 + 1e-6)
    assert loads(after) == load_counts(packed).after


@given(matrices())
@settings(deadline=None)
def test_merging_again_changes_nothing(w):
    once = layout(w)
    again = merge_groups(once, w.shape[1])
    assert [g.rows.tolist() for g in again] == [g.rows.tolist() for g in once]


@given(matrices(), st.integers(1, 5))
@settings(deadline=None)
def test_balance_is_a_permutation_of_the_nonzero_rows(w, workers):
    rows = np.concatenate([[], *(g.rows for g in balance(find_groups(w), workers))])
    assert sorted(rows) == list(np.flatnonzero((w != 0).any(axis=1)))


def test_balance_gives_every_worker_the_same():
    rng = np.random.default_rng(0)
    groups = [
        Group(np.arange(8 * i, 8 * i + 8), np.arange(size))
        for i, size in enumerate(rng.integers(1, 400, 64))
    ]
    ordered = balance(groups, 4)
    total, shares, share = cycles(groups), [], 0.0
    for group in ordered:
        share += cycles([group])
        if share >= total / 4 * 0.98 and len(shares) < 3:
            shares.append(share)
            share = 0.0
    assert all(abs(s - total / 4) < 0.05 * total / 4 for s in [*shares, share])


def test_balance_for_one_worker_keeps_the_order():
    """Hazard: rows of neighbours apart, so that results are scattered instead of stored in runs."""
    groups = [Group([0, 1], [0]), Group([2], [0, 1, 2]), Group([3, 4], [1])]
    assert balance(groups, 1) == groups


@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.just(1)))
@settings(deadline=None, max_examples=20)
def test_dense_stays_dense(w):
    assert encoding(w, THRESHOLD) == "no zeros"


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("columns", [1, 4, 17])
def test_all_pruned_has_no_groups(rows, columns):
    found = encoding(np.zeros((rows, columns), np.float32), THRESHOLD)
    assert isinstance(found, dict)
    assert (found["groups"], found["kept"], found["loads_after"]) == (0, 0, 0)


@pytest.mark.parametrize("rows", [s * k for s in (1, 4, 63, 64, 65) for k in (1, 3)])
def test_stripes_are_encoded(rows):
    """A stripe of any height at 1/10, over 1024 columns: structure is found and worth it."""
    rng = np.random.default_rng(rows)
    w = np.zeros((rows * 4, 1024), np.float32)
    for stripe in range(4):
        columns = rng.choice(1024, 102, replace=False)
        w[np.ix_(range(stripe * rows, stripe * rows + rows), columns)] = 1
    found = encoding(w, THRESHOLD)
    assert isinstance(found, dict)
    assert found["groups"] == 4
    assert found["loads_before"] == w.sum()


def test_a_scattered_matrix_stays_dense_and_says_why():
    rng = np.random.default_rng(0)
    w = (rng.random((512, 512)) < 0.1).astype(np.float32)
    reason = encoding(w, THRESHOLD)
    assert isinstance(reason, str)
    assert f"{int(w.sum()):,} of 262,144 weights kept, in 512 row patterns" in reason
    assert "1,048,576 dense" in reason


def test_nearly_equal_patterns_merge():
    """Unequal zeros inside a stripe, as retraining leaves them, do not break it up."""
    rng = np.random.default_rng(0)
    w = np.zeros((128, 256), np.float32)
    for stripe in (0, 64):
        w[stripe : stripe + 64, rng.choice(256, 26, replace=False)] = 1
    w[rng.random(w.shape) < 0.02] = 0
    assert len(find_groups(w)) > 20
    assert len(layout(w)) == 2


def test_merging_thousands_of_patterns_is_quick():
    """Hazard: a compile that takes a minute for a matrix that is not block-sparse at all."""
    rng = np.random.default_rng(0)
    w = (rng.random((1536, 1024)) < 0.1).astype(np.float32)
    start = time.process_time()
    assert len(layout(w)) < 1000
    assert time.process_time() - start < 5  # measured 0.5 s


def test_more_groups_than_fit_one_table(monkeypatch):
    """The parts are merged one by one, then what is left of them together."""
    monkeypatch.setattr(grouping, "MERGED_AT_ONCE", 8)
    w = np.zeros((64, 40), np.float32)
    w[:, :10] = 1
    w[np.arange(64), 10 + np.arange(64) % 30] = 1
    assert len(find_groups(w)) == 30
    merged = layout(w)
    assert len(merged) < 8
    pack(w, merged)


def test_cost_of_a_dense_matrix_is_that_of_its_panels():
    assert cycles([dense_group((64, 100))]) == pytest.approx(100 * (1.5 + 64 / 8) + 25)
    assert loads([dense_group((70, 100))]) == 200
