"""The accuracy table: which cells, resumed from its file, and what is missing said so."""

import json

import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.accuracy import (
    RATES,
    Settings,
    cells,
    read_results,
    run_table,
    write_results,
)
from rtmobile_iree.speech.accuracy_table import PAPER, Cell, markdown
from rtmobile_iree.speech.points import METHODS, Effort
from rtmobile_iree.speech.recipe import TrainRecipe

SUBJECT = {
    "dense": TrainRecipe().model_dump(mode="json"),
    "prune": {"distill": 0.5},
    "effort": {"admm": 1, "retrain": 2, "column_stages": [], "row_stages": []},
}


def cell(method, rate, seed, per, kept=100):
    return Cell(method, *rate, seed, kept, 1000, per, per, "made-up", 10, 50)


@pytest.fixture
def settings(tones, recipe, tmp_path):
    quick = TrainRecipe(**(recipe.model_dump() | {"epochs": 2}))
    return Settings(tones, tmp_path / "work", quick, quick, Effort(admm=1, retrain=1))


def test_every_cell_once_and_the_most_telling_first():
    order = list(cells(3))
    assert len(order) == len(set(order)) == 3 * (1 + len(METHODS) * len(RATES))
    assert order[0] == ("dense", 1, 1, 0)
    assert [key[0] for key in order[1:10]] == ["admm"] * 9
    assert all(key[3] == 0 for key in order[: 1 + 9 * len(METHODS)])
    assert set(PAPER) == set(RATES)


def test_means_spreads_and_gaps():
    done = [
        cell("dense", (1, 1), 0, 20.0, kept=1000),
        cell("dense", (1, 1), 1, 21.0, kept=1000),
        cell("admm", (10, 1), 0, 20.5),
        cell("admm", (10, 1), 1, 21.0),
        cell("one-shot", (10, 1), 0, 23.0),
        cell("unstructured", (16, 2), 2, 23.0),  # its dense model is not there
    ]
    text = markdown(done, SUBJECT, RATES)
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert "20.50 (20.00 to 21.00)" in table[2]
    first = [field.strip() for field in table[3].strip("|").split("|")]
    assert first == [
        "10 x 1", "1/10.0", "+0.00", "+0.25 (+0.00 to +0.50)", "+3.00", "missing", "missing",
    ]  # fmt: skip
    assert table[5].count("missing") == 5
    assert "| unstructured | 16 x 2 | 2 | 100 | 23.00 | 23.00 |" in text


def test_results_of_other_recipes_are_not_mixed_in(tmp_path):
    path = tmp_path / "results.json"
    done = [cell("dense", (1, 1), 0, 20.0)]
    write_results(path, SUBJECT, done)
    assert read_results(path, SUBJECT) == done
    with pytest.raises(InputError, match="other recipes"):
        read_results(path, SUBJECT | {"prune": {"distill": 0.1}})
    path.write_text("{}")
    with pytest.raises(InputError, match="no results of this table"):
        read_results(path, SUBJECT)


@pytest.mark.slow
def test_the_table_goes_on_where_it_was(settings, tmp_path, monkeypatch):
    wanted = [("dense", 1, 1, 0), ("admm", 10.0, 1.0, 0), ("unstructured", 10.0, 1.0, 0)]
    monkeypatch.setattr("rtmobile_iree.speech.accuracy.cells", lambda seeds: iter(wanted[:seeds]))
    path = tmp_path / "results" / "accuracy.json"
    first = run_table(settings, path, seeds=2, jobs=1)
    assert [one.key for one in first] == wanted[:2]
    text = path.with_suffix(".md").read_text()
    assert "missing" in text
    again = run_table(settings, path, seeds=3, jobs=2)
    assert again[:2] == first
    assert [one.key for one in again] == wanted
    assert len(json.loads(path.read_text())["cells"]) == 3
