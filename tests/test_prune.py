"""BSP pruning: the projections against brute force, the module walk, and every refusal."""

import itertools
import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from rtmobile_iree import bspc
from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune import PrunedMatrix, PruneReport, projection, prune
from rtmobile_iree.prune.projection import (
    block_budget,
    project_bsp,
    project_columns,
    project_rows,
)

quick = settings(max_examples=100, deadline=None)

rates = st.one_of(
    st.sampled_from([1, 1.0, 1.1, 1.25, 1.5, 2, 3, 16, 1e9]), st.floats(1, 8, allow_nan=False)
)


def small_matrices(max_rows: int, max_columns: int) -> st.SearchStrategy[np.ndarray]:
    """Matrices with ties and zeros as well as distinct norms."""
    return hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, max_rows), st.integers(1, max_columns)),
        elements=st.one_of(st.sampled_from([0, 1, -1, 2]), st.floats(-4, 4, width=32)),
    )


def subsets(count: int) -> Iterator[np.ndarray]:
    for bits in itertools.product([False, True], repeat=count):
        yield np.array(bits, bool)


def allowed_columns(kept: np.ndarray, rate: float, col_blocks: int) -> bool:
    """Whether a stripe may keep these columns, from the constraint's wording alone."""
    blocks = np.array_split(kept, col_blocks)
    base = [max(1, math.floor(len(block) / rate)) for block in blocks]
    extra = max(0, round(len(kept) / rate) - sum(base))
    over = [max(0, int(block.sum()) - k) for block, k in zip(blocks, base, strict=True)]
    return max(over) <= 1 and sum(over) <= extra


def distance(w: np.ndarray, mask: np.ndarray) -> float:
    return float(np.square(w[~mask], dtype=np.float64).sum())


class TestBlockBudget:
    @pytest.mark.parametrize(
        ("columns", "rate", "col_blocks", "base", "extra"),
        [
            (1024, 10, 8, (12,) * 8, 6),  # 12.8 a block: 102 in all
            (40, 10, 8, (1,) * 8, 0),  # half a column a block: each keeps one
            (1024, 16, 8, (8,) * 8, 0),
            (10, 2, 3, (2, 1, 1), 1),  # blocks of 4, 3, 3
            (7, 1, 3, (3, 2, 2), 0),
            (8, 1.5, 8, (1,) * 8, 0),  # 5 wanted, but a block of one column keeps it
            (5, 1e9, 1, (1,), 0),
        ],
    )
    def test_by_hand(self, columns, rate, col_blocks, base, extra):
        budget = block_budget(columns, rate, col_blocks)
        assert (budget.base, budget.extra) == (base, extra)

    @quick
    @given(st.integers(1, 300), rates, st.data())
    def test_the_stripe_keeps_its_share_and_every_block_one(self, columns, rate, data):
        col_blocks = data.draw(st.integers(1, columns))
        budget = block_budget(columns, rate, col_blocks)
        widths = np.diff(budget.bounds)
        assert [len(part) for part in np.array_split(np.arange(columns), col_blocks)] == [*widths]
        assert all(1 <= k <= width for k, width in zip(budget.base, widths, strict=True))
        kept, wanted = sum(budget.base) + budget.extra, round(columns / rate)
        if any(width < rate for width in widths):
            assert kept >= wanted
        else:
            assert kept == wanted


