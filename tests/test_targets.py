"""Targets and cores: what is known, what is refused, and programs for another machine."""

import platform

import numpy as np
import pytest
import torch

import rtmobile_iree as rt
from rtmobile_iree.cores import CORES
from rtmobile_iree.targets import ARM64_TRIPLES, get_target, target_names

needs_another_machine = pytest.mark.skipif(
    platform.machine() == "aarch64", reason="ARM64 programs run on this machine"
)


def test_every_target_is_known_by_its_name():
    assert [get_target(name).name for name in target_names()] == list(target_names())


@pytest.mark.parametrize("name", CORES)
def test_cores_are_whole(name):
    core = CORES[name]
    assert core.name == name
    assert core.l1d_bytes < core.l2_bytes < core.l3_bytes
    assert core.memory_bytes_s < core.l3_bytes_s < core.l2_bytes_s
    target = get_target("arm64-android", name)
    assert target.cpu == name
    assert (target.integer_dot == "sdot") == core.dotprod
    assert f"--iree-llvmcpu-target-cpu={core.llvm_cpu}" in target.iree_flags


@pytest.mark.parametrize(
    ("target", "cpu", "message"),
    [
        ("arm64-android", "pentium", "cpu 'pentium' is not known; use one of: generic, cortex-a55"),
        (
            "host",
            "cortex-a76",
            "its cpu is this machine's, not 'cortex-a76'; leave cpu out, or use",
        ),
        ("gameboy", None, "use one of: host, arm64-android, arm64-linux"),
    ],
)
def test_wrong_targets_and_cores_are_refused_before_any_work(target, cpu, message):
    with pytest.raises(rt.TargetError, match=message):
        rt.compile(object(), target=target, cpu=cpu)


@needs_another_machine
@pytest.mark.parametrize("target", ARM64_TRIPLES)
def test_a_program_for_another_machine_is_read_and_not_called(target, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(3, 1, 5)
    program = rt.compile(torch.nn.GRU(5, 8).eval(), x, target, cpu="cortex-x4")
    program.save(tmp_path / "model.vmfb")
    loaded = rt.load(tmp_path / "model.vmfb")
    assert (loaded.target, loaded.cpu) == (target, "cortex-x4")
    assert len(loaded.report.matrices) == 2
    assert loaded.inputs[0].shape == (None, 1, 5)
    with pytest.raises(rt.TargetError, match=rf"is for {target}.*--device qemu"):
        loaded(np.zeros((3, 1, 5), np.float32))


def test_a_core_without_integer_dot_products_refuses_quantized_activations():
    module, x = torch.nn.GRU(5, 8).eval(), torch.randn(3, 1, 5)
    with pytest.raises(rt.TargetError, match="arm64-linux: its vector unit has no integer dot"):
        rt.compile(module, x, "arm64-linux", values="i8", activations="i8")
