"""The benchmark: contenders in processes of their own, checked before they are timed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtmobile_iree.bench import Settings, run_bench
from rtmobile_iree.bench.models import make_variant, parse_rate, write_reference
from rtmobile_iree.bench.peers import PEERS, Peer, Task, absent_peers, check_peers
from rtmobile_iree.bench.peers.iree_peer import find_tool
from rtmobile_iree.bench.process import Worker, WorkerError
from rtmobile_iree.bench.timing import calls_for, times_us
from rtmobile_iree.errors import InputError
from rtmobile_iree.models import speech_gru

TINY = "rtmobile_iree.models:tiny_speech_gru"
QUICK = {"rounds": 1, "samples": 1, "sample_s": 0.001}


def make_task(folder: Path, contender: str) -> Task:
    variant = make_variant(TINY, "dense", (), folder)
    inputs, expected = write_reference(variant, 3)
    return Task(contender, TINY, str(variant.weights_file), inputs, expected, str(folder), 3, 1)


def test_a_worker_answers_until_it_is_stopped(tmp_path):
    with Worker(make_task(tmp_path, "torch")) as worker:
        ready = worker.wait_ready()
        assert ready.max_error <= 1e-6
        assert len(worker.times_us(2, 0.001)) == 2
        assert len(worker.times_us(4, 0.001)) == 4


def test_a_worker_that_cannot_start(tmp_path):
    task = replace(make_task(tmp_path, "torch"), weights=str(tmp_path / "none.pt"))
    with Worker(task) as worker, pytest.raises(WorkerError, match="none.pt"):
        worker.wait_ready()


def test_a_worker_that_dies(tmp_path):
    with Worker(make_task(tmp_path, "torch")) as worker:
        worker.wait_ready()
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(WorkerError, match="ended with -9"):
            worker.times_us(1, 0.001)


def test_a_contender_with_another_output_is_wrong_not_timed(tmp_path, monkeypatch):
    """The weights a peer gets are not those of the reference: its output must give it away."""
    from rtmobile_iree.bench import entries

    def other_weights(variant, steps):
        files = write_reference(variant, steps)
        np.save(files[1][0], np.load(files[1][0]) + 1e-3)
        return files

    monkeypatch.setattr(entries, "write_reference", other_weights)
    settings = Settings(("torch",), (2,), (), rounds=1, samples=1, sample_s=0.001)
    results = run_bench(TINY, settings)
    (measurement,) = results.measurements
    assert measurement.status == "wrong"
    assert measurement.max_error == pytest.approx(1e-3, rel=0.01)
    assert not measurement.rounds_us
    assert results.ratios() == ()


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    settings = Settings(("torch", "onnxruntime"), (1, 4), ("2x1",), 1, 3, 2, 0.001)
    lines: list[str] = []
    results = run_bench(TINY, settings, progress=lines.append)
    names = [(m.name, m.steps, m.status) for m in results.measurements]
    assert names == [
        (name, steps, "ok") for steps in (1, 4) for name in ("torch", "onnxruntime", "rtmobile 2x1")
    ]
    ours = results.find("rtmobile", 4, "2x1")
    assert ours is not None
    assert len(ours.rounds_us) == 3
    assert len(results.ratios()) == 4
    assert any("compiling" in line for line in lines)
    results.save(tmp_path / "results.json")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["machine"]["cpu"]
    assert saved["versions"]["torch"] == torch.__version__
    assert {m["median_us"] > 0 for m in saved["measurements"]} == {True}
    assert len(saved["ratios"]) == 4


def test_timing_takes_enough_calls():
    assert calls_for(lambda: None, 0.001) > 100
    assert len(times_us(lambda: None, 4, 0.0001)) == 4


@pytest.mark.parametrize(
    ("rate", "columns", "rows"), [("10x1", 10, 1), ("16x1.25", 16, 1.25), ("dense", 1, 1)]
)
def test_rates(rate, columns, rows):
    assert parse_rate(rate) == (columns, rows)


@pytest.mark.parametrize("rate", ["", "10", "x", "0x1", "0.5x2", "10x1x1", "-1x2"])
def test_rates_that_are_none(rate):
    with pytest.raises(InputError, match="as 10x1"):
        parse_rate(rate)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(against=("tensorrt",)), "use some of: torch, onnxruntime, iree-dense"),
        (Settings(steps=()), "whole numbers from 1"),
        (Settings(steps=(0,)), "whole numbers from 1"),
        (Settings(threads=0), "threads 0; use 1 to 32"),
        (Settings(sample_s=0), "sample_s"),
        (Settings(rates=("10",)), "as 10x1"),
    ],
)
def test_settings_that_cannot_be_measured(settings, message):
    with pytest.raises(InputError, match=message):
        run_bench(TINY, settings)


def test_a_peer_whose_package_is_missing(monkeypatch):
    ghost = Peer("ghost_peer", "GhostPeer", ("no_such_package.part",), "Ghost", "ghost", "peers-x")
    monkeypatch.setitem(PEERS, "ghost", ghost)
    told = r"needs no_such_package.part; install with: pip install 'rtmobile-iree\[peers-x\]'"
    with pytest.raises(InputError, match=f"peer 'ghost' {told}"):
        check_peers(["ghost"])
    with pytest.raises(InputError, match=told):
        run_bench(TINY, Settings(("torch", "ghost"), **QUICK))
    assert set(absent_peers(("torch", "ghost"), TINY)) == {"ghost"}


def test_a_tool_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="no-such-tool is not installed"):
        find_tool("no-such-tool")
    assert find_tool("iree-benchmark-module").is_file()


def test_the_model_is_always_the_same():
    first, second = speech_gru(8, 16), speech_gru(8, 16)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.fc.weight, speech_gru(8, 16, seed=1).fc.weight)


def test_the_evaluation_model_has_the_papers_size():
    module = speech_gru()
    weights = sum(p.numel() for p in module.gru.parameters() if p.dim() == 2)
    assert weights == 9_560_064
    y, state = module(*module.example_inputs(2))
    assert y.shape == (1, 2, 40)
    assert state.shape == (2, 1, 1024)