class TestNearestPoint:
    @quick
    @given(small_matrices(4, 7), rates, st.data())
    def test_columns(self, w, rate, data):
        row_stripes = data.draw(st.integers(1, w.shape[0]))
        col_blocks = data.draw(st.integers(1, w.shape[1]))
        mask = project_columns(w, rate, row_stripes, col_blocks)
        assert mask.shape == w.shape
        assert mask.dtype == bool
        for stripe, kept in zip(
            np.array_split(w, row_stripes), np.array_split(mask, row_stripes), strict=True
        ):
            assert (kept == kept[0]).all()
            assert allowed_columns(kept[0], rate, col_blocks)
            best = min(
                distance(stripe, np.broadcast_to(columns, stripe.shape))
                for columns in subsets(w.shape[1])
                if allowed_columns(columns, rate, col_blocks)
            )
            assert distance(stripe, kept) == pytest.approx(best, abs=1e-9)

    @quick
    @given(small_matrices(7, 3), rates)
    def test_rows(self, w, rate):
        mask = project_rows(w, rate)
        assert (mask == mask[:, :1]).all()
        keep = max(1, round(w.shape[0] / rate))
        assert mask[:, 0].sum() == keep
        best = min(
            distance(w, np.broadcast_to(rows[:, None], w.shape))
            for rows in subsets(w.shape[0])
            if rows.sum() <= keep
        )
        assert distance(w, mask) == pytest.approx(best, abs=1e-9)

    @quick
    @given(small_matrices(12, 12), rates, rates, st.data())
    def test_both_steps(self, w, column_rate, row_rate, data):
        row_stripes = data.draw(st.integers(1, w.shape[0]))
        col_blocks = data.draw(st.integers(1, w.shape[1]))
        arguments = (column_rate, row_rate, row_stripes, col_blocks)
        mask = project_bsp(w, *arguments)
        columns = project_columns(w, column_rate, row_stripes, col_blocks)
        np.testing.assert_array_equal(mask, columns & project_rows(w * columns, row_rate))
        once = np.where(mask, w, 0)
        np.testing.assert_array_equal(np.where(project_bsp(once, *arguments), once, 0), once)

    def test_rate_one_keeps_everything(self):
        w = np.ones((7, 11), np.float32)
        assert project_bsp(w, 1, 1, 3, 4).all()

    def test_rows_are_judged_by_what_step_one_left(self):
        # Row 0 is the longest, but its weight lies in the column that step 1 removes.
        w = np.array([[0, 5], [4, 0], [4, 0]], np.float32)
        assert project_bsp(w, 2, 1.5, 1, 1)[:, 0].tolist() == [False, True, True]

    def test_of_equal_norms_the_first_stays(self):
        w = np.ones((4, 8), np.float32)
        assert project_columns(w, 4, 2, 2)[0].tolist() == [True, False, False, False] * 2
        assert (
            project_columns(w, 8 / 3, 2, 2)[0].tolist()
            == [True, True] + [False] * 2 + [True] + [False] * 3
        )
        assert project_rows(w, 2)[:, 0].tolist() == [True, True, False, False]

    def test_of_many_equal_norms_the_first_stay(self):
        w = np.tile([[1.0, 2.0, 1.0]], 200)  # of 600 columns, 200 share the largest norm
        first = list(range(1, 300, 3))
        assert np.flatnonzero(project_columns(w, 6, 1, 1)).tolist() == first
        assert np.flatnonzero(project_rows(w.T, 6)).tolist() == first

    def test_one_more_goes_only_to_a_block_with_a_column_left(self):
        # Blocks of 2 and 1; three columns wanted, and the block of one has no more to give.
        assert project_columns(np.array([[2.0, 1.0, 5.0]]), 1.1, 1, 2).all()

    def test_large_and_small_weights_do_not_overflow(self):
        w = np.array([[1e30, 3e38, 1e-30, 1e-45]], np.float32)
        assert project_columns(w, 2, 1, 2).tolist() == [[False, True, True, False]]

    def test_the_input_is_left_alone(self):
        w = np.arange(12, dtype=np.float32).reshape(3, 4)
        project_bsp(w, 2, 2, 2, 2)
        np.testing.assert_array_equal(w, np.arange(12, dtype=np.float32).reshape(3, 4))

    def test_the_result_packs_into_one_group_a_stripe(self):
        w = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
        pruned = np.where(project_bsp(w, 5, 1, 7, 3), w, 0)
        stripes = [part.tolist() for part in np.array_split(np.arange(50), 7)]
        assert [group.rows.tolist() for group in bspc.find_groups(pruned)] == stripes
        assert {group.columns.size for group in bspc.find_groups(pruned)} == {6}


