"""The accuracy table: which cells, resumed from its file, and what is missing said so."""

import copy
import itertools
import json
from pathlib import Path

import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.prune.projection import block_budget
from rtmobile_iree.speech import points
from rtmobile_iree.speech.accuracy import read_results, run_table, write_results
from rtmobile_iree.speech.accuracy_jobs import RATES, Job, Settings, dense_job, jobs_of
from rtmobile_iree.speech.accuracy_table import Cell, markdown
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU
from rtmobile_iree.speech.points import METHODS, TRAINED_ON, Effort, column_rates, point_recipe
from rtmobile_iree.speech.recipe import TrainRecipe

SUBJECT = {
    "dense": TrainRecipe().model_dump(mode="json"),
    "prune": {"distill": 0.5, "batch": 16, "augment": {"time_masks": 0, "band_masks": 0}},
    "effort": {"admm": 1, "rise": 1.5, "rise_steps": 3, "retrain": 2},
}


def cell(method, rate, seed, per, kept=100):
    return Cell(method, rate, seed, kept, 1000, per, per, 70, "made-up", 10, 50)


@pytest.fixture
def settings(tones, recipe, tmp_path):
    quick = TrainRecipe(**(recipe.model_dump() | {"epochs": 2}))
    return Settings(
        tones,
        tmp_path / "work",
        quick,
        quick,
        Effort(admm=4, rise=4.0, retrain=9, settings={"project_every": 2}),
    )


def test_every_cell_once_and_the_most_telling_first():
    keys = [key for job in jobs_of(3) for key in job.keys]
    assert len(keys) == len(set(keys)) == 3 * (2 + len(METHODS) * len(RATES))
    assert RATES == (10, 19, 29, 43, 80, 103, 153, 245, 301)
    assert keys[0] == ("dense", 1, 0)
    assert keys[1:10] == [("admm", rate, 0) for rate in RATES]
    assert keys[10] == ("trained-on", 1, 0)
    assert keys[11:20] == [("one-shot", rate, 0) for rate in RATES]
    assert keys[20:22] == [("dense", 1, 1), ("admm", 10, 1)]
    assert keys[30] == ("dense", 1, 2)
    assert keys[40:42] == [("trained-on", 1, 1), ("trained-on", 1, 2)]
    assert all(key[2] == 0 for key in keys[42:60])
    folders = [job.folder(Path("work")) for job in jobs_of(3)]
    assert len(set(folders)) == len(folders)


def test_means_spreads_and_gaps():
    done = [
        cell("dense", 1, 0, 20.0, kept=1000),
        cell("dense", 1, 1, 21.0, kept=1000),
        cell("admm", 10, 0, 20.5),
        cell("admm", 10, 1, 21.0),
        cell("one-shot", 10, 0, 23.0),
        cell("trained-on", 1, 1, 20.0),
        cell("unstructured", 29, 2, 23.0),  # its dense model is not there
    ]
    text = markdown(done, SUBJECT, RATES)
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert "20.50 (20.00 to 21.00)" in table[2]
    assert "-1.00, 70 steps" in table[3]
    first = [field.strip() for field in table[4].strip("|").split("|")]
    assert first == [
        "10 (10 x 1)", "1/10.0", "+0.00", "+0.25 (+0.00 to +0.50)", "missing", "+3.00",
        *["missing"] * 2,
    ]  # fmt: skip
    assert table[6].count("missing") == 6
    assert "| unstructured | 29 | 2 | 100 | 70 | 23.00 | 23.00 |" in text


def test_results_of_other_recipes_are_not_mixed_in(tmp_path):
    path = tmp_path / "results.json"
    done = [cell("dense", 1, 0, 20.0)]
    write_results(path, SUBJECT, done)
    assert read_results(path, SUBJECT) == done
    with pytest.raises(InputError, match="other recipes"):
        read_results(path, SUBJECT | {"prune": {"distill": 0.1}})
    path.write_text("{}")
    with pytest.raises(InputError, match="no results of this table"):
        read_results(path, SUBJECT)


def test_no_point_keeps_more_than_its_compression_says():
    config = ModelConfig(("sil", "aa"), 1024, 2, stack=3)
    assert sum(columns_kept(10, config)) == 12 + 3 * 102
    assert column_rates((10, 19, 29), config) == (10, 19, 29)
    for compression in RATES:
        (rate,) = column_rates((compression,), config)
        assert rate < 1.07 * compression
        assert sum(columns_kept(rate, config)) <= 1.01 * (120 + 3 * 1024) / compression
    assert column_rates((2, 300), ModelConfig(("sil", "aa"), 4))[0] == 2, "one column at least"


