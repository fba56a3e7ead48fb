"""The BSPC format: hand-made goldens, properties of any matrix, and every refusal."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtmobile_iree import bspc
from rtmobile_iree.bspc import Group, PackedMatrix
from rtmobile_iree.errors import FormatError

quick = settings(max_examples=100, deadline=None)

# Rows 0 and 2 keep columns 0, 3; rows 1, 3, 4 keep columns 1, 2, 4; row 5 is pruned.
EXAMPLE = np.array(
    [
        [1, 0, 0, 2, 0],
        [0, 3, 4, 0, 5],
        [6, 0, 0, 7, 0],
        [0, 8, 9, 0, 10],
        [0, 11, 12, 0, 13],
        [0, 0, 0, 0, 0],
    ],
    np.float32,
)


@st.composite
def matrices(draw: st.DrawFn, max_rows: int = 75, max_columns: int = 12) -> np.ndarray:
    """Block-structured matrices: every row follows one of a few patterns, also empty and full."""
    rows = draw(st.integers(0, max_rows))
    columns = draw(st.integers(0, max_columns))
    patterns = draw(hnp.arrays(bool, (draw(st.integers(1, 4)), columns)))
    which = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, len(patterns) - 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.uniform(0.5, 2, (rows, columns)) * rng.choice([-1, 1], (rows, columns))
    return np.where(patterns[which], values, 0).astype(np.float32)


@st.composite
def merged_groups(draw: st.DrawFn, w: np.ndarray) -> list[Group]:
    """Some of the ways to group the rows of `w`, with columns enough for all of them."""
    rows = draw(st.permutations(range(w.shape[0])))
    which = draw(hnp.arrays(np.int64, len(rows), elements=st.integers(0, 3)))
    groups = []
    for number in range(4):
        members = [row for row, group in zip(rows, which, strict=True) if group == number]
        groups.append(Group(np.array(members), np.flatnonzero((w[members] != 0).any(axis=0))))
    return groups


def loop_nest(p: PackedMatrix, x: np.ndarray) -> np.ndarray:
    """The loop nest of the module's docstring, one scalar at a time."""
    y = np.zeros(p.shape[0])
    value = 0
    for g in range(len(p.group_offset) - 1):
        row, end = p.group_offset[g], p.group_offset[g + 1]
        for height in bspc.panel_heights(end - row, p.row_align):
            accumulator = np.zeros(height)
            for k in range(p.column_offset[g], p.column_offset[g + 1]):
                load = float(x[p.column_index[k]])
                for r in range(height):
                    accumulator[r] += float(p.values[value + r]) * load
                value += height
            for r in range(min(height, end - row)):
                y[p.reorder[row + r]] = accumulator[r]
            row += height
    assert value == p.values.size
    return y