class TestProjectionRefusals:
    @pytest.mark.parametrize(
        ("w", "message"),
        [
            ([[1.0]], r"prune: w is a list; give a numpy.ndarray"),
            (np.zeros(3, np.float32), r"w is float32 \[3\]; give two dimensions"),
            (np.zeros((2, 2), np.int32), r"w is int32 \[2, 2\]; give two dimensions of a floating"),
            (np.array([[0, np.inf]], np.float32), r"w \[1, 2\]: 1 NaN or .* inf at \[0, 1\]"),
        ],
    )
    @pytest.mark.parametrize(
        "project",
        [
            lambda w: project_columns(w, 1, 1, 1),
            lambda w: project_rows(w, 1),
            lambda w: project_bsp(w, 1, 1, 1, 1),
        ],
    )
    def test_weights(self, project, w, message):
        with pytest.raises(PruneError, match=message):
            project(w)

    @pytest.mark.parametrize("rate", [0, 0.99, -1, math.nan, math.inf, True, "2", None])
    def test_rates(self, rate):
        w = np.ones((4, 4), np.float32)
        with pytest.raises(PruneError, match=r"w \[4, 4\]: column_rate .*; use a finite number"):
            project_columns(w, rate, 1, 1)
        with pytest.raises(PruneError, match=r"w \[4, 4\]: row_rate .*; use a finite number"):
            project_rows(w, rate)

    @pytest.mark.parametrize(
        ("row_stripes", "col_blocks", "message"),
        [
            (5, 1, r"fc \[4, 3\]: row_stripes 5 is more than its 4 rows; use 1 to 4"),
            (1, 4, r"fc \[4, 3\]: col_blocks 4 is more than its 3 columns; use 1 to 3"),
            (0, 1, r"row_stripes 0; use a whole number, 1 to 4"),
            (1, -2, r"col_blocks -2; use a whole number, 1 to 3"),
            (1.0, 1, r"row_stripes 1.0; use a whole number"),
            (1, True, r"col_blocks True; use a whole number"),
        ],
    )
    def test_block_counts(self, row_stripes, col_blocks, message):
        w = np.ones((4, 3), np.float32)
        with pytest.raises(PruneError, match=message):
            project_columns(w, 1, row_stripes, col_blocks, name="fc")

    @pytest.mark.parametrize(("shape", "axis"), [((0, 3), "rows"), ((3, 0), "columns")])
    def test_empty_matrices(self, shape, axis):
        with pytest.raises(PruneError, match=rf"has no {axis}, so nothing to prune"):
            project_columns(np.zeros(shape, np.float32), 1, 1, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16, num_layers=2)
        self.fc = nn.Linear(16, 10)


GRU_WEIGHTS = ["gru.weight_ih_l0", "gru.weight_hh_l0", "gru.weight_ih_l1", "gru.weight_hh_l1"]
SMALL = {"column_rate": 4, "row_rate": 2, "row_stripes": 5, "col_blocks": 2}


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> list[str]:
    after = module.state_dict()
    return [name for name, value in before.items() if not torch.equal(value, after[name])]


def names(report: PruneReport) -> list[str]:
    return [matrix.name for matrix in report.matrices]


