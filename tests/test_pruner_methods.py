"""ADMM and reweighted regularisation against their formulas, and against pruning in one shot."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.prune.budget import Option, options, share
from rtmobile_iree.prune.masks import MaskedWeight
from rtmobile_iree.prune.methods import ADMMTraining, ReweightedTraining
from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.prune.projection import project_columns, project_rows
from rtmobile_iree.prune.recipe import ADMM, Budget, Recipe, Reweighted
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.prune.weights import find_weights

STRUCTURE = Structure(column_rate=2, row_rate=3, row_stripes=2, col_blocks=3)
PROJECT = {
    "columns": lambda w: np.where(project_columns(w, 2, 2, 3), w, 0),
    "rows": lambda w: np.where(project_rows(w, 3), w, 0),
}
quick = settings(max_examples=60, deadline=None)
STEPS = pytest.mark.parametrize("step", PROJECT)


def masked(shape: tuple[int, int] = (7, 6)) -> MaskedWeight:
    torch.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0])
    (weight,) = find_weights(layer)
    return MaskedWeight(weight, layer.weight, STRUCTURE)


def set_values(weight: MaskedWeight, seed: int) -> np.ndarray:
    """Moves the weight, as an optimizer would."""
    values = np.random.default_rng(seed).normal(size=weight.parameter.shape).astype(np.float32)
    with torch.no_grad():
        weight.parameter.copy_(torch.from_numpy(values))
    return values.astype(np.float64)


class TestADMM:
    asked = ADMM(kind="admm", steps=100, project_every=3, rho=0.5, rho_growth=1.5, rho_max=1.0)

    @STEPS
    def test_the_formulas(self, step):
        """Penalty, gradient, Z, U and rho over four updates, in NumPy."""
        weight = masked()
        w = set_values(weight, 0)
        admm = ADMMTraining(self.asked, Phase("admm", step, np.inf, 100), [weight])
        z, u, rho = PROJECT[step](w), np.zeros_like(w), 0.5
        for number in range(1, 13):
            w = set_values(weight, number)
            penalty = admm.penalty()
            (gradient,) = torch.autograd.grad(penalty, weight.parameter)
            assert penalty.item() == pytest.approx(rho / 2 * np.square(w - z + u).sum(), rel=1e-5)
            np.testing.assert_allclose(gradient.numpy(), rho * (w - z + u), rtol=1e-4, atol=1e-5)
            admm.update(number)
            if number % 3 == 0:
                z = PROJECT[step](w + u)
                grown = min(1.5 * rho, 1.0)
                u, rho = (u + w - z) * rho / grown, grown
            assert admm.residuals()["weight"] == pytest.approx(
                np.linalg.norm(w - z) / np.linalg.norm(w), rel=1e-5
            )
        assert rho == admm.rho == 1.0
        np.testing.assert_allclose(admm.target(weight).numpy(), w + u, rtol=1e-4, atol=1e-5)

    @STEPS
    def test_a_matrix_that_has_the_structure_is_left_alone(self, step):
        weight, other = masked(), masked()
        other.names = ("other",)
        with torch.no_grad():
            w = PROJECT[step](set_values(weight, 0))
            weight.parameter.copy_(torch.from_numpy(w))
        admm = ADMMTraining(self.asked, Phase("admm", step, np.inf, 9), [weight, other])
        assert list(admm.residuals()) == ["other"]
        (gradient,) = torch.autograd.grad(admm.penalty(), weight.parameter, allow_unused=True)
        assert gradient is None
        assert torch.equal(admm.target(weight), weight.parameter.detach())

    @quick
    @given(
        hnp.arrays(np.float32, (4, 6), elements=st.floats(-4, 4, width=32)),
        hnp.arrays(np.float32, (4, 6), elements=st.floats(-4, 4, width=32)),
    )
    def test_z_is_the_nearest_point_within_the_mask(self, first, second):
        """Of the second stage too, whose set lies within the first one's mask; by brute force."""
        weight = masked((4, 6))
        weight.structure = Structure(2, 2, 1, 1)
        weight.keep(torch.from_numpy(project_columns(first, 2, 1, 1)))
        values = np.where(weight.mask.kept.numpy(), second, 0)
        with torch.no_grad():
            weight.parameter.copy_(torch.from_numpy(values))
        mask = weight.project("rows", np.inf, weight.value).numpy()
        assert not (mask & ~weight.mask.kept.numpy()).any()
        best = min(
            np.square(np.delete(values, rows, axis=0), dtype=np.float64).sum()
            for rows in itertools.combinations(range(4), 2)
        )
        lost = np.square(values[~mask], dtype=np.float64).sum()
        assert lost == pytest.approx(best, abs=1e-9)


