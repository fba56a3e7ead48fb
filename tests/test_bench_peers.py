"""Every peer computes what PyTorch does, with the weights and the zeros that it is given."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rtmobile_iree.bench import Settings, run_bench
from rtmobile_iree.bench.models import make_squares, make_variant, write_reference
from rtmobile_iree.bench.peers import LOCAL, PEERS, Task, default_peers, make_contender
from rtmobile_iree.bench.peers.gru_task import GruModel, GruTask, gru_model, gru_task
from rtmobile_iree.bench.peers.onnx_graph import FORMS, build
from rtmobile_iree.bench.peers.registry import INT8, TOLERANCES, device_peers
from rtmobile_iree.bench.process import QUIET
from rtmobile_iree.bench.worker import max_error
from rtmobile_iree.errors import InputError

MODELS = "rtmobile_iree.models:"
QUICK = {"rounds": 1, "samples": 1, "sample_s": 0.001}
OPTIONAL = [name for name, peer in PEERS.items() if peer.extra != "bench"]
INSTALLED = [name for name in device_peers(LOCAL) if name not in OPTIONAL]


def make_task(folder: Path, peer: str, model: str, rate: str, steps: int) -> Task:
    variant = make_variant(MODELS + model, rate, (), folder)
    if block := PEERS[peer].block:
        variant = make_squares(variant, block)
    inputs, expected = write_reference(variant, steps)
    weights = str(variant.weights_file)
    return Task(peer, variant.model, weights, inputs, expected, str(folder), steps, 1)


def check(task: Task) -> None:
    contender = make_contender(task)
    is_int8 = PEERS[task.contender].values == INT8
    assert max_error(contender, task) <= (TOLERANCES[INT8] if is_int8 else 1e-5)
    times = contender.times_us(3, 0.001)
    assert len(times) == 3
    assert min(times) > 0
    assert contender.description


@pytest.mark.parametrize(
    ("model", "rate", "steps"), [("tiny_speech_gru", "2x2", 3), ("tiny_paper_gru", "4x1", 1)]
)
@pytest.mark.parametrize("peer", INSTALLED)
def test_a_peer_of_the_bench_extra(tmp_path, monkeypatch, peer, model, rate, steps):
    monkeypatch.setattr("rtmobile_iree.bench.peers.called.TRIAL_SAMPLE_S", 0.001)
    check(make_task(tmp_path, peer, model, rate, steps))


@pytest.mark.peers
@pytest.mark.parametrize("steps", [3, 1])
@pytest.mark.parametrize("peer", OPTIONAL)
def test_a_peer_of_the_peers_extra(tmp_path, monkeypatch, peer, steps):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    for package in PEERS[peer].needs:
        pytest.importorskip(package, reason=f"peer {peer} needs {package}")
    monkeypatch.setattr("rtmobile_iree.bench.peers.called.TRIAL_SAMPLE_S", 0.001)
    check(make_task(tmp_path, peer, "tiny_speech_gru", "2x2", steps))


@pytest.mark.parametrize("peer", ["torch-csr", "scipy-csr", "iree-gather", "mlir-sparsifier"])
def test_a_peer_with_nothing_left_to_multiply(tmp_path, peer):
    """All weights pruned: the groups and strips are empty, and only biases are left."""
    task = make_task(tmp_path, peer, "tiny_paper_gru", "dense", 2)
    weights = torch.load(task.weights, weights_only=True)
    torch.save({n: w * (w.dim() == 1) for n, w in weights.items()}, task.weights)
    model = gru_task(task).model
    inputs = [torch.from_numpy(array) for array in task.input_arrays()]
    with torch.inference_mode():
        for path, value in zip(task.expected, model.gru(*inputs), strict=True):
            np.save(path, value.numpy())
    assert max_error(make_contender(task), task) <= 1e-6


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "steps"), [(1, 1), (3, 2)])
def test_both_onnx_forms(form, batch_first, bias, layers, steps):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    gru = torch.nn.GRU(5, 7, layers, batch_first=batch_first, bias=bias)
    x = torch.randn((1, steps, 5) if batch_first else (steps, 1, 5))
    state = torch.randn(layers, 1, 7)
    session = onnxruntime.InferenceSession(build(form, gru_model(gru), steps))
    actual = session.run(None, {"x": x.numpy(), "state": state.numpy()})
    with torch.inference_mode():
        for a, e in zip(actual, gru(x, state), strict=True):
            np.testing.assert_allclose(a, e.numpy(), atol=1e-5)


def test_a_model_the_onnx_graph_does_not_describe():
    module = torch.nn.Sequential(torch.nn.GRU(4, 4), torch.nn.LayerNorm(4))
    with pytest.raises(InputError, match=r"others: 1\.weight, 1\.bias"):
        gru_model(module)
    with pytest.raises(InputError, match="found 0 and 1"):
        gru_model(torch.nn.Linear(2, 2))


def random_task(layers: int, inputs: int, hidden: int, steps: int) -> GruTask:
    torch.manual_seed(0)
    gru = torch.nn.GRU(inputs, hidden, layers)
    frames, state = torch.randn(steps, inputs), torch.randn(layers, hidden)
    shape = (steps, 1, hidden)
    return GruTask(GruModel(gru, None), frames.numpy(), state.numpy(), shape)


def test_results_are_shaped_as_pytorchs():
    gru = random_task(2, 3, 5, 4)
    y, state = gru.shaped(np.zeros(20), [np.ones(5), np.zeros(5)])
    assert y.shape == (4, 1, 5)
    assert y.dtype == np.float32
    assert state.shape == (2, 1, 5)


def test_layers_and_weights_without_biases():
    model = gru_model(torch.nn.Sequential(torch.nn.GRU(3, 5, bias=False)))
    ((w_ih, w_hh, b_ih, b_hh),) = model.layers()
    assert (w_ih.shape, w_hh.shape) == ((15, 3), (15, 5))
    assert not b_ih.any()
    assert not b_hh.any()
    assert model.linear() is None


def test_a_square_block_that_does_not_divide_the_weights(tmp_path):
    from rtmobile_iree.bench.peers.torch_sparse_peer import TorchBsrPeer

    task = make_task(tmp_path, "torch-bsr", "tiny_paper_gru", "dense", 1)
    TorchBsrPeer(task)
    module = "rtmobile_iree.bench.peers.torch_sparse_peer.BSR_BLOCKS"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, (7,))
        with pytest.raises(InputError, match=r"its square blocks, \(7,\), do not divide"):
            TorchBsrPeer(task)


def test_every_peer_is_found_and_described():
    assert set(default_peers(LOCAL)) <= set(INSTALLED)
    for name, peer in PEERS.items():
        assert (Path(__file__).parents[1] / f"rtmobile_iree/bench/peers/{peer.module}.py").is_file()
        assert peer.values in TOLERANCES, name
        assert peer.pattern in ("dense", "BSP", "8x8", "16x16"), name


def test_sparse_peers_run_at_the_rates_and_are_told_without():
    results = run_bench(
        MODELS + "tiny_speech_gru",
        Settings(("torch", "torch-csr"), (1,), ("dense", "2x1"), **QUICK),
    )
    assert [(m.name, m.status) for m in results.measurements] == [
        (name, "ok") for name in ("torch", "rtmobile dense", "torch-csr 2x1", "rtmobile 2x1")
    ]
    with pytest.raises(InputError, match="torch-csr: it runs pruned models, and no --rates prune"):
        run_bench(MODELS + "tiny_speech_gru", Settings(("torch-csr",), (1,), ("dense",), **QUICK))
