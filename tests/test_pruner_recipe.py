"""The recipe: there and back, and every refusal with key, value and what would work."""

import math

import pytest

import rtmobile_iree as rt
from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.recipe import ADMM, Recipe

ADMM_KEYS = "kind, steps, project_every, rho, rho_growth, rho_max"
BASE = {
    "method": {"kind": "admm", "steps": 20, "project_every": 5},
    "retrain_steps": 10,
    "layers": {"gru": {"column_rate": 16, "row_rate": 2}},
}
FILE = """
method: {kind: admm, steps: 20, project_every: 5, rho: 1e-4}   # YAML 1.1 reads 1e-4 as a string
retrain_steps: 0
column_stages: [4, 8.5]
layers:
  gru: {column_rate: 16}
  "*.weight_hh_*": {row_stripes: 3}
"""


class TestFiles:
    def test_load(self, tmp_path):
        (tmp_path / "r.yaml").write_text(FILE)
        recipe = rt.Recipe.load(tmp_path / "r.yaml")
        assert isinstance(recipe.method, ADMM)
        assert (recipe.method.rho, recipe.column_stages) == (1e-4, (4.0, 8.5))
        assert recipe.layers is not None
        assert list(recipe.layers) == ["gru", "*.weight_hh_*"]
        assert recipe.layers["*.weight_hh_*"].row_stripes == 3

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"column_stages": [2, 3.5], "row_stages": [1.1], "row_stripes": 1},
            {"column_stages": [2], "alternate": True},
            {"layers": None, "budget": {"rate": 9.5, "layers": ["gru", "*"], "row_rates": [1]}},
            {"method": {"kind": "magnitude"}},
            {"method": {"kind": "reweighted", "steps": 2, "update_every": 1, "strength": 1e-7}},
        ],
    )
    def test_there_and_back(self, changes, tmp_path):
        recipe = Recipe(**{**BASE, **changes})
        recipe.save(tmp_path / "r.yaml")
        assert Recipe.load(tmp_path / "r.yaml") == recipe
        assert Recipe(**recipe.to_dict()) == recipe

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"holds a NoneType; use a mapping with the keys method, retrain_steps"),
            ("- method", r"holds a list; use a mapping"),
            ("1: 2", r"holds a dict; use a mapping"),
            ("method: [1", r"no YAML: line 1: expected ',' or '\]'"),
            ("row_stripes: 1\nrow_stripes: 2", r"no YAML: line 2: found duplicate key"),
            ("retrain_steps: many", r"method: missing; give it a value; retrain_steps 'many': sho"),
            (b"\xff\xfe\xff", r"cannot be read"),
        ],
    )
    def test_files_that_are_none(self, text, message, tmp_path):
        path = tmp_path / "r.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(PruneError, match=message) as caught:
            Recipe.load(path)
        assert str(caught.value).startswith(f"recipe {path}: ")
        assert "\n" not in str(caught.value)

    def test_no_file(self, tmp_path):
        with pytest.raises(PruneError, match=r"none.yaml: cannot be read: .*No such file"):
            Recipe.load(tmp_path / "none.yaml")


def admm(**changes: object) -> dict[str, object]:
    return {"method": {**BASE["method"], **changes}}


def budget(**changes: object) -> dict[str, object]:
    return {"layers": None, "budget": {"rate": 4, "layers": ["gru"], **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metod": 3}, r"metod 3: unknown key; use one of method, retrain_steps, row_stripes"),
        (admm(rh=3), rf"method.rh 3: unknown key; use one of {ADMM_KEYS}$"),
        ({"layers": {"gru": {"rate": 4}}}, r"layers.gru.rate 4: unknown key; use one of column_r"),
        (budget(rates=4), r"budget.rates 4: unknown key; use one of rate, layers, column_rates"),
        ({"method": {"kind": "magnitude", "steps": 3}}, r"method.steps 3: unknown .* of kind$"),
        ({"method": {"kind": "x"}}, r"method {'kind': 'x'}: needs a kind; use one of admm, rewei"),
        ({"method": {"steps": 3}}, r"needs a kind; use one of admm, reweighted, magnitude"),
        ({"method": "admm"}, r"method 'admm': should be a mapping"),
        ({"method": {"kind": "admm", "steps": 4}}, r"method.project_every: missing; give it a"),
        (admm(steps="20"), r"method.steps '20': should be a valid integer"),
        (admm(steps=True), r"method.steps True: should be a valid integer"),
        (admm(steps=20.0), r"method.steps 20.0: should be a valid integer"),
        (admm(steps=4), r"method: project_every 5 is more than steps 4; use 1 to 4"),
        (admm(project_every=0), r"project_every 0: should be greater than or equal to 1"),
        (admm(rho=0), r"method.rho 0: should be greater than 0"),
        (admm(rho=math.inf), r"method.rho inf: should be a finite number"),
        (admm(rho="1e-3"), r"method.rho '1e-3': should be a valid number"),
        (admm(rho=2), r"method: rho_max 1.0 is less than rho 2.0; use 2.0 or more"),
        (admm(rho_growth=0.5), r"rho_growth 0.5: should be greater than or equal to 1"),
        (
            {"method": {"kind": "reweighted", "steps": 4, "update_every": 5, "strength": 1}},
            r"method: update_every 5 is more than steps 4; use 1 to 4",
        ),
        ({"retrain_steps": -1}, r"retrain_steps -1: should be greater than or equal to 0"),
        ({"row_stripes": 0}, r"row_stripes 0: should be greater than or equal to 1"),
        ({"column_stages": 4}, r"column_stages 4: should be a list"),
        ({"column_stages": [8, 8]}, r"column_stages \[8.0, 8.0\] do not rise; use rates such"),
        ({"row_stages": [0.5]}, r"row_stages.0 0.5: should be greater than or equal to 1"),
        ({"layers": {}}, r"layers {}: should have at least 1 item"),
        ({"layers": {3: {}}}, r"layers.3 3: should be a valid string"),
        ({"layers": {"gru": None}}, r"layers.gru None: should be a mapping"),
        ({"layers": {"gru": {"column_rate": 0.9}}}, r"layers.gru.column_rate 0.9: should be gr"),
        ({"layers": {"gru": {"row_rate": math.nan}}}, r"layers.gru.row_rate nan: should be"),
        ({"layers": None}, r"neither of layers and budget given; use one of them"),
        ({"budget": {"rate": 4, "layers": ["gru"]}}, r"both of layers and budget given"),
        (budget(layers=[]), r"budget.layers \[\]: should have at least 1 item"),
        (budget(layers="gru"), r"budget.layers 'gru': should be a list"),
        (budget(column_rates=[1, "2"]), r"budget.column_rates.1 '2': should be a valid number"),
        (budget(row_rates=[]), r"budget.row_rates \[\]: should have at least 1 item"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(PruneError, match=message) as caught:
        Recipe(**{**BASE, **changes})
    assert str(caught.value).startswith("recipe: ")
    assert "\n" not in str(caught.value)


def test_a_recipe_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Recipe(**BASE).retrain_steps = 3