class TestPrune:
    def test_recurrent_weights_become_their_projection_and_nothing_else_changes(self):
        net = Net()
        before = snapshot(net)
        report = prune(net, **SMALL)
        assert names(report) == changed(net, before) == GRU_WEIGHTS
        for name in GRU_WEIGHTS:
            old = before[name].numpy()
            expected = np.where(project_bsp(old, 4, 2, 5, 2), old, 0)
            np.testing.assert_array_equal(net.state_dict()[name].numpy(), expected)

    def test_parameters_stay_the_same_objects_and_trainable(self):
        net = Net()
        parameters = list(net.parameters())
        prune(net, **SMALL)
        assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
        assert all(parameter.requires_grad for parameter in net.parameters())

    def test_the_defaults_are_16_x_2_in_48_stripes_of_8_blocks(self):
        gru = nn.GRU(128, 64)
        report = prune(gru)
        assert (report.column_rate, report.row_rate) == (16, 2)
        assert (report.row_stripes, report.col_blocks) == (48, 8)
        ih, hh = report.matrices
        # 128 / 8 / 16 = 1 column a block; 64 / 8 / 16 is half a column, so 1 there too.
        assert (ih.shape, ih.kept_rows, ih.kept, ih.rate) == ((192, 128), 96, 96 * 8, 32)
        assert (hh.shape, hh.kept_rows, hh.kept, hh.rate) == ((192, 64), 96, 96 * 8, 16)
        assert (report.weights, report.kept, report.rate) == (192 * 192, 2 * 768, 24)

    @pytest.mark.parametrize(
        ("layer", "expected"),
        [
            (nn.GRU(4, 5), ["weight_ih_l0", "weight_hh_l0"]),
            (
                nn.LSTM(4, 5, bidirectional=True, bias=False),
                ["weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"],
            ),
            (nn.LSTM(4, 5, proj_size=3), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
            (nn.RNN(4, 5), ["weight_ih_l0", "weight_hh_l0"]),
            (nn.GRUCell(4, 5), ["weight_ih", "weight_hh"]),
            (nn.LSTMCell(4, 5), ["weight_ih", "weight_hh"]),
            (nn.RNNCell(4, 5), ["weight_ih", "weight_hh"]),
        ],
    )
    def test_layers_found_by_default(self, layer, expected):
        before = snapshot(layer)
        report = prune(layer, column_rate=2, row_rate=2, row_stripes=2, col_blocks=1)
        assert names(report) == changed(layer, before) == expected

    @pytest.mark.parametrize(
        ("layers", "expected"),
        [
            ("fc.weight", ["fc.weight"]),
            ("fc", ["fc.weight"]),
            (["fc", "gru.weight_hh_l1"], ["gru.weight_hh_l1", "fc.weight"]),
            (["*.weight_hh_*"], ["gru.weight_hh_l0", "gru.weight_hh_l1"]),
            (("gru",), GRU_WEIGHTS),
            (["gru*", "gru"], GRU_WEIGHTS),
            (iter(["*"]), [*GRU_WEIGHTS, "fc.weight"]),
        ],
    )
    def test_layers_by_name(self, layers, expected):
        net = Net()
        before = snapshot(net)
        report = prune(net, **SMALL, layers=layers)
        assert names(report) == changed(net, before) == expected

    def test_a_shared_parameter_is_pruned_once_and_known_by_all_its_names(self):
        net = nn.ModuleDict({"a": nn.GRUCell(6, 6), "b": nn.GRUCell(6, 6)})
        net["b"].weight_hh = net["a"].weight_hh
        old = net["a"].weight_hh.detach().clone().numpy()
        arguments = {"column_rate": 2, "row_rate": 2, "row_stripes": 3, "col_blocks": 2}
        report = prune(net, **arguments, layers=["b.weight_hh"])
        assert [(matrix.name, matrix.also) for matrix in report.matrices] == [
            ("a.weight_hh", ("b.weight_hh",))
        ]
        expected = np.where(project_bsp(old, 2, 2, 3, 2), old, 0)
        np.testing.assert_array_equal(net["b"].weight_hh.detach().numpy(), expected)

    def test_a_parameter_shared_with_a_linear_layer_is_still_recurrent(self):
        net = nn.ModuleList([nn.RNNCell(6, 6), nn.Linear(6, 6)])
        net[1].weight = net[0].weight_hh
        assert names(prune(net, **SMALL)) == ["0.weight_ih", "0.weight_hh"]

    def test_a_shared_module_is_pruned_once(self):
        cell = nn.GRUCell(6, 6)
        report = prune(nn.ModuleList([cell, cell]), **SMALL)
        assert names(report) == ["0.weight_ih", "0.weight_hh"]
        assert report.matrices[0].also == ("1.weight_ih",)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floating_types(self, dtype):
        cell = nn.RNNCell(6, 6, dtype=dtype)
        report = prune(cell, **SMALL)
        kept = int(cell.weight_ih.count_nonzero())
        assert cell.weight_ih.dtype == dtype
        assert report.matrices[0].kept == kept == 3 * 2

    @pytest.mark.parametrize(
        "layer", [nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, (3, 2), groups=2), nn.Conv2d(1, 1, 1)]
    )
    def test_convolutions_in_their_matrix_form(self, layer):
        old = layer.weight.detach().clone().flatten(1).numpy()
        arguments = {"column_rate": 2, "row_rate": 2, "row_stripes": 1, "col_blocks": 1}
        report = prune(layer, **arguments, layers="weight")
        assert report.matrices[0].shape == old.shape
        expected = np.where(project_bsp(old, 2, 2, 1, 1), old, 0)
        np.testing.assert_array_equal(layer.weight.detach().flatten(1).numpy(), expected)

    def test_weights_that_were_zero_do_not_count_as_kept(self):
        cell = nn.RNNCell(4, 4)
        with torch.no_grad():
            cell.weight_hh.zero_()
        report = prune(cell, column_rate=1, row_rate=1, row_stripes=1, col_blocks=1)
        assert (report.matrices[1].kept, report.matrices[1].kept_rows) == (0, 0)
        assert report.matrices[1].rate == math.inf

    def test_numbers_of_numpy_do(self):
        report = prune(
            nn.RNNCell(4, 4),
            column_rate=np.float32(2),
            row_rate=np.int64(1),
            row_stripes=np.int32(2),
            col_blocks=np.int64(2),
        )
        assert json.loads(report.to_json())["column_rate"] == 2.0


