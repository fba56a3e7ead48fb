"""BSPPruner: phases, masks, every kind of layer, resuming, refusals, what is left at the end."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.errors import DivergenceError, PruneError
from rtmobile_iree.prune.masks import Mask
from rtmobile_iree.prune.pruner import BSPPruner
from rtmobile_iree.prune.recipe import Recipe

METHODS = {
    "admm": {"kind": "admm", "steps": 5, "project_every": 2, "rho": 0.1},
    "reweighted": {"kind": "reweighted", "steps": 5, "update_every": 2, "strength": 0.01},
    "magnitude": {"kind": "magnitude"},
}
BLOCKS = {"row_stripes": 2, "col_blocks": 2}


def recipe(method: str = "admm", **changes: object) -> Recipe:
    base = {
        "method": METHODS[method],
        "retrain_steps": 2,
        "layers": {"*": {"column_rate": 2, "row_rate": 2}},
        **BLOCKS,
    }
    return Recipe(**{**base, **changes})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(x)[0])


class Run:
    """A module in training, one step at a time; the same steps for the same seed."""

    def __init__(self, module: nn.Module, recipe: Recipe, shape=(5, 3, 6), optimizer=None) -> None:
        self.module, self.shape = module, shape
        self.pruner = BSPPruner(module, recipe)
        make = optimizer or (lambda parameters: torch.optim.Adam(parameters, 0.01))
        self.optimizer = make(module.parameters())
        self.number = 0

    def loss(self) -> torch.Tensor:
        x = torch.randn(self.shape, generator=torch.Generator().manual_seed(self.number))
        y = self.module(x)
        y = y[0] if isinstance(y, tuple) else y
        return (y - x.sum()).square().mean()

    def step(self) -> None:
        loss = self.loss()
        (loss + self.pruner.penalty()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.pruner.step(loss)
        self.number += 1

    def to_the_end(self) -> "Run":
        while not self.pruner.done:
            self.step()
        return self

    def state(self) -> dict:
        parts = (self.module, self.pruner, self.optimizer)
        return copy.deepcopy([part.state_dict() for part in parts])


def columns_of(mask: np.ndarray, row_stripes: int) -> list[int]:
    """Kept columns of each stripe, among the rows that are kept at all."""
    return [int(part.any(0).sum()) for part in np.array_split(mask, row_stripes)]


def zeros(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().flatten(1).numpy() == 0


class TestPhases:
    def test_columns_then_rows_each_trained_then_retrained(self):
        run, seen = Run(Net(), recipe(column_stages=[1.5], row_stages=[1, 1.25, 3])), []
        assert run.pruner.steps == 4 * (5 + 2)
        while not run.pruner.done:
            phase = str(run.pruner.phase)
            seen += [] if seen[-1:] == [phase] else [phase]
            run.step()
        assert run.number == 4 * (5 + 2)
        assert seen == [
            "columns 1.5x: admm", "columns 1.5x: retrain",
            "columns 2x: admm", "columns 2x: retrain",
            "rows 1.25x: admm", "rows 1.25x: retrain",
            "rows 2x: admm", "rows 2x: retrain",
        ]  # fmt: skip
        assert str(run.pruner.phase) == "done"

    def test_stages_of_both_steps_alternate_where_asked(self):
        asked = recipe(column_stages=[1.25, 1.5], row_stages=[1.25], alternate=True)
        phases = Run(Net(), asked).pruner._phases[:-1]
        assert [(phase.step, phase.cap) for phase in phases[::2]] == [
            ("columns", 1.25), ("rows", 1.25), ("columns", 1.5), ("rows", 2), ("columns", 2),
        ]  # fmt: skip
        run = Run(Net(), asked).to_the_end()
        run.pruner.finalize()
        kept = ~zeros(run.module.gru.weight_hh_l0)
        assert kept.any(1).sum() == len(kept) / 2
        assert set(columns_of(kept, asked.row_stripes)) <= {0, kept.shape[1] // 2}

    def test_a_stage_rises_by_equal_factors_to_its_rate(self):
        asked = recipe(column_stages=[1.5], rise=1.25, rise_steps=1)
        phases = Run(Net(), asked).pruner._phases[:-1]
        assert [round(phase.cap, 3) for phase in phases[::2]] == [
            *(1.225, 1.5, 1.732, 2), *(1.189, 1.414, 1.682, 2),
        ]  # fmt: skip
        assert [phase.steps for phase in phases[1::2]] == [1, 2, 1, 2, 1, 1, 1, 2]
        assert [phase.rising for phase in phases[1::2]] == [
            *(True, False, True, False), *(True, True, True, False),
        ]  # fmt: skip
        assert all(phase.steps == 5 for phase in phases[::2])
        run = Run(Net(), asked).to_the_end()
        run.pruner.finalize()
        once = Run(Net(), recipe()).to_the_end()
        once.pruner.finalize()
        found, wanted = (zeros(one.module.gru.weight_hh_l0).mean() for one in (run, once))
        assert found == wanted

    def test_masks_are_set_at_the_end_of_training_and_hold_in_retraining(self):
        run = Run(Net(), recipe(layers={"gru": {"column_rate": 2}}))
        gru = run.module.gru
        for _ in range(4):
            run.step()
        assert not zeros(gru.weight_hh_l0).any()
        run.step()
        assert run.pruner.phase.kind == "retrain"
        pruned, before = zeros(gru.weight_hh_l0), gru.weight_hh_l0.detach().clone()
        assert columns_of(~pruned, 2) == [4, 4]
        run.step()
        np.testing.assert_array_equal(zeros(gru.weight_hh_l0), pruned)
        changed = (gru.weight_hh_l0.detach() != before).flatten(1).numpy()
        np.testing.assert_array_equal(changed, ~pruned)
        assert not zeros(run.module.fc.weight).any()

    def test_stages_are_nested_and_a_lower_rate_is_reached_early(self):
        layers = {"*hh*": {"column_rate": 4}, "*ih*": {"column_rate": 1.5}}
        run = Run(Net(), recipe(column_stages=[2], layers=layers))
        kept = []
        for _ in range(2):
            for _ in range(5 + 2):
                run.step()
            kept.append(
                [~zeros(w) for w in (run.module.gru.weight_ih_l0, run.module.gru.weight_hh_l0)]
            )
        (ih, hh), (ih_after, hh_after) = kept
        np.testing.assert_array_equal(ih, ih_after)
        assert (hh | ~hh_after).all()
        assert (columns_of(hh, 2), columns_of(hh_after, 2)) == ([4, 4], [2, 2])

    def test_more_steps_after_the_end_retrain(self):
        run = Run(Net(), recipe()).to_the_end()
        pruned = zeros(run.module.gru.weight_hh_l0)
        run.step()
        np.testing.assert_array_equal(zeros(run.module.gru.weight_hh_l0), pruned)
        assert run.pruner.done

    @pytest.mark.parametrize("method", METHODS)
    def test_rate_one_changes_nothing(self, method):
        net = Net()
        before = copy.deepcopy(net.state_dict())
        pruner = BSPPruner(net, recipe(method, layers={"*": {}}))
        assert pruner.done
        report = pruner.finalize()
        assert report.rate == 1
        assert list(net.state_dict()) == list(before)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

    @pytest.mark.parametrize("method", METHODS)
    def test_all_pruned_but_one(self, method):
        net = Net()
        rates = {"column_rate": 1e9, "row_rate": 1e9, "row_stripes": 1, "col_blocks": 1}
        report = Run(net, recipe(method, layers={"*": rates})).to_the_end().pruner.finalize()
        assert [matrix.kept for matrix in report.matrices] == [1, 1, 1]

    def test_no_retraining(self):
        run = Run(Net(), recipe("magnitude", retrain_steps=0))
        assert run.pruner.done
        assert run.pruner.finalize().rate > 2


LAYERS = {
    "GRU": lambda: nn.GRU(6, 8, num_layers=2, bidirectional=True),
    "LSTM": lambda: nn.LSTM(6, 8),
    "LSTM with proj_size": lambda: nn.LSTM(6, 8, proj_size=4),
    "RNN": lambda: nn.RNN(6, 8, nonlinearity="relu", bias=False),
    "GRUCell": lambda: nn.GRUCell(6, 8),
    "LSTMCell": lambda: nn.LSTMCell(6, 8),
    "RNNCell": lambda: nn.RNNCell(6, 8),
    "Linear": lambda: nn.Linear(6, 8),
    "Conv1d": lambda: nn.Conv1d(6, 8, 3),
    "Conv2d": lambda: nn.Conv2d(6, 8, (3, 2), groups=2),
}
SHAPES = {"Conv1d": (2, 6, 9), "Conv2d": (2, 6, 5, 5)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_by_every_method(kind, method):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    shape = SHAPES.get(kind, (4, 6) if "Cell" in kind else (5, 3, 6))
    before = copy.deepcopy(layer.state_dict())
    run = Run(layer, recipe(method), shape).to_the_end()
    masked = {name: value.detach() for name, value in layer.named_buffers()}
    report = run.pruner.finalize()
    assert masked  # while training
    assert not list(layer.named_buffers())  # a plain module again
    assert type(layer) is type(LAYERS[kind]())
    assert list(layer.state_dict()) == list(before)
    matrices = [name for name in before if "weight" in name]
    assert [matrix.name for matrix in report.matrices] == matrices
    for name in matrices:
        kept = ~zeros(layer.state_dict()[name])
        rows = kept.any(axis=1)
        assert rows.sum() == max(1, round(len(kept) / 2))
        for stripe in np.array_split(kept, 2):
            patterns = np.unique(stripe[stripe.any(axis=1)], axis=0)
            assert len(patterns) <= 1
            assert all(pattern.sum() == round(kept.shape[1] / 2) for pattern in patterns)
        assert not torch.equal(layer.state_dict()[name], before[name])
    layer(torch.zeros(shape))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, 0.01),
        lambda parameters: torch.optim.RMSprop(parameters, 0.001),
    ],
)
def test_optimizers_with_momentum_and_decay_leave_exact_zeros(optimizer):
    run = Run(Net(), recipe(), optimizer=optimizer).to_the_end()
    run.pruner.finalize()
    weight = run.module.gru.weight_hh_l0.detach()
    assert int((weight != 0).sum()) == 12 * 4
    assert not torch.signbit(weight[weight == 0]).any()


def test_an_optimizer_made_before_the_pruner_works():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    run = Run(net, recipe(), optimizer=lambda _: optimizer)
    before = net.gru.weight_hh_l0.detach().clone()
    run.step()
    assert not torch.equal(net.gru.weight_hh_l0, before)


def test_a_shared_parameter_stays_shared():
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    net[1].weight = net[0].weight
    report = Run(net, recipe()).to_the_end().pruner.finalize()
    assert net[0].weight is net[1].weight
    assert [(m.name, m.also) for m in report.matrices] == [("0.weight", ("1.weight",))]
    assert report.kept == int((net[0].weight != 0).sum()) == 9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_floating_types(dtype):
    layer = nn.Linear(6, 8, dtype=dtype)
    pruner = BSPPruner(layer, recipe())
    optimizer = torch.optim.SGD(layer.parameters(), 0.01)
    while not pruner.done:
        loss = layer(torch.ones(1, 6, dtype=dtype)).square().mean()
        (loss + pruner.penalty()).backward()
        optimizer.step()
        pruner.step(loss)
    assert pruner.finalize().kept == 4 * 3
    assert layer.weight.dtype == dtype


def test_the_finished_module_compiles_and_is_encoded():
    torch.manual_seed(0)
    net = nn.GRU(16, 32)
    layers = {"*": {"column_rate": 4, "row_rate": 2, "row_stripes": 4}}
    Run(net, recipe(layers=layers), (5, 1, 16)).to_the_end().pruner.finalize()
    x = torch.randn(7, 1, 16)
    program = rt.compile(net.eval(), (x,), dynamic_steps=True)
    assert [matrix.encoded for matrix in program.report.matrices] == [True, True]
    assert program.report.kept == sum(int((w != 0).sum()) for w in net.all_weights[0][:2])
    with torch.no_grad():
        np.testing.assert_allclose(program(x)[0], net(x)[0].numpy(), atol=1e-5)


class TestResume:
    @pytest.mark.parametrize("method", METHODS)
    def test_from_any_step_bit_by_bit(self, method, tmp_path):
        """Through a file, into another module of other weights."""
        plan = recipe(method, column_stages=[1.5])
        whole = Run(Net(), plan)
        states = [whole.state()]
        while not whole.pruner.done:
            whole.step()
            states.append(whole.state())
        whole.pruner.finalize()
        expected = whole.module.state_dict()
        for number in range(len(states)):
            torch.save(states[number], tmp_path / "run.pt")
            again = Run(Net(), plan)
            saved = torch.load(tmp_path / "run.pt", weights_only=True)
            parts = (again.module, again.pruner, again.optimizer)
            for part, state in zip(parts, saved, strict=True):
                part.load_state_dict(state)
            again.number = number
            again.to_the_end().pruner.finalize()
            found = again.module.state_dict()
            assert all(torch.equal(value, found[name]) for name, value in expected.items()), number

    def test_a_budget_keeps_its_shares(self):
        """A module that is about to be loaded has other weights, so other sensitivities."""
        budget = {"rate": 3, "layers": ["*"], "column_rates": [1, 2, 4], "row_rates": [1, 2]}
        plan = recipe(layers=None, budget=budget)
        first = Run(Net(), plan)
        other = Net()
        with torch.no_grad():
            other.gru.weight_hh_l0[:, [1, 2, 3, 5, 6, 7]] = 0
        again = Run(other, plan)
        assert again.pruner.structures() != first.pruner.structures()
        again.pruner.load_state_dict(first.pruner.state_dict())
        assert again.pruner.structures() == first.pruner.structures()
        assert again.pruner.phase == first.pruner.phase

    def test_a_state_held_in_memory_does_not_change(self):
        run = Run(Net(), recipe())
        run.step()
        held = run.pruner.state_dict()
        kept = copy.deepcopy(held)
        for _ in range(3):
            run.step()
        for part in ("z", "u"):
            for name, value in kept["training"][part].items():
                assert torch.equal(held["training"][part][name], value)

    def test_another_recipe_or_module(self):
        state = BSPPruner(Net(), recipe()).state_dict()
        with pytest.raises(
            PruneError, match=r"recipe with retrain_steps 2, this one has 3; resume"
        ):
            BSPPruner(Net(), recipe(retrain_steps=3)).load_state_dict(state)
        with pytest.raises(PruneError, match=r"matrices gru.weight_ih_l0, .* has weight; resume"):
            BSPPruner(nn.Linear(8, 8), recipe()).load_state_dict(state)


class TestRefusals:
    def refuse(self, module: nn.Module, message: str, **changes: object) -> None:
        before = copy.deepcopy(module.state_dict())
        with pytest.raises(PruneError, match=message) as caught:
            BSPPruner(module, recipe(**changes))
        assert "\n" not in str(caught.value)
        after = module.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    def test_no_module_or_recipe(self):
        with pytest.raises(PruneError, match=r"module is a dict; give a torch.nn.Module"):
            BSPPruner({}, recipe())
        with pytest.raises(PruneError, match=r"recipe is a dict; give an rt.Recipe"):
            BSPPruner(Net(), {})

    def test_patterns(self):
        self.refuse(Net(), r"layers 'rnn' matches no matrix of Net; .*fc", layers={"rnn": {}})
        self.refuse(
            Net(),
            r"layers 'fc' matches only fc.weight, which an earlier pattern takes; put it first",
            layers={"*": {}, "fc": {}},
        )
        self.refuse(nn.Conv3d(1, 1, 1), r"Conv3d has nothing to prune")

    def test_blocks_that_do_not_fit_one_matrix(self):
        self.refuse(
            Net(),
            r"fc.weight \[4, 8\]: row_stripes 5 is more than its 4 rows; use 1 to 4",
            row_stripes=5,
        )
        self.refuse(
            Net(),
            r"gru.weight_ih_l0 \[24, 6\]: col_blocks 7 is more than its 6 columns; use 1 to 6",
            layers={"gru": {"col_blocks": 7}},
        )
        self.refuse(
            Net(),
            r"fc.weight \[4, 8\]: row_stripes 5 is more than its 4 rows",
            layers=None,
            budget={"rate": 2, "layers": ["*"]},
            row_stripes=5,
        )

    def test_a_budget_out_of_reach(self):
        self.refuse(
            Net(),
            r"budget.rate 1000 of 368 weights keeps 0, but the highest rates still keep "
            r"\d+; use a rate up to ",
            layers=None,
            budget={"rate": 1000, "layers": ["*"]},
        )

    def test_weights_that_cannot_be_trained(self):
        net = Net()
        net.fc.weight.requires_grad_(False)
        self.refuse(net, r"fc.weight is frozen .*; leave it out, or unfreeze it")
        net = Net()
        with torch.no_grad():
            net.gru.weight_hh_l0[2, 3] = math.inf
        self.refuse(net, r"gru.weight_hh_l0 \[24, 8\]: 1 NaN or infinite weights, .* at \[2, 3\]")

    def test_a_module_that_is_being_pruned_already(self):
        net = Net()
        BSPPruner(net, recipe())
        with pytest.raises(PruneError, match=r"gru.weight_ih_l0 is computed by its layer"):
            BSPPruner(net, recipe())

    def test_calls_out_of_order(self):
        run = Run(Net(), recipe())
        with pytest.raises(
            PruneError, match=r"step\(\) without penalty\(\) in phase columns 2x: a"
        ):
            run.pruner.step()
        run.step()
        with pytest.raises(PruneError, match=r"finalize\(\) in phase columns 2x: admm, after 1 of"):
            run.pruner.finalize()
        run.to_the_end().pruner.finalize()
        for call in (run.pruner.finalize, run.pruner.step):
            with pytest.raises(PruneError, match=r"the pruner is finalized; make a new one"):
                call()


class TestDivergence:
    def test_a_weight(self):
        run = Run(Net(), recipe())
        for _ in range(6):
            run.step()
        good = copy.deepcopy(run.module.state_dict())
        run.pruner.penalty()
        with torch.no_grad():
            run.module.gru.parametrizations.weight_hh_l0.original[0, :2] = math.nan
            run.module.fc.bias[0] += 1
        with pytest.raises(
            DivergenceError,
            match=r"diverged at columns 2x: retrain, step 2 of 2 \(7 in all\): gru.weight_hh_l0 "
            r"has 2 NaN or infinite of 192 values; the module is back at the last good step",
        ):
            run.pruner.step()
        after = run.module.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in good.items())
        assert run.pruner.state_dict()["steps"] == 6

    @pytest.mark.parametrize("loss", [math.nan, torch.tensor(math.inf)])
    def test_a_loss(self, loss):
        run = Run(Net(), recipe())
        run.pruner.penalty()
        with pytest.raises(
            DivergenceError, match=r"at columns 2x: admm, step 1 of 5 .*: the loss is (nan|inf);"
        ):
            run.pruner.step(loss)

    def test_a_loss_and_the_weights_it_spoils(self):
        run = Run(Net(), recipe(), optimizer=lambda p: torch.optim.SGD(p, 0.1))
        (run.loss() * math.nan + run.pruner.penalty()).backward()
        run.optimizer.step()
        with pytest.raises(DivergenceError, match=r"the loss is nan and gru.bias_ih_l0 has 24 NaN"):
            run.pruner.step(math.nan)

    def test_a_run_that_explodes(self):
        run = Run(Net(), recipe(), optimizer=lambda p: torch.optim.SGD(p, 1e30))
        with pytest.raises(DivergenceError, match=r"(loss is|weight|bias).*lower the learning"):
            run.to_the_end()
        assert all(torch.isfinite(value).all() for value in run.module.state_dict().values())

    def test_after_the_end(self):
        run = Run(Net(), recipe()).to_the_end()
        with pytest.raises(DivergenceError, match=r"diverged at done, step 1 \(15 in all\)"):
            run.pruner.step(math.nan)


def test_a_mask_drops_what_is_not_finite_and_gives_no_gradient():
    weight = nn.Parameter(torch.tensor([[1.0, math.nan, -2.0]]))
    mask = Mask(weight)
    mask.kept.copy_(torch.tensor([[True, False, False]]))
    masked = mask(weight)
    masked.sum().backward()
    assert masked.tolist() == [[1, 0, 0]]
    assert not torch.signbit(masked).any()
    assert weight.grad.tolist() == [[1, 0, 0]]
    assert mask.right_inverse(weight) is weight
