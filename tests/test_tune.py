"""The search over block sizes: every size tried once, the Pareto set, workers, and what fails."""

import json
import multiprocessing
import sys
from dataclasses import replace

import pytest
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.cli import main
from rtmobile_iree.errors import InputError, PruneError
from rtmobile_iree.models import speech_gru
from rtmobile_iree.tune import (
    Blocks,
    BlockSpace,
    ParetoSet,
    Placed,
    Timing,
    block_space,
    search_blocks,
)
from rtmobile_iree.tune.pareto import mark_best

SPACE = BlockSpace((1, 4), (1,))
FOUR = BlockSpace((1, 4), (1, 2))
QUICK = Timing(steps=2, sample_s=0.002, rounds=1)


def make():
    return speech_gru(inputs=8, hidden=16, layers=1)


def lost_energy(module, blocks):
    """The share of the weights' energy that pruning took: what an error does, without training."""
    before = sum(float(p.detach().square().sum()) for p in module.parameters())
    rt.prune(module, column_rate=4, row_rate=1, row_stripes=blocks.row_stripes,
             col_blocks=blocks.col_blocks)  # fmt: skip
    after = sum(float(p.detach().square().sum()) for p in module.parameters())
    return 1 - after / before


def search(folder, objective=lost_energy, **options):
    options = {"name": "test", "timing": QUICK, "seed": 0} | options
    return search_blocks(make, objective, options.pop("space", SPACE), folder, **options)


def test_the_space_is_the_models():
    space = block_space(speech_gru(inputs=40, hidden=64, layers=2))
    # 192 rows: stripes of 128 and more rows do not divide it, and count as whole ones
    assert space.row_stripes == (1, 3, 6, 12, 24, 48)
    assert space.col_blocks == (1, 2, 4, 8, 16, 32)
    assert space.size == 36
    assert block_space(nn.GRU(1, 1).eval()) == BlockSpace((1,), (1,))
    with pytest.raises(PruneError, match="nothing to prune"):
        block_space(nn.ReLU())


@pytest.mark.parametrize("axis", [(), (0, 1), (2, 2)])
def test_an_axis_that_is_none(axis):
    with pytest.raises(InputError, match="each once"):
        BlockSpace((1,), axis)


def test_every_size_is_tried_once(tmp_path):
    seen = []

    def objective(module, blocks):
        seen.append(str(blocks))
        return lost_energy(module, blocks)

    result = search(tmp_path, objective)
    assert sorted(seen) == sorted(trial.blocks for trial in result.trials)
    assert len(seen) == SPACE.size
    for trial in result.trials:
        vmfb = (tmp_path / f"{trial.blocks}.vmfb").read_bytes()
        assert trial.vmfb_bytes == len(vmfb)
        assert trial.time_us > 0
    # smaller blocks lose less
    errors = {trial.blocks: trial.error for trial in result.trials}
    assert errors["4x1"] < errors["1x1"]
    assert result.best == tuple(trial for trial in result.trials if trial.is_best)
    saved = json.loads((tmp_path / "pareto.json").read_text())
    assert [trial["blocks"] for trial in saved["trials"]] == [t.blocks for t in result.trials]
    again = search(tmp_path, objective)
    assert len(seen) == SPACE.size
    assert {t.blocks: t.error for t in again.trials} == errors


def test_fewer_trials_than_sizes(tmp_path):
    assert len(search(tmp_path, trials=2, space=FOUR).trials) == 2
    assert len(search(tmp_path, trials=3, space=FOUR).trials) == 3
    with pytest.raises(InputError, match="trials 0"):
        search(tmp_path, trials=0)


def test_a_size_that_fails_is_left_out(tmp_path):
    told = []

    def objective(module, blocks):
        if blocks == Blocks(4, 1):
            raise PruneError("does not fit")
        return lost_energy(module, blocks)

    result = search(tmp_path, objective, progress=told.append)
    assert {trial.blocks for trial in result.trials} == {"1x1"}
    assert "4x1: failed: does not fit" in told


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_where_all_fail(tmp_path, error):
    with pytest.raises(InputError, match="must be finite"):
        search(tmp_path, lambda module, blocks: error, space=BlockSpace((1,), (1,)))


def test_a_bug_in_the_objective_is_told(tmp_path):
    def objective(module, blocks):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(tmp_path, objective)


def test_a_search_of_something_else(tmp_path):
    search(tmp_path, trials=1)
    with pytest.raises(InputError, match="steps 2, not 3"):
        search(tmp_path, timing=replace(QUICK, steps=3))
    with pytest.raises(InputError, match="'test', not 'other'"):
        search(tmp_path, name="other")


def _work(folder, storage):
    search(folder, storage=storage, space=FOUR, seed=None)


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/trials.db"])
def test_two_workers_share_one_search(tmp_path, storage):
    storage = storage and storage.format(tmp_path)
    search(tmp_path, trials=1, storage=storage, space=FOUR)
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(tmp_path, storage))
    worker.start()
    assert len(search(tmp_path, storage=storage, space=FOUR).trials) == FOUR.size
    worker.join(120)
    assert worker.exitcode == 0


def test_what_is_best():
    def placed(blocks, error, time_us):
        return Placed(blocks, error, time_us, 1, 1)

    trials = [placed("a", 1, 9), placed("b", 2, 5), placed("c", 2, 6), placed("d", 3, 5),
              placed("e", 4, 1), placed("f", 4, 1)]  # fmt: skip
    marked = mark_best(trials)
    assert [trial.blocks for trial in marked if trial.is_best] == ["a", "b", "e", "f"]
    table = ParetoSet("m", {"steps": 1, "device": "local"}, tuple(marked)).table()
    assert table.row_count == 4


OBJECTIVE = """
import rtmobile_iree as rt
from rtmobile_iree.models import speech_gru

def make():
    return speech_gru(inputs=8, hidden=16, layers=1)

def objective(module, row_stripes, col_blocks):
    rt.prune(module, column_rate=4, row_rate=1, row_stripes=row_stripes, col_blocks=col_blocks)
    return 1 / row_stripes

def nothing(module, row_stripes, col_blocks):
    pass

number = 3
"""


@pytest.fixture
def problem(tmp_path, monkeypatch):
    (tmp_path / "tuned.py").write_text(OBJECTIVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("tuned", None)


def command(*arguments):
    main(["tune", "tuned:make", "--steps", "2", "--rounds", "1", "-o", "out", *arguments])


def test_the_command(problem, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        command("tuned:objective", "--row-stripes", "1,4", "--col-blocks", "1")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "2 block sizes tried" in out
    assert "4x1" in out
    assert (tmp_path / "out/pareto.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tuned:nothing", "--trials", "1"], "returns a NoneType"),
        (["tuned:number"], "is a int"),
        (["tuned:missing"], "has no 'missing'"),
        (["tuned"], "use package.module:name"),
        (["tuned:objective", "--row-stripes", "a"], "--row-stripes 'a'"),
        (["tuned:objective", "--row-stripes", "1000", "--col-blocks", "1"], "1000"),
    ],
)
def test_mistakes_at_the_shell(problem, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