class TestReport:
    report = PruneReport(
        (
            PrunedMatrix("gru.weight_hh_l0", (), (3072, 1024), kept=98304, kept_rows=1536),
            PrunedMatrix("a.weight", ("b.weight",), (2, 3), kept=0, kept_rows=0),
        ),
        column_rate=16.0,
        row_rate=2.0,
        row_stripes=48,
        col_blocks=8,
    )

    def test_the_table(self):
        assert str(self.report) == (
            "matrix               shape           weights    kept   rate  kept rows\n"
            "gru.weight_hh_l0     [3072, 1024]  3,145,728  98,304  32.0x      1,536\n"
            "a.weight = b.weight  [2, 3]                6       0   infx          0\n"
            "total                              3,145,734  98,304  32.0x"
        )

    def test_json_has_no_infinity(self):
        read = json.loads(self.report.to_json(), parse_constant=pytest.fail)
        assert read == {
            "column_rate": 16.0,
            "row_rate": 2.0,
            "row_stripes": 48,
            "col_blocks": 8,
            "weights": 3145734,
            "kept": 98304,
            "rate": 3145734 / 98304,
            "matrices": [
                {
                    "name": "gru.weight_hh_l0",
                    "also": [],
                    "shape": [3072, 1024],
                    "weights": 3145728,
                    "kept": 98304,
                    "kept_rows": 1536,
                    "rate": 32.0,
                },
                {
                    "name": "a.weight",
                    "also": ["b.weight"],
                    "shape": [2, 3],
                    "weights": 6,
                    "kept": 0,
                    "kept_rows": 0,
                    "rate": None,
                },
            ],
        }


