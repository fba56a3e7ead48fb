"""Programs for Vulkan targets, run here (on lavapipe where there is no GPU): PyTorch's numbers.

Hazards: hidden sizes that are no multiple of four or of the workgroup, rows that are stored
nowhere, batch entries that share a kernel, states that another kernel owns, subgroup sizes: a
module for an Adreno, whose subgroups have 64 threads, runs on those of 4 and of 8. Models
that one workgroup's shared memory does not hold are in test_vulkan_steps.py.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch_layers import recurrent_layers

import rtmobile_iree as rt
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.targets import get_cpu_target, get_target

pytestmark = [pytest.mark.vulkan, pytest.mark.filterwarnings("ignore:LSTM with projections")]

TOLERANCE = 1e-5
BSP = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}
FEW_ROWS = {"column_rate": 2, "row_rate": 12, "row_stripes": 3, "col_blocks": 2}
LAYERS = recurrent_layers(proj_size=6)


def flat(results):
    """Arrays or tensors of nested tuples, one after another."""
    if not isinstance(results, tuple | list):
        return [results]
    return [each for part in results for each in flat(part)]


def check(program, model, *inputs):
    with torch.no_grad():
        expected = flat(model(*inputs))
    for mine, theirs in zip(flat(program(*inputs)), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


def zeroed(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "weight" in name:
                parameter.zero_()


# kind, inputs, hidden, layers, both directions, batch, pruning, target
CASES = [
    ("gru", 5, 17, 2, False, 3, BSP, "lavapipe"),
    ("gru", 1, 1, 1, False, 1, None, "lavapipe"),
    ("gru", 7, 256, 1, False, 1, FEW_ROWS, "lavapipe"),
    ("gru", 7, 257, 1, True, 2, BSP, "adreno-640"),
    ("gru", 5, 19, 3, False, 1, zeroed, "adreno-640"),
    ("gru", 5, 31, 2, False, 5, None, "vulkan"),
    ("gru", 3, 130, 2, False, 1, BSP, "vulkan"),
    ("gru", 5, 17, 2, False, 2, FEW_ROWS, "mali-valhall"),
    ("gru", 5, 17, 2, False, 1, BSP, "adreno-7xx"),
    ("lstm", 5, 17, 2, True, 3, BSP, "lavapipe"),
    ("lstm", 5, 17, 1, False, 1, zeroed, "lavapipe"),
    ("lstm", 5, 65, 2, False, 2, None, "adreno-640"),
    ("lstmp", 5, 17, 2, False, 3, BSP, "lavapipe"),
    ("lstmp", 5, 17, 1, True, 1, zeroed, "adreno-640"),
    ("lstmp", 5, 33, 2, False, 1, None, "vulkan"),
    ("rnn_tanh", 5, 17, 2, True, 2, BSP, "lavapipe"),
    ("rnn_relu", 5, 17, 2, False, 1, None, "adreno-640"),
]


@pytest.mark.parametrize(
    ("kind", "inputs", "hidden", "layers", "both", "batch", "pruning", "target"), CASES
)
def test_layers_are_pytorchs(vulkan, kind, inputs, hidden, layers, both, batch, pruning, target):
    torch.manual_seed(0)
    model = LAYERS[kind](inputs, hidden, layers, bidirectional=both).eval()
    if callable(pruning):
        pruning(model)
    elif pruning is not None:
        rt.prune(model, **pruning)
    program = rt.compile(model, torch.randn(4, batch, inputs), target)
    for steps in (1, 30):
        check(program, model, torch.randn(steps, batch, inputs))


@pytest.mark.parametrize(
    ("kernel", "target"),
    [("persistent", "adreno-640"), ("wavefront", "adreno-640"), ("per-step", "lavapipe")],
)
def test_as_many_threads_at_once_as_lavapipe_can(vulkan, full_width, kernel, target):
    model, x = nn.GRU(7, 17, 2).eval(), torch.randn(30, 2, 7)
    rt.prune(model, **BSP)
    program = rt.compile(model, x, target, gpu_kernel=kernel)
    check(lambda x: vulkan.run(program.vmfb, [x.numpy()]), model, x)


@pytest.mark.parametrize(
    ("values", "target", "kernel"),
    [
        ("f16", "adreno-640", "per-step"),
        ("f16", "lavapipe", "persistent"),
        ("bf16", "vulkan", "per-step"),
        ("i8", "vulkan", "persistent"),
        ("i8", "adreno-640", "per-step"),
        ("i4", "vulkan", "per-step"),
        ("i4", "adreno-640", "persistent"),
        ("i4", "lavapipe", "per-step"),
    ],
)
def test_narrow_values_are_widened(vulkan, values, target, kernel):
    """The CPU's program of the same values is what PyTorch cannot say: rounding is not ours."""
    torch.manual_seed(0)
    model = Speech(48, 9, nn.Tanh()).eval()
    rt.prune(model, layers=["gru.*", "fc.weight"], **{**BSP, "row_rate": 1})
    x = torch.randn(2, 7, 7)
    expected = rt.compile(model, x, "host", values=values)
    program = rt.compile(model, x, target, values=values, gpu_kernel=kernel)
    for steps in (1, 30):
        x = torch.randn(2, steps, 7)
        np.testing.assert_allclose(program(x), expected(x), rtol=0, atol=TOLERANCE)
        with torch.no_grad():
            assert np.abs(program(x) - model(x).numpy()).max() < (0.1 if values == "i4" else 0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("f16", "values are f16, which this target's buffers cannot hold; use f32, bf16 or i8"),
        ("*_hh_*=i8,*=f32", "values are f32 and i8; layers that feed each other take one type"),
    ],
)
def test_values_that_a_gpu_cannot_take_are_refused(values, message):
    with pytest.raises(rt.CompileError, match=message):
        rt.compile(nn.GRU(5, 8).eval(), torch.randn(3, 1, 5), "vulkan", values=values)