class TestGolden:
    def test_groups(self):
        first, second = bspc.find_groups(EXAMPLE)
        assert (first.rows.tolist(), first.columns.tolist()) == ([0, 2], [0, 3])
        assert (second.rows.tolist(), second.columns.tolist()) == ([1, 3, 4], [1, 2, 4])
        assert first.rows.dtype == first.columns.dtype == np.int32

    def test_arrays(self):
        p = bspc.pack(EXAMPLE)
        assert p.shape == (6, 5)
        assert p.reorder.tolist() == [0, 2, 1, 3, 4]
        assert p.group_offset.tolist() == [0, 2, 5]
        assert p.column_offset.tolist() == [0, 2, 5]
        assert p.column_index.tolist() == [0, 3, 1, 2, 4]
        first, second = p.values[:8], p.values[8:]
        assert first.reshape(2, 4).tolist() == [[1, 6, 0, 0], [2, 7, 0, 0]]
        assert second.reshape(3, 4).tolist() == [[3, 8, 11, 0], [4, 9, 12, 0], [5, 10, 13, 0]]
        assert p.reorder.dtype == p.group_offset.dtype == p.column_offset.dtype == np.int32
        assert p.column_index.dtype == np.uint16
        assert p.values.dtype == np.float32

    def test_panels(self):
        assert bspc.panels(bspc.pack(EXAMPLE)) == (
            bspc.Panel(0, 4, row_start=0, rows=2, column_start=0, columns=2, value_start=0),
            bspc.Panel(1, 4, row_start=2, rows=3, column_start=2, columns=3, value_start=8),
        )

    def test_a_tall_group_is_cut_from_the_tallest_down(self):
        p = bspc.pack(np.ones((119, 2), np.float32))
        cuts = [(panel.height, panel.rows) for panel in bspc.panels(p)]
        assert cuts == [(64, 64), (32, 32), (16, 16), (8, 7)]
        assert [panel.row_start for panel in bspc.panels(p)] == [0, 64, 96, 112]
        assert [panel.value_start for panel in bspc.panels(p)] == [0, 128, 192, 224]

    def test_a_coarser_row_align_pads_more(self):
        p = bspc.pack(np.ones((65, 2), np.float32), row_align=16)
        assert [(panel.height, panel.rows) for panel in bspc.panels(p)] == [(64, 64), (16, 1)]
        assert p.values.size == 2 * (64 + 16)

    def test_byte_counts(self):
        # 13 weights; 4 + 3 padding zeros; index: 5 columns of 2, 2 offset arrays of 3 x 4, 5 rows
        # of 2; CSR: 13 weights of 4 + 2, 7 row starts of 4.
        assert bspc.byte_counts(bspc.pack(EXAMPLE)) == bspc.ByteCounts(
            values=52, padding=28, index=10 + 24 + 10, total=124, dense=120, csr=78 + 28
        )

    def test_load_counts(self):
        assert bspc.load_counts(bspc.pack(EXAMPLE)) == bspc.Loads(before=13, after=2 + 3)

    def test_fill_of_merged_rows_counts_as_padding_not_as_weights(self):
        w = np.array([[1, 2, 0], [0, 3, 4]], np.float32)
        merged = bspc.pack(w, [Group(np.array([0, 1]), np.array([0, 1, 2]))])
        counts = bspc.byte_counts(merged)
        assert (counts.values, counts.padding) == (4 * 4, 4 * (3 * 4 - 4))
        assert bspc.load_counts(merged) == bspc.Loads(before=4, after=3)

    def test_an_identity_reorder_costs_nothing(self):
        dense = np.ones((4, 3), np.float32)
        assert bspc.byte_counts(bspc.pack(dense)).index == 3 * 2 + 2 * 8
        swapped = bspc.pack(dense, [Group(np.array([1, 0, 2, 3]), np.arange(3))])
        assert bspc.byte_counts(swapped).index == 3 * 2 + 2 * 8 + 4 * 2

    def test_rows_0_to_m_are_no_identity_when_a_later_row_is_pruned(self):
        w = np.array([[1.0], [0.0]], np.float32)
        assert bspc.byte_counts(bspc.pack(w)).index == 2 + 2 * 8 + 2

    @pytest.mark.parametrize(("count", "column_bytes"), [(65536, 2), (65537, 4)])
    def test_wide_and_tall_matrices_use_wider_indices(self, count, column_bytes):
        w = np.zeros((1, count), np.float32)
        w[0, -1] = 3
        wide = bspc.pack(w)
        assert wide.column_index.dtype == (np.uint16 if column_bytes == 2 else np.int32)
        assert wide.column_index.tolist() == [count - 1]
        assert bspc.byte_counts(wide).csr == (4 + column_bytes) + 4 * 2
        tall = bspc.byte_counts(bspc.pack(np.ascontiguousarray(w.T)))
        assert tall.index == 2 + 2 * 8 + column_bytes