class TestPruneRefusals:
    def refuse(self, module: nn.Module, message: str, **arguments: object) -> None:
        """The call fails with this message and changes no weight."""
        before = snapshot(module)
        with pytest.raises(PruneError, match=message) as caught:
            prune(module, **{**SMALL, **arguments})
        assert "\n" not in str(caught.value)
        assert changed(module, before) == []

    def test_no_module(self):
        with pytest.raises(PruneError, match=r"module is a dict; give a torch.nn.Module"):
            prune({})

    @pytest.mark.parametrize("what", ["column_rate", "row_rate"])
    @pytest.mark.parametrize("rate", [0.5, math.nan, math.inf, True, "16"])
    def test_rates(self, what, rate):
        self.refuse(Net(), rf"^prune: {what} .*; use a finite number", **{what: rate})

    def test_nothing_to_prune(self):
        self.refuse(nn.Conv3d(2, 2, 1), r"Conv3d has nothing to prune; it needs an nn.GRU")
        self.refuse(nn.Linear(8, 8), r"Linear has no nn.GRU.*in layers: weight$")

    def test_names_that_match_nothing(self):
        listed = ", ".join([*GRU_WEIGHTS, "fc.weight"])
        self.refuse(Net(), rf"layers 'rnn' matches no matrix of Net; .* {listed}$", layers="rnn")
        self.refuse(Net(), r"layers 'fc.bias' matches no", layers=["gru", "fc.bias"])
        self.refuse(nn.GRUCell(8, 8), r"layers '' matches no", layers=[""])
        self.refuse(Net(), r"layers 3 matches no matrix", layers=[3])
        self.refuse(Net(), r"layers is empty; leave it out, or name some of: gru", layers=[])
        self.refuse(Net(), r"layers 3; give names, some of: gru", layers=3)

    def test_stripes_and_blocks_that_do_not_fit_a_later_matrix(self):
        self.refuse(
            Net(),
            r"fc.weight \[10, 16\]: row_stripes 48 is more than its 10 rows; use 1 to 10",
            row_stripes=48,
            layers="*",
        )
        self.refuse(
            nn.Sequential(nn.GRU(16, 16), nn.GRU(4, 16)),
            r"1.weight_ih_l0 \[48, 4\]: col_blocks 8 is more than its 4 columns; use 1 to 4",
            col_blocks=8,
        )
        self.refuse(Net(), r"gru.weight_ih_l0 \[48, 8\]: row_stripes 0;", row_stripes=0)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_weights_that_are_not_finite_in_a_later_matrix(self, value):
        net = Net()
        with torch.no_grad():
            net.gru.weight_hh_l1[7, 3] = value
        untouched = net.gru.weight_ih_l0.detach().clone()
        with pytest.raises(
            PruneError, match=rf"gru.weight_hh_l1 \[48, 16\]: 1 NaN .* {value} at \[7, 3\]"
        ):
            prune(net, **SMALL)
        assert torch.equal(net.gru.weight_ih_l0, untouched)

    def test_computed_weights(self):
        gru = nn.GRU(8, 16)
        nn.utils.parametrizations.weight_norm(gru, "weight_hh_l0")
        self.refuse(gru, r"weight_hh_l0 is computed by its layer.*remove weight norm")

    def test_weights_without_values(self):
        lazy = nn.LazyLinear(4)
        with pytest.raises(PruneError, match=r"0.weight holds no values yet"):
            prune(nn.Sequential(lazy), **SMALL, layers="*")
        with pytest.raises(PruneError, match=r"weight_ih_l0 holds no values yet"):
            prune(nn.GRU(8, 16, device="meta"), **SMALL)

    def test_complex_weights(self):
        linear = nn.Linear(8, 8, dtype=torch.complex64)
        self.refuse(linear, r"weight is torch.complex64; use a floating type", layers="weight")

    def test_inference_mode_weights(self):
        with torch.inference_mode():
            cell = nn.GRUCell(8, 8)
        self.refuse(cell, r"weight_ih was made in torch.inference_mode")
        with torch.inference_mode():
            assert prune(cell, **SMALL).kept < 2 * 24 * 8


def test_every_projection_name_is_exported():
    assert all(hasattr(projection, name) for name in projection.__all__)