class TestReweighted:
    asked = Reweighted(kind="reweighted", steps=100, update_every=2, strength=0.3, epsilon=0.1)

    @staticmethod
    def groups(step: str, w: np.ndarray) -> list[np.ndarray]:
        if step == "rows":
            return list(w)
        return [column for stripe in np.array_split(w, 2) for column in stripe.T]

    @STEPS
    def test_the_formulas(self, step):
        weight = masked()
        old = set_values(weight, 0)
        training = ReweightedTraining(self.asked, Phase("reweighted", step, np.inf, 100), [weight])
        for number in range(1, 6):
            w = set_values(weight, number)
            energies = [np.square(group).sum() for group in self.groups(step, old)]
            expected = 0.3 * sum(
                np.square(group).sum() / (energy + 0.1 * np.mean(energies))
                for group, energy in zip(self.groups(step, w), energies, strict=True)
            )
            assert training.penalty().item() == pytest.approx(expected, rel=1e-4)
            training.update(number)
            old = w if number % 2 == 0 else old
        assert torch.equal(training.target(weight), weight.parameter.detach())

    @STEPS
    def test_pruned_groups_weigh_nothing(self, step):
        weight = masked()
        set_values(weight, 0)
        kept = torch.ones_like(weight.mask.kept)
        kept[:, :2] = False
        weight.keep(kept)
        w = weight.value.detach().numpy()
        training = ReweightedTraining(self.asked, Phase("reweighted", step, np.inf, 9), [weight])
        (gradient,) = torch.autograd.grad(training.penalty(), weight.parameter)
        assert torch.isfinite(gradient).all()
        assert (gradient.numpy()[w == 0] == 0).all()
        energies = [e for group in self.groups(step, w) if (e := np.square(group).sum())]
        expected = 0.3 * sum(e / (e + 0.1 * np.mean(energies)) for e in energies)
        assert training.penalty().item() == pytest.approx(expected, rel=1e-4)


def two_copies_of_every_input(seed: int) -> tuple[nn.GRU, torch.Tensor, torch.Tensor]:
    """A trained GRU [16 inputs], an input x [T, B, 16] of 8 features twice, and its outputs.

    Half its input columns are needed: one copy of each feature. By magnitude, both copies of the
    strong features stay and the weak ones are lost; training towards the structure moves a
    feature's weight to one copy.
    """
    torch.manual_seed(seed)
    teacher = nn.GRU(8, 12)
    with torch.no_grad():
        teacher.weight_ih_l0.mul_(torch.linspace(3, 1, 8))
    w = teacher.weight_ih_l0.detach()
    student = nn.GRU(16, 12)
    student.load_state_dict(
        {**teacher.state_dict(), "weight_ih_l0": torch.cat([0.6 * w, 0.4 * w], 1)}
    )
    x = torch.randn(10, 64, 8)
    return student, x.repeat(1, 1, 2), teacher(x)[0].detach()


