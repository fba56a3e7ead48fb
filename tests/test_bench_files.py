"""Files as models of a benchmark: timed as they are, for the numbers of steps they are for."""

import pytest
import torch

from rtmobile_iree.bench import Settings, run_bench
from rtmobile_iree.bench.files import file_inputs
from rtmobile_iree.errors import InputError
from rtmobile_iree.frontend.export import export_module
from rtmobile_iree.models import tiny_speech_gru

QUICK = {"rounds": 2, "samples": 1, "sample_s": 0.001}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tiny model as a .pt2 of five steps, and a linear layer as torch-mlir writes it."""
    from torch_mlir import fx

    folder = tmp_path_factory.mktemp("files")
    model = tiny_speech_gru()
    torch.export.save(torch.export.export(model, model.example_inputs(5)), folder / "gru.pt2")
    linear = torch.nn.Linear(6, 4).eval()
    module = fx.export_and_import(linear, torch.zeros(3, 6), output_type="linalg-on-tensors")
    (folder / "linear.mlir").write_text(str(module))
    return folder


def test_a_pt2_is_timed_as_it_is(exported):
    results = run_bench(str(exported / "gru.pt2"), Settings(steps=(5,), **QUICK))
    names = ("torch", "onnxruntime", "iree-dense", "rtmobile")
    assert {m.name: m.status for m in results.measurements} == dict.fromkeys(names, "ok")
    assert results.absent == {}
    assert {ratio.peer for ratio in results.ratios()} == set(names[:3])


def test_an_mlir_is_timed_as_it_is(exported):
    results = run_bench(str(exported / "linear.mlir"), Settings(steps=(3,), **QUICK))
    assert {m.name: m.status for m in results.measurements} == {
        "iree-dense": "ok",
        "rtmobile": "ok",
    }
    assert results.absent == dict.fromkeys(("torch", "onnxruntime"), "it does not read MLIR")


def test_peers_that_cannot_read_the_file_are_an_error_only_when_none_is_left(exported):
    path, named = str(exported / "linear.mlir"), ("torch", "onnxruntime")
    with pytest.raises(InputError, match="no peer is left to time against: torch: it does not"):
        run_bench(path, Settings(named, (3,), **QUICK))


def test_a_pt2_of_other_steps_is_timed_at_its_own(exported):
    path = str(exported / "gru.pt2")
    results = run_bench(path, Settings(("torch",), steps=(1, 7), **QUICK))
    assert {m.steps for m in results.measurements} == {5}
    (note,) = results.notes
    assert note.startswith(f"{path} is for 5 steps only")


def test_a_file_has_no_rates(exported):
    with pytest.raises(InputError, match="prune it first, with rtmobile prune"):
        run_bench(str(exported / "gru.pt2"), Settings(("torch",), rates=("10x1",), **QUICK))


def test_a_pt2_of_open_steps_is_timed_for_any(tmp_path):
    model, path = tiny_speech_gru(), tmp_path / "open.pt2"
    torch.export.save(export_module(model, model.example_inputs(5)), path)
    assert file_inputs(str(path)).steps is None
    results = run_bench(str(path), Settings(("onnxruntime",), steps=(1, 4), **QUICK))
    assert [(m.name, m.steps, m.status) for m in results.measurements] == [
        (name, steps, "ok") for steps in (1, 4) for name in ("onnxruntime", "rtmobile")
    ]


def test_a_pt2_that_is_none(tmp_path):
    (tmp_path / "no.pt2").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no.pt2: cannot be loaded as a torch.export .pt2"):
        run_bench(str(tmp_path / "no.pt2"), Settings(steps=(1,), **QUICK))