def columns_kept(rate, config):
    """Of a stripe of each matrix, as the projection counts them."""
    widths = (config.inputs, *[config.hidden] * (2 * config.layers - 1))
    return [block_budget(width, rate, 1).base[0] + block_budget(width, rate, 1).extra
            for width in widths]  # fmt: skip


@pytest.mark.parametrize("count", range(1, len(RATES) + 1))
def test_every_method_takes_as_many_steps_to_a_rate(count):
    """Else it is the longer training that is compared."""
    config, effort = ModelConfig(("sil", "aa")), Effort()
    module = PhoneGRU(config)
    steps = {}
    for method in (*METHODS, TRAINED_ON):
        make, _ = points._pruner(point_recipe(method, RATES[:count], config, effort))
        steps[method] = (pruner := make(copy.deepcopy(module))).steps
        assert pruner.phase.kind != "done"
    assert steps["admm"] > count * effort.retrain
    whole = steps.pop("rows-columns")
    assert len(set(steps.values())) == 1
    assert 0 <= steps["admm"] - whole < 2 * count, "what its stages cannot share"


def test_whole_rows_and_columns_take_as_many_steps_to_every_stage():
    ends = {}
    for method in ("admm", "rows-columns"):
        phases = points._phases(point_recipe(method, RATES, ModelConfig(("sil", "aa")), Effort()))
        totals = itertools.accumulate(phase.steps for phase in phases)
        last = "columns" if method == "admm" else "rows"
        ends[method] = [
            total
            for phase, total in zip(phases, totals, strict=True)
            if (phase.kind, phase.step, phase.rising) == ("retrain", last, False)
        ]
    assert len(ends["admm"]) == len(RATES)
    assert ends["rows-columns"] == pytest.approx(ends["admm"], rel=0.02)


def test_straight_to_a_rate_rises_for_a_quarter_of_the_steps():
    config, effort = ModelConfig(("sil", "aa")), Effort()
    *rises, last = points._phases(point_recipe("straight", RATES, config, effort))
    steps = sum(phase.steps for phase in rises)
    assert steps / (steps + last.steps) == pytest.approx(1 / 4, rel=0.05)
    short = point_recipe("straight", RATES, config, Effort(retrain=10))
    assert short.rise_steps == effort.rise_steps, "no shorter than stages take"


@pytest.mark.slow
def test_the_table_goes_on_where_it_was(settings, tmp_path, monkeypatch):
    chain = Job("admm", 0, (4, 8), (4, 8))
    single = Job("one-shot", 0, (4,), (4,))
    loose = Job("unstructured", 0, (4, 8), (4, 8))
    whole = Job("rows-columns", 0, (4, 8), (4, 8))
    more = Job("trained-on", 0, (4,), (1,))
    wanted = [dense_job(0), chain, single, more, loose, whole]
    monkeypatch.setattr("rtmobile_iree.speech.accuracy.jobs_of", lambda count: wanted[:count])
    path = tmp_path / "results" / "accuracy.json"
    first = run_table(settings, path, seeds=2, jobs=1)
    assert [one.key for one in first] == [*wanted[0].keys, *chain.keys]
    assert first[2].weights / first[2].kept == pytest.approx(8, rel=0.2)
    assert "missing" in path.with_suffix(".md").read_text()
    again = run_table(settings, path, seeds=6, jobs=2)
    assert again[:3] == first
    assert {one.key for one in again[3:]} == {
        *single.keys, *more.keys, *loose.keys, *whole.keys,
    }  # fmt: skip
    kept = {cell.key: cell.weights / cell.kept for cell in again}
    assert kept[more.keys[0]] == 1
    for job in (loose, whole):
        assert [kept[key] for key in job.keys] == pytest.approx((4, 8), rel=0.2)
    assert len(json.loads(path.read_text())["cells"]) == 9

    table = path.read_text()
    wanted.append(Job("straight", 0, (4, 8), (8,)))
    dense = dense_job(0).checkpoint(settings.work, ("dense", 1, 0))
    one_shot = single.checkpoint(settings.work, single.keys[0])
    dense.write_bytes(one_shot.read_bytes())
    with pytest.raises(InputError, match=rf"of {first[0].test_per:.2f} % PER.*has "):
        run_table(settings, path, seeds=7, jobs=1)
    dense.unlink()
    with pytest.raises(InputError, match="dense-1x-0/1x.safetensors is not there"):
        run_table(settings, path, seeds=7, jobs=1)
    assert path.read_text() == table
    assert len(run_table(settings, path, seeds=6, jobs=1)) == 9, "nothing is missing"