def final_loss(seed: int, method: dict[str, object], retrain_steps: int) -> float:
    gru, x, y = two_copies_of_every_input(seed)
    layers = {"weight_ih_l0": {"column_rate": 2, "row_stripes": 1, "col_blocks": 1}}
    recipe = Recipe(method=method, retrain_steps=retrain_steps, layers=layers)
    pruner = rt.BSPPruner(gru, recipe)
    optimizer = torch.optim.Adam(gru.parameters(), 5e-3)
    while not pruner.done:
        loss = (gru(x)[0] - y).square().mean()
        (loss + pruner.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step(loss)
    assert pruner.finalize().rate == 2
    return (gru(x)[0] - y).square().mean().item()


@pytest.mark.parametrize("seed", range(2))
def test_training_towards_the_structure_beats_one_shot(seed):
    """At the same rate, after as many optimizer steps. Measured: 1e-5 against 0.02 to 0.03."""
    one_shot = final_loss(seed, {"kind": "magnitude"}, 300)
    admm = {
        "kind": "admm", "steps": 200, "project_every": 10, "rho": 1e-3, "rho_growth": 1.2,
    }  # fmt: skip
    assert final_loss(seed, admm, 100) < one_shot / 10
    reweighted = {"kind": "reweighted", "steps": 200, "update_every": 10, "strength": 1e-4}
    assert final_loss(seed, reweighted, 100) < one_shot / 10


def test_magnitude_is_one_shot():
    gru, *_ = two_copies_of_every_input(0)
    other, *_ = two_copies_of_every_input(0)
    arguments = {"column_rate": 2, "row_rate": 2, "row_stripes": 3, "col_blocks": 2}
    recipe = Recipe(method={"kind": "magnitude"}, retrain_steps=0, layers={"*": arguments})
    report = rt.BSPPruner(gru, recipe).finalize()
    assert report.matrices == rt.prune(other, **arguments).matrices
    assert all(torch.equal(a, b) for a, b in zip(gru.parameters(), other.parameters(), strict=True))


class TestBudget:
    budget = Budget(rate=4, layers=("*",), column_rates=(1, 2, 4, 8), row_rates=(1, 2))

    @staticmethod
    def total(picked: list[Option]) -> tuple[int, float]:
        return sum(option.kept for option in picked), sum(option.loss for option in picked)

    @quick
    @given(st.integers(0, 10_000), st.floats(1, 5))
    def test_against_every_combination(self, seed, rate):
        """As good as any choice that keeps a hull's step less; nothing left to give back."""
        rng = np.random.default_rng(seed)
        matrices = [rng.normal(size=(8, 8)) * rng.lognormal(sigma=2, size=(1, 8)) for _ in range(4)]
        found = [options(w, self.budget, 2, 1, "w") for w in matrices]
        limit = 4 * 64 / rate
        structures = share(found, 4 * 64, rate)
        assert structures == share(found, 4 * 64, rate)
        picked = [
            next(option for option in each if option.structure == structure)
            for each, structure in zip(found, structures, strict=True)
        ]
        kept, loss = self.total(picked)
        assert kept <= limit
        every = [self.total(choice) for choice in itertools.product(*found)]
        assert loss <= min(lost for weights, lost in every if weights <= max(limit - 64, 16)) + 1e-9
        for now, each in zip(picked, found, strict=True):
            assert not [o for o in each if o.loss < now.loss and kept - now.kept + o.kept <= limit]

    def test_the_losses_are_those_of_the_projections(self):
        w = np.random.default_rng(0).normal(size=(8, 8))
        for option in options(w, self.budget, 2, 2, "w"):
            s = option.structure
            pruned = np.where(project_columns(w, s.column_rate, 2, 2), w, 0)
            pruned = np.where(project_rows(pruned, s.row_rate), pruned, 0)
            assert option.kept == np.count_nonzero(pruned)
            assert option.loss == pytest.approx(1 - np.square(pruned).sum() / np.square(w).sum())

    def test_the_insensitive_matrix_is_pruned(self):
        net = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
        with torch.no_grad():
            net[0].weight[:, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]] *= 1e-3
        recipe = Recipe(
            method={"kind": "magnitude"},
            retrain_steps=0,
            row_stripes=4,
            col_blocks=4,
            budget={"rate": 1.6, "layers": ["*"], "column_rates": [1, 2, 4], "row_rates": [1]},
        )
        pruner = rt.BSPPruner(net, recipe)
        assert [s.column_rate for s in pruner.structures().values()] == [4, 1]
        assert pruner.finalize().rate == 1.6

    def test_a_matrix_of_zeros_costs_nothing(self):
        found = options(np.zeros((4, 4)), self.budget, 1, 1, "w")
        assert {option.loss for option in found} == {0.0}
        assert share([found], 16, 2)[0].column_rate > 1
