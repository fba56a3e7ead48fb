"""`rtmobile bench --device vulkan`: whose times they are is said, and who takes part."""

import json
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree import cli
from rtmobile_iree.bench import Settings, run_bench
from rtmobile_iree.bench.entries import make_entries
from rtmobile_iree.bench.machine import place
from rtmobile_iree.bench.peers import OURS
from rtmobile_iree.bench.plan import make_plan
from rtmobile_iree.errors import InputError
from rtmobile_iree.vulkan import VulkanDevice, describe, read_description

MODEL = "rtmobile_iree.models:tiny_paper_gru"
PEERS = ["iree-vulkan", "iree-vulkan-zeros", "iree-vulkan-gather"]
QUICK = {"rounds": 2, "samples": 1, "sample_s": 0.001, "device": "vulkan"}
TEXT = """\
name: Some GPU
path: GPU-00
api: 1.1.128
type: integrated-gpu
driver: maker's
driver_info: v512.1
features: timelineSemaphore=yes
  [0] name: no field of the device
"""


def test_what_iree_says_of_a_device_is_read():
    device = read_description(TEXT)
    assert device == VulkanDevice("Some GPU", "integrated-gpu", "maker's", "v512.1", "1.1.128")
    assert not device.is_cpu
    assert "CPU" not in str(device)
    assert read_description(TEXT + "name: another\ntype: cpu\n") == device
    old = read_description(TEXT + "  missing: Vulkan API 1.3\n  missing: synchronization2\n")
    assert old.missing == ("Vulkan API 1.3", "synchronization2")
    assert read_description("name: x") == VulkanDevice("x", *["unknown"] * 4)


def test_a_driver_on_the_cpu_is_no_gpu():
    machine = {"cpu": "a processor", "vulkan": vars(read_description("name: llvmpipe\ntype: cpu"))}
    assert "these are no GPU's times, a processor" in place(machine)
    assert place({"cpu": "a processor"}) == "a processor"


@pytest.mark.vulkan
def test_ours_and_stock_irees_by_turns(vulkan, full_width):
    results = run_bench(MODEL, Settings(None, (3,), ("4x1",), **QUICK), target="lavapipe")
    names = [*(f"{p} 4x1" if p != "iree-vulkan" else p for p in PEERS), "rtmobile 4x1"]
    assert [m.name for m in results.measurements] == names
    assert [m.status for m in results.measurements] == ["ok"] * 4
    assert all(len(m.rounds_us) == 2 and m.max_error < 1e-5 for m in results.measurements)
    assert [r.peer for r in results.ratios()] == PEERS
    fields = json.loads(results.to_json())
    assert fields["machine"]["vulkan"]["name"] == describe().name
    assert fields["settings"]["device"] == "vulkan"
    assert bool(results.notes) == describe().is_cpu


@pytest.mark.vulkan
def test_a_program_for_each_number_of_steps_and_peers_by_name(vulkan, full_width, tmp_path):
    plan = make_plan(
        MODEL,
        Settings(("iree-vulkan-zeros",), (1, 3), ("4x1",), **QUICK, dynamic_steps=False),
        (),
    )
    entries = make_entries(plan, "lavapipe", tmp_path, print)
    ours = [entry.task for entry in entries if entry.task.contender == OURS]
    assert [task.steps for task in ours] == [1, 3]
    assert [Path(task.vmfb).name for task in ours] == ["program-1.vmfb", "program-3.vmfb"]
    for task in ours:
        inputs = [np.load(path) for path in task.inputs]
        expected = [np.load(path) for path in task.expected]
        found = vulkan.run(Path(task.vmfb).read_bytes(), inputs)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.vulkan
def test_the_device_runs_and_times_a_module(vulkan):
    import torch

    import rtmobile_iree as rt

    model = torch.nn.Linear(5, 3).eval()
    program = rt.compile(model, (torch.ones(2, 5),), "adreno-640")
    x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 5)
    (y,) = vulkan.run(program.vmfb, [x])
    np.testing.assert_allclose(y, model(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
    result = vulkan.benchmark(program.vmfb, [x], repetitions=2, min_time_s=0.001)
    assert len([r for r in result["benchmarks"] if r["run_type"] == "iteration"]) == 2
    assert describe().name in vulkan.describe().model


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(threads=2, device="vulkan"), "threads are a processor's; use 1"),
        (Settings(("torch",), device="vulkan"), "torch runs on --device local; on vulkan, use"),
        (Settings(("iree-vulkan",)), "iree-vulkan runs on --device vulkan; on local, use torch"),
        (Settings(("cuda",), device="vulkan"), "use some of: iree-vulkan, iree-vulkan-zeros"),
    ],
)
def test_settings_that_do_not_fit_the_device(settings, message):
    with pytest.raises(InputError, match=message):
        run_bench(MODEL, settings, target="lavapipe")


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "arm64-android"], "--target arm64-android is no GPU; use one of lavapipe"),
        (["--cpu", "cortex-a76"], "is no GPU"),
        (["--cores", "big"], "is this machine's; leave --cores"),
        (["--roofline"], "--roofline and --plot are this machine's"),
    ],
)
def test_options_that_do_not_fit_the_device(vulkan, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_status:
        cli.main(["bench", MODEL, "--device", "vulkan", *arguments])
    assert exit_status.value.code == 1
    assert message in capsys.readouterr().err