class TestProperties:
    @quick
    @given(matrices(), st.sampled_from(bspc.PANEL_HEIGHTS))
    def test_unpack_undoes_pack(self, w, row_align):
        np.testing.assert_array_equal(bspc.unpack(bspc.pack(w, row_align=row_align)), w)

    @quick
    @given(st.data(), matrices(), st.sampled_from(bspc.PANEL_HEIGHTS))
    def test_unpack_undoes_pack_of_merged_groups(self, data, w, row_align):
        p = bspc.pack(w, data.draw(merged_groups(w)), row_align)
        np.testing.assert_array_equal(bspc.unpack(p), w)
        assert sorted(p.reorder.tolist()) == list(range(w.shape[0]))

    @quick
    @given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
    def test_unpack_undoes_pack_of_unstructured_numbers(self, w):
        if not np.isfinite(w).all():
            w = np.nan_to_num(w)
        np.testing.assert_array_equal(bspc.unpack(bspc.pack(w)), w)

    @quick
    @given(matrices(), st.integers(0, 3), st.integers(0, 2**32 - 1))
    def test_matvec_is_the_dense_product(self, w, batch, seed):
        p = bspc.pack(w)
        x = np.random.default_rng(seed).normal(size=(batch, w.shape[1])).astype(np.float32)
        expected = x.astype(np.float64) @ w.T.astype(np.float64)
        y = bspc.matvec(p, x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)
        for one, row in zip(x, expected, strict=True):
            np.testing.assert_allclose(bspc.matvec(p, one), row, atol=1e-5, rtol=1e-5)

    @settings(max_examples=40, deadline=None)
    @given(matrices(max_rows=20, max_columns=6), st.integers(0, 2**32 - 1))
    def test_matvec_is_the_documented_loop_nest(self, w, seed):
        p = bspc.pack(w)
        x = np.random.default_rng(seed).normal(size=w.shape[1]).astype(np.float32)
        np.testing.assert_allclose(bspc.matvec(p, x), loop_nest(p, x), atol=1e-5, rtol=1e-5)

    @quick
    @given(matrices())
    def test_groups_are_the_classes_of_equal_support(self, w):
        groups = bspc.find_groups(w)
        stored = [row for group in groups for row in group.rows.tolist()]
        assert sorted(stored) == np.flatnonzero((w != 0).any(axis=1)).tolist()
        for group in groups:
            for row in group.rows:
                assert np.flatnonzero(w[row]).tolist() == group.columns.tolist()
        assert len({tuple(group.columns) for group in groups}) == len(groups)
        firsts = [group.rows[0] for group in groups]
        assert firsts == sorted(firsts)
        assert all((np.diff(group.rows) > 0).all() for group in groups)

    @quick
    @given(matrices(), st.sampled_from(bspc.PANEL_HEIGHTS))
    def test_panels_tile_rows_and_values(self, w, row_align):
        p = bspc.pack(w, row_align=row_align)
        row = value = 0
        for panel in bspc.panels(p):
            assert (panel.row_start, panel.value_start) == (row, value)
            assert panel.height in bspc.PANEL_HEIGHTS
            assert panel.height >= row_align
            assert 1 <= panel.rows <= panel.height
            row += panel.rows
            value += panel.columns * panel.height
        assert (row, value) == (p.reorder.size, p.values.size)

    @given(st.integers(0, 1000), st.sampled_from(bspc.PANEL_HEIGHTS))
    def test_panel_heights_cover_the_rows_with_less_than_one_unit_of_padding(self, rows, row_align):
        heights = bspc.panel_heights(rows, row_align)
        assert list(heights) == sorted(heights, reverse=True)
        assert sum(heights) % row_align == 0
        assert 0 <= sum(heights) - rows < row_align

    @quick
    @given(matrices())
    def test_counts_add_up(self, w):
        p = bspc.pack(w)
        counts, loads = bspc.byte_counts(p), bspc.load_counts(p)
        assert counts.values == 4 * np.count_nonzero(w)
        assert counts.values + counts.padding == p.values.nbytes
        assert counts.total == counts.values + counts.padding + counts.index
        assert counts.dense == w.nbytes
        assert loads.before == np.count_nonzero(w)
        assert loads.after <= loads.before