class States(nn.Module):
    """A GRU with its state in and out."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 18, 2, batch_first=True)

    def forward(self, x, h):
        return self.gru(x, h)


def test_states_are_carried_from_call_to_call(vulkan):
    model = States().eval()
    rt.prune(model, **BSP)
    x, h = torch.randn(2, 9, 5), torch.rand(2, 2, 18)
    program = rt.compile(model, (x, h), "lavapipe")
    with torch.no_grad():
        whole, _ = model(x, h)
    parts = []
    for steps in (1, 3, 5):
        y, h = program(x[:, sum(p.shape[1] for p in parts) :][:, :steps], h)
        parts.append(y)
        h = torch.from_numpy(h)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole.numpy(), rtol=0, atol=TOLERANCE)


class Speech(nn.Module):
    """Recurrent and linear layers, and parts that stay IREE's."""

    def __init__(self, hidden, outputs, last):
        super().__init__()
        self.last = last
        self.gru = nn.GRU(7, hidden, 2, batch_first=True)
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.last(self.fc(self.gru(x)[0]))


@pytest.mark.parametrize("target", ["lavapipe", "adreno-640"])
@pytest.mark.parametrize(
    ("hidden", "outputs", "last", "pruning"),
    # 130 outputs: IREE 3.13's own log_softmax over them takes 67,072 bytes of shared memory
    [(33, 13, nn.LogSoftmax(-1), BSP), (16, 1, nn.Tanh(), None), (20, 130, nn.Tanh(), zeroed)],
)
def test_whole_models_are_pytorchs(vulkan, target, hidden, outputs, last, pruning):
    model = Speech(hidden, outputs, last).eval()
    if callable(pruning):
        pruning(model)
    elif pruning is not None:
        rt.prune(model, layers=["gru.*", "fc.weight"], **pruning)
    program = rt.compile(model, torch.randn(2, 4, 7), target)
    for steps in (1, 30):
        check(program, model, torch.randn(2, steps, 7))


def test_more_vectors_than_workgroups_and_a_layer_that_stays_dense(vulkan):
    """Hazard: a linear layer's workgroups take vectors in turn beyond 1,024."""
    few = nn.Linear(20, 7).eval()
    rt.prune(few, layers=["weight"], **BSP)
    x = torch.randn(1500, 20)
    check(rt.compile(few, x, "lavapipe"), few, x)
    dense, x = nn.Linear(60, 70).eval(), torch.randn(40, 60)
    for target in ("lavapipe", "adreno-640"):
        check(rt.compile(dense, x, target), dense, x)


