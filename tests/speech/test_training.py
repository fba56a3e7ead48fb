"""Training, dense and pruned: it learns, goes on bit by bit, and stops where it diverges."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import rtmobile_iree as rt
from rtmobile_iree.errors import DivergenceError, InputError, PruneError
from rtmobile_iree.speech import training
from rtmobile_iree.speech.batches import Example, epoch_numbers
from rtmobile_iree.speech.checkpoint import load_checkpoint, save_checkpoint
from rtmobile_iree.speech.dataset import Dataset, Item
from rtmobile_iree.speech.points import METHODS, Effort, point_recipe, run_point
from rtmobile_iree.speech.recipe import TrainRecipe
from rtmobile_iree.speech.runs import evaluate, prune_by_recipe, train_dense, train_pruned

RECIPE = rt.Recipe(
    method={"kind": "admm", "steps": 6, "project_every": 2},
    retrain_steps=5,
    row_stripes=6,
    col_blocks=4,
    layers={"gru": {"column_rate": 3, "row_rate": 2}},
)


def lines(folder):
    return [json.loads(line) for line in (folder / training.LOG).read_text().splitlines()]


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and x.equal(y) for (a, x), (b, y) in pairs)


def pruned(trained, dataset, recipe, folder, prune_recipe=RECIPE, **changes):
    make = prune_by_recipe(prune_recipe)
    recipe = recipe.model_copy(update=changes)
    return train_pruned(trained, dataset, make, prune_recipe.to_dict(), recipe, 0, folder)


def killed_after(monkeypatch, saves):
    """Training dies right after so many saves; each step saves."""
    monkeypatch.setattr(training, "SAVE_EVERY_S", -1.0)
    real = training.Run.save

    def save(run):
        real(run)
        killed_after.count += 1
        if killed_after.count == saves:
            raise KeyboardInterrupt

    killed_after.count = 0
    monkeypatch.setattr(training.Run, "save", save)


def test_it_learns_the_tones(trained, dataset):
    for split in ("train", "test"):
        per = evaluate(trained.module, dataset, dataset.split(split), trained.decoding)
        assert per.percent < 20  # by chance: over 60
    assert trained.notes["per"]["test"]["errors"] == per.errors


def test_the_same_seed_gives_the_same_model(trained, dataset, recipe, tmp_path):
    assert same(train_dense(dataset, recipe, 0, tmp_path / "again").module, trained.module)
    assert not same(train_dense(dataset, recipe, 1, tmp_path / "other").module, trained.module)


@pytest.mark.parametrize("saves", [3, 9])  # in the middle of an epoch of 4 steps, and at another's
def test_a_killed_dense_run_goes_on_bit_by_bit(
    saves, trained, dataset, recipe, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        killed_after(patched, saves)
        with pytest.raises(KeyboardInterrupt):
            train_dense(dataset, recipe, 0, tmp_path)
    assert same(train_dense(dataset, recipe, 0, tmp_path).module, trained.module)


@pytest.mark.parametrize("saves", [2, 7, 15])
def test_a_killed_pruning_run_goes_on_bit_by_bit(
    saves, trained, dataset, recipe, tmp_path, monkeypatch
):
    whole = pruned(trained, dataset, recipe, tmp_path / "whole")
    with monkeypatch.context() as patched:
        killed_after(patched, saves)
        with pytest.raises(KeyboardInterrupt):
            pruned(trained, dataset, recipe, tmp_path / "killed")
    assert same(pruned(trained, dataset, recipe, tmp_path / "killed").module, whole.module)


def test_a_finished_run_is_only_read(trained, dataset, recipe, tmp_path):
    first = pruned(trained, dataset, recipe, tmp_path)
    log = lines(tmp_path)
    assert same(pruned(trained, dataset, recipe, tmp_path).module, first.module)
    assert lines(tmp_path) == log


def test_pruning_leaves_the_dense_model_alone_and_meets_its_rates(
    trained, dataset, recipe, tmp_path
):
    before = {name: value.clone() for name, value in trained.module.state_dict().items()}
    found = pruned(trained, dataset, recipe, tmp_path, distill=0.5)
    assert all(value.equal(before[name]) for name, value in trained.module.state_dict().items())
    assert found.notes["weights"] / found.notes["kept"] == pytest.approx(6, rel=0.1)
    assert found.module.gru.weight_hh_l0.ne(0).any(dim=1).sum() == 36  # of 72 rows


def test_a_folder_of_another_run_is_refused(dataset, recipe, tmp_path, trained):
    short = recipe.model_copy(update={"epochs": 1})
    train_dense(dataset, short, 0, tmp_path)
    with pytest.raises(InputError, match="another run"):
        train_dense(dataset, short, 1, tmp_path)


def test_a_recipe_that_does_not_fit_is_refused_before_the_first_step(
    trained, dataset, recipe, tmp_path
):
    wrong = RECIPE.model_copy(update={"col_blocks": 4000})
    with pytest.raises(PruneError, match="col_blocks 4000"):
        pruned(trained, dataset, recipe, tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


def with_bad_frames(dataset):
    """The first training item holds an infinite frame, once the mean is taken."""
    items = list(dataset.items)
    frames = items[0].frames.copy()
    frames[5] = np.inf
    return Dataset(dataset.corpus, (Item(frames, items[0].utterance), *items[1:]))


def test_a_diverging_run_says_where_and_keeps_its_state(
    trained, dataset, recipe, tmp_path, monkeypatch
):
    bad = with_bad_frames(dataset)
    kept = tmp_path / "pruned" / "last-good.safetensors"
    with pytest.raises(DivergenceError, match=r"columns 3x: admm, step \d"):
        pruned(trained, bad, recipe, tmp_path / "pruned")
    assert evaluate(load_checkpoint(kept).module, dataset, dataset.items, trained.decoding)
    monkeypatch.setattr("rtmobile_iree.speech.acoustic.PhoneGRU.set_normalisation", lambda *_: None)
    with pytest.raises(DivergenceError, match=r"epoch 1, step \d of 96: the loss is nan"):
        train_dense(bad, recipe, 0, tmp_path / "dense")


def test_early_stop_keeps_the_best(dataset, recipe, tmp_path):
    # a rate of almost nothing: no epoch is better than the first
    idle = recipe.model_copy(update={"learning_rate": 1e-12, "patience": 2})
    train_dense(dataset, idle, 0, tmp_path)
    assert len(lines(tmp_path)) == 3


def test_ctc_learns_too(dataset, recipe, tmp_path):
    model = {"hidden": 24, "delay": 0, "dropout": 0.0, "loss": "ctc"}
    values = recipe.model_dump() | {"model": model, "epochs": 40, "patience": 40}
    found = train_dense(dataset, TrainRecipe(**values), 0, tmp_path)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert losses[-1] < losses[0] / 2
    assert found.config.classes == len(dataset.corpus.phones) + 1
    save_checkpoint(tmp_path / "ctc.safetensors", found)
    assert load_checkpoint(tmp_path / "ctc.safetensors").config == found.config


def test_an_epoch_takes_all_own_examples_and_the_others_in_turn():
    frames, labels = torch.zeros(3, 80), torch.zeros(3, dtype=torch.long)
    examples = [Example(frames, labels, own=n % 3 == 0) for n in range(20)]
    own = {n for n in range(20) if n % 3 == 0}
    epochs = [set(epoch_numbers(examples, 3, seed=1, epoch=epoch)) for epoch in range(6)]
    others = [epoch - own for epoch in epochs]
    assert all(own <= epoch for epoch in epochs)
    assert [len(part) for part in others] == [13 // 3] * 6
    assert len(others[0] | others[1] | others[2]) == 12
    assert others[3:] == others[:3]
    assert epoch_numbers(examples, 1, seed=1, epoch=5) == list(range(20))
    assert set(epoch_numbers(examples, 3, seed=2, epoch=0)) != epochs[0]
    assert set(epoch_numbers(examples, 99, seed=1, epoch=0)) == own


QUICK = Effort(admm=4, rise=4.0, retrain=6, settings={"project_every": 2})


@pytest.mark.parametrize("method", METHODS)
def test_a_point_by_each_method(method, trained, dataset, recipe, tmp_path):
    wanted = point_recipe(method, (2, 8), trained.config, QUICK)
    point = run_point(trained, dataset, wanted, training=recipe, folder=tmp_path)
    assert point.weights / point.kept == pytest.approx(8, rel=0.15)
    assert point.checkpoint.notes["steps"] == 20, "all methods take as many steps"
    test = dataset.split("test")
    per = evaluate(point.checkpoint.module, dataset, test, point.checkpoint.decoding)
    assert point.test_per == per.percent


def test_the_stages_of_a_run_are_points_of_their_own(trained, dataset, recipe, tmp_path):
    seen = {}
    rising = replace(QUICK, rise=1.5, rise_steps=1)
    point = run_point(
        trained,
        dataset,
        point_recipe("admm", (2, 4, 6), trained.config, rising),
        training=recipe,
        folder=tmp_path,
        at_stage=lambda phase, checkpoint: seen.update({phase.cap: checkpoint}),
    )
    assert list(seen) == [2, 4, 6], "not where the rate only rises"
    assert point.checkpoint.notes["steps"] == 5 * 4 + 2 * 1 + 3 * 6
    for rate, checkpoint in seen.items():
        notes = checkpoint.notes
        assert notes["weights"] / notes["kept"] == pytest.approx(rate, rel=0.15)
    assert same(seen[6].module, point.checkpoint.module)
    assert not same(seen[4].module, point.checkpoint.module)


def test_a_point_of_files(trained, tones, tmp_path):
    save_checkpoint(tmp_path / "dense.safetensors", trained)
    recipe = rt.Recipe(
        method={"kind": "magnitude"}, retrain_steps=0, row_stripes=6, col_blocks=4,
        layers={"gru": {"column_rate": 2}},
    )  # fmt: skip
    point = run_point(tmp_path / "dense.safetensors", tones, recipe)
    assert point.weights / point.kept == pytest.approx(2, rel=0.1)


def test_bad_recipes(tmp_path):
    for text, message in (
        ("epoch: 3", "epoch 3: unknown key; use one of model, epochs"),
        ("model: {units: 3}", "model.units 3: unknown key; use one of hidden"),
        ("epochs: none", "epochs"),
        ("- 1", "holds a list"),
        ("a: [", "no YAML"),
    ):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        with pytest.raises(
            InputError, match=rf"recipe .*recipe.yaml: {message}".replace("[", r"\[")
        ):
            TrainRecipe.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        TrainRecipe.load(tmp_path / "none.yaml")


def test_recipes_of_the_package_load():
    from rtmobile_iree.speech.accuracy import RECIPES

    found = {path.stem: TrainRecipe.load(path) for path in RECIPES.glob("*.yaml")}
    assert set(found) == {"dense", "dense-512", "prune"}
    smaller = found["dense"].model.model_copy(update={"hidden": 512})
    assert found["dense-512"] == found["dense"].model_copy(update={"model": smaller})


def test_checkpoints_come_back(trained, dataset, recipe, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained)
    back = load_checkpoint(path)
    assert same(back.module, trained.module)
    assert (back.config, back.folding, back.notes) == (
        trained.config, trained.folding, trained.notes,
    )  # fmt: skip
    np.testing.assert_array_equal(back.decoding.log_transition, trained.decoding.log_transition)
    small = pruned(trained, dataset, recipe, tmp_path / "run")
    save_checkpoint(tmp_path / "small.safetensors", small, half=True)
    restored = load_checkpoint(tmp_path / "small.safetensors").module
    for (name, mine), theirs in zip(
        small.module.state_dict().items(), restored.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
        assert not name.startswith("gru.weight") or mine.ne(0).equal(theirs.ne(0))
    dense, packed = path.stat().st_size, (tmp_path / "small.safetensors").stat().st_size
    assert packed < dense / 4


def test_damaged_checkpoints(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, trained)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match="no safetensors file"):
        load_checkpoint(path)
    path.write_bytes(good.replace(b'\\"hidden\\": 24', b'\\"hidden\\": 25'))
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(InputError, match="no checkpoint of"):
        load_checkpoint(path)
    shutil.rmtree(tmp_path)