class TestEdges:
    @pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 31, 61, 63, 64, 65, 67, 127, 128, 129])
    @pytest.mark.parametrize("columns", [1, 2, 13, 63, 64, 65])
    def test_sizes(self, rows, columns):
        rng = np.random.default_rng(rows * 1000 + columns)
        stripes = np.array_split(np.arange(rows), min(rows, 3))
        w = np.zeros((rows, columns), np.float32)
        for stripe in stripes:
            kept = rng.choice(columns, max(1, columns // 4), replace=False)
            w[np.ix_(stripe, kept)] = rng.normal(size=(len(stripe), len(kept)))
        w[rng.integers(rows)] = 0
        x = rng.normal(size=columns).astype(np.float32)
        p = bspc.pack(w)
        np.testing.assert_array_equal(bspc.unpack(p), w)
        np.testing.assert_allclose(bspc.matvec(p, x), w @ x, atol=1e-5)

    @pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (70, 3)])
    def test_a_matrix_without_weights(self, shape):
        p = bspc.pack(np.zeros(shape, np.float32))
        assert (p.reorder.size, p.values.size, bspc.panels(p)) == (0, 0, ())
        assert p.group_offset.tolist() == p.column_offset.tolist() == [0]
        assert bspc.unpack(p).shape == shape
        np.testing.assert_array_equal(
            bspc.matvec(p, np.ones(shape[1], np.float32)), np.zeros(shape[0])
        )
        assert bspc.load_counts(p) == bspc.Loads(0, 0)
        assert bspc.byte_counts(p).padding == 0

    def test_a_dense_matrix_is_one_group_without_padding(self):
        w = np.random.default_rng(0).normal(size=(132, 31)).astype(np.float32)
        p = bspc.pack(w)
        assert p.group_offset.tolist() == [0, 132]
        assert bspc.byte_counts(p).padding == 0
        np.testing.assert_array_equal(bspc.unpack(p), w)

    def test_groups_of_no_rows_and_of_no_columns(self):
        none = np.array([], np.int32)
        groups = [
            Group(none, np.array([1, 2])),
            Group(np.array([5, 0]), none),
            *bspc.find_groups(EXAMPLE)[1:],
            Group(np.array([2]), np.array([0, 3])),
            Group(none, none),
        ]
        w = EXAMPLE.copy()
        w[0] = 0
        p = bspc.pack(w, groups)
        assert p.group_offset.tolist() == [0, 0, 2, 5, 6, 6]
        assert p.column_offset.tolist() == [0, 2, 2, 5, 7, 7]
        assert [panel.group for panel in bspc.panels(p)] == [1, 2, 3]
        np.testing.assert_array_equal(bspc.unpack(p), w)
        x = np.arange(1, 6, dtype=np.float32)
        np.testing.assert_array_equal(bspc.matvec(p, x), w @ x)
        np.testing.assert_array_equal(loop_nest(p, x), w @ x)

    def test_rows_are_stored_in_the_order_given(self):
        groups = [
            Group(np.array([4, 1, 3]), np.array([1, 2, 4])),
            Group(np.array([2, 0]), np.array([0, 3])),
        ]
        p = bspc.pack(EXAMPLE, groups)
        assert p.reorder.tolist() == [4, 1, 3, 2, 0]
        assert p.values[:4].tolist() == [11, 3, 8, 0]

    def test_negative_zero_is_a_pruned_weight(self):
        p = bspc.pack(np.array([[-0.0, 1.0]], np.float32))
        assert p.column_index.tolist() == [1]

    def test_transposed_and_strided_views_pack_like_copies(self):
        view = EXAMPLE.T[::-1]
        np.testing.assert_array_equal(bspc.unpack(bspc.pack(view)), view)

    def test_a_column_that_nobody_keeps_is_never_read(self):
        w = np.array([[1, 0], [2, 0]], np.float32)
        y = bspc.matvec(bspc.pack(w), np.array([3, np.nan], np.float32))
        assert y.tolist() == [3, 6]

    def test_pack_leaves_its_input_alone(self):
        w = EXAMPLE.copy()
        p = bspc.pack(w)
        p.values[:] = 0
        np.testing.assert_array_equal(w, EXAMPLE)

    def test_the_evaluation_size_packs_in_well_under_a_second(self):
        rng = np.random.default_rng(0)
        w = np.zeros((3072, 1024), np.float32)
        for stripe in range(48):
            kept = rng.choice(1024, 102, replace=False)
            w[np.ix_(range(64 * stripe, 64 * stripe + 64), kept)] = 1
        start = time.process_time()
        p = bspc.pack(w)
        assert time.process_time() - start < 1
        assert p.group_offset.size == 49
        counts = bspc.byte_counts(p)
        assert counts.index < 0.01 * counts.values

    def test_importing_the_format_imports_numpy_only(self):
        """The format is used where PyTorch and MLIR are not installed."""
        script = (
            "import sys, rtmobile_iree.bspc; "
            "print(sorted({'torch', 'torch_mlir', 'iree'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stderr


class TestRefusals:
    @pytest.mark.parametrize(
        ("w", "message"),
        [
            ([[1.0]], r"w is a list; give a float32 numpy.ndarray"),
            (np.zeros(3, np.float32), r"w \[3\] has 1 dimensions; reshape"),
            (np.zeros((1, 2, 3), np.float32), r"w \[1, 2, 3\] has 3 dimensions"),
            (np.zeros((2, 3)), r"float64 \[2, 3\]; .*astype\(numpy.float32\)"),
            (np.zeros((2, 3), np.float16), r"float16 \[2, 3\]"),
            (np.zeros((2, 3), np.int32), r"int32 \[2, 3\]"),
            (np.zeros((2, 3), ">f4"), r">f4 \[2, 3\]"),
            (np.broadcast_to(np.float32(0), (65536, 32768)), r"2147483648 entries.*split"),
        ],
    )
    @pytest.mark.parametrize("function", [bspc.pack, bspc.find_groups])
    def test_what_is_no_f32_matrix(self, function, w, message):
        with pytest.raises(FormatError, match=message):
            function(w)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_weights_that_are_not_finite(self, value):
        w = EXAMPLE.copy()
        w[3, 4] = w[4, 0] = value
        with pytest.raises(FormatError, match=rf"2 NaN or infinite .* {value} at \[3, 4\]"):
            bspc.pack(w)

    @pytest.mark.parametrize(
        ("rows", "columns", "message"),
        [
            ([[0, 1]], [0], r"rows is int64 \[1, 2\]"),
            ([0], 0, r"columns is int64 \[\]"),
            ([0.0], [0], r"rows is float64 \[1\]"),
            ([True], [0], r"rows is bool \[1\]"),
            ([0, -1], [0], r"rows holds -1 to 0"),
            ([0], [2**31], r"columns holds 2147483648 to"),
        ],
    )
    def test_groups_that_are_no_indices(self, rows, columns, message):
        with pytest.raises(FormatError, match=message):
            Group(np.array(rows), np.array(columns))

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ([([0, 6], [0])], r"row 6 of group 0 is outside; use less than 6"),
            ([([0], [0, 3]), ([1], [2, 5])], r"column 5 of group 1 is outside; use less than 5"),
            ([([0, 2], [0, 3]), ([2, 1], [0])], r"row 2 is in group 0 and again in group 1"),
            ([([5], [0]), ([0, 2, 0], [0, 3])], r"row 0 is in group 1 and again in group 1"),
            ([([0, 2], [3, 0])], r"columns of group 0 are not strictly ascending"),
            ([([0, 2], [0, 0, 3])], r"columns of group 0 are not strictly ascending"),
            ([([0, 2], [0, 3])], r"lose 9 nonzero weights, the first 3.0 at \[1, 1\].*no group"),
            (
                [([0, 2], [0, 3]), ([4, 3, 1], [1, 4])],
                r"lose 3 nonzero weights, the first 4.0 at \[1, 2\] \(its row is in group 1\)",
            ),
            ([], r"lose 13 nonzero weights"),
        ],
    )
    def test_groups_that_do_not_hold_the_matrix(self, groups, message):
        given_groups = [Group(np.array(rows), np.array(columns)) for rows, columns in groups]
        with pytest.raises(FormatError, match=message):
            bspc.pack(EXAMPLE, given_groups)

    @pytest.mark.parametrize("row_align", [0, 1, 3, 12, 128, -4, True, 4.0, None, "4"])
    def test_row_aligns_that_are_no_panel_height(self, row_align):
        with pytest.raises(FormatError, match=r"row_align .*; use one of \[4, 8, 16, 32, 64\]"):
            bspc.pack(EXAMPLE, row_align=row_align)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            ([1.0] * 5, r"x is list; convert it"),
            (np.zeros(5), r"x is float64 \[5\]; convert it"),
            (np.zeros(4, np.float32), r"x \[4\] against W \[6, 5\]; use \[5\] or \[batch, 5\]"),
            (np.zeros((5, 1), np.float32), r"x \[5, 1\] against W"),
            (np.zeros((1, 1, 5), np.float32), r"x \[1, 1, 5\] against W"),
            (np.zeros((), np.float32), r"x \[\] against W"),
        ],
    )
    def test_inputs_that_do_not_fit(self, x, message):
        with pytest.raises(FormatError, match=message):
            bspc.matvec(bspc.pack(EXAMPLE), x)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"shape": (6,)}, r"shape \[6\]; give \(rows, columns\)"),
            ({"shape": (-6, 5)}, r"shape \[-6, 5\]"),
            ({"row_align": 5}, r"row_align 5"),
            ({"reorder": np.arange(5)}, r"reorder is int64 \[5\].*int32"),
            (
                {"column_index": np.array([0, 3, 1, 2, 4], np.int32)},
                r"column_index is int32.*uint16",
            ),
            ({"values": np.zeros((4, 5), np.float32)}, r"values is float32 \[4, 5\].*one-dim"),
            ({"values": [0.0] * 20}, r"values is list"),
            ({"values": np.zeros(19, np.float32)}, r"19 values; its groups need 20"),
            ({"row_align": 8}, r"20 values; its groups need 40"),
            ({"group_offset": np.array([0, 2, 4], np.int32)}, r"group_offset must run from 0.* 5,"),
            ({"group_offset": np.array([1, 2, 5], np.int32)}, r"group_offset must run from 0"),
            ({"group_offset": np.array([0, 6, 5], np.int32)}, r"group_offset must run from 0"),
            ({"group_offset": np.array([], np.int32)}, r"group_offset must run from 0"),
            ({"column_offset": np.array([0, 2, 6], np.int32)}, r"column_offset must run from 0"),
            ({"column_offset": np.array([0, 2, 4, 5], np.int32)}, r"has 3 .* column_offset 4"),
            ({"reorder": np.array([0, 2, 1, 3, 6], np.int32)}, r"distinct rows below 6"),
            ({"reorder": np.array([0, 2, 1, 3, -1], np.int32)}, r"distinct rows below 6"),
            ({"reorder": np.array([0, 2, 1, 3, 3], np.int32)}, r"distinct rows below 6"),
            ({"column_index": np.array([0, 3, 1, 2, 5], np.uint16)}, r"stay below 5"),
            ({"column_index": np.array([3, 0, 1, 2, 4], np.uint16)}, r"ascend in each group"),
            ({"column_index": np.array([0, 3, 1, 1, 4], np.uint16)}, r"ascend in each group"),
        ],
    )
    def test_packed_arrays_that_do_not_fit_one_another(self, changes, message):
        with pytest.raises(FormatError, match=message):
            dataclasses.replace(bspc.pack(EXAMPLE), **changes)