def test_a_saved_program_runs_by_its_path_and_at_the_shell(vulkan, tmp_path):
    from typer.testing import CliRunner

    from rtmobile_iree.cli import app

    model, x = nn.GRU(5, 8).eval(), torch.randn(3, 1, 5)
    program = rt.compile(model, x, "adreno-640")
    program.save(tmp_path / "m.vmfb")
    check(rt.load(tmp_path / "m.vmfb"), model, x)
    np.save(tmp_path / "x.npy", x.numpy())
    command = ["run", str(tmp_path / "m.vmfb"), "--input", str(tmp_path / "x.npy")]
    out = tmp_path / "y.npy"
    result = CliRunner().invoke(app, [*command, "--device", "vulkan", "--output", str(out)])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(out), program(x)[0])
    with pytest.raises(rt.DeviceError, match="expected 3 arguments but passed 1"):
        vulkan.run(program.vmfb, [x.numpy()], "step")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 2}, rt.TargetError, "lavapipe: threads 2; a GPU takes threads 1 alone"),
        ({"activations": "i8"}, rt.TargetError, "activations i8; this GPU takes f32 or f16"),
        (
            {"gpu_kernel": "fast"},
            rt.InputError,
            "'fast'; use one of auto, persistent, wavefront, per-step",
        ),
        ({"cpu": "cortex-a76"}, rt.TargetError, "lavapipe: it is a GPU, not 'cortex-a76'"),
    ],
)
def test_what_a_gpu_cannot_do_is_refused(options, error, message):
    model, x = nn.GRU(5, 8).eval(), torch.randn(3, 1, 5)
    with pytest.raises(error, match=message):
        rt.compile(model, x, "lavapipe", **options)


@pytest.mark.parametrize("kernel", ["persistent", "wavefront", "per-step"])
def test_a_stream_keeps_its_states_on_the_gpu(vulkan, kernel):
    model = States().eval()
    x, h = torch.randn(1, 9, 5), torch.zeros(2, 1, 18)
    stream = rt.stream(rt.compile(model, (x, h), "adreno-640", gpu_kernel=kernel))
    with torch.no_grad():
        whole, last = model(x, h)
    frames, parts = x[0], []
    for first, end in ((0, 1), (1, 4), (4, 9)):
        parts.append(stream.step(frames[first:end]).copy())
    np.testing.assert_allclose(np.concatenate(parts), whole[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(stream.state["h"], last, rtol=0, atol=TOLERANCE)
    stream.reset()
    np.testing.assert_allclose(stream.step(frames[0]), whole[0, 0], rtol=0, atol=TOLERANCE)


def test_a_gpu_is_no_cpu_and_the_other_way_round():
    with pytest.raises(rt.TargetError, match="adreno-640 is a GPU; .* use one of host"):
        get_cpu_target("adreno-640")
    model, x = nn.GRU(5, 8).eval(), torch.randn(3, 1, 5)
    with pytest.raises(rt.TargetError, match="host: gpu_kernel per-step is a GPU's; leave it out"):
        rt.compile(model, x, gpu_kernel="per-step")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("bench MODEL --target vulkan", "--target vulkan: it is a GPU; time its programs with"),
        ("package MODEL.vmfb --device vulkan -o OUT", "target vulkan: a bundle's programs run on"),
    ],
)
def test_bench_and_package_refuse_a_gpu(vulkan, command, message, tmp_path, capsys):
    from rtmobile_iree.cli import main

    file = tmp_path / "m.vmfb"
    rt.compile(nn.GRU(5, 8).eval(), torch.randn(3, 1, 5), "vulkan").save(file)
    words = {"MODEL.vmfb": str(file), "OUT": str(tmp_path / "out"), "MODEL": "a:b"}
    with pytest.raises(SystemExit):
        main([words.get(word, word) for word in command.split()])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", GPUS)
def test_gpus_are_whole(name):
    gpu = GPUS[name]
    assert gpu.name == name
    assert gpu.sources
    assert get_target(name).driver == "vulkan"
    assert f"--iree-vulkan-target={gpu.iree_target}" in get_target(name).iree_flags
    is_estimate = any("estimate" in source for source in gpu.sources)
    assert is_estimate or gpu.flops_s is None


def test_no_vulkan_here_says_how_to_get_it(monkeypatch, tmp_path):
    from rtmobile_iree import vulkan

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vulkan, "MANIFESTS", ())
    for name in vulkan.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(rt.DeviceError, match="make vulkan"):
        vulkan.prepare.__wrapped__()
