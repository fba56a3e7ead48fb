"""The pruner in other processes: killed and resumed, and data parallel under torchrun."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).parent / "pruner_worker.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STEPS = 3 * (7 + 3)


def run(*arguments: object, launcher: tuple[str, ...] | list[str] = ()) -> int:
    command = [sys.executable, *launcher, WORKER, *arguments]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """One process from the first step to the last."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder / "result") == 0
    return torch.load(folder / "result.0.pt")


def test_a_killed_run_resumes_bit_by_bit(alone, tmp_path):
    """Killed in the middle of the second stage's ADMM, between two updates of Z and U."""
    checkpoint = tmp_path / "run.pt"
    killed = run(tmp_path / "result", "--checkpoint", checkpoint, "--die-after", 14)
    assert killed == -signal.SIGKILL
    assert not (tmp_path / "result.0.pt").exists()
    assert run(tmp_path / "result", "--checkpoint", checkpoint) == 0
    resumed = torch.load(tmp_path / "result.0.pt")
    assert resumed["phases"] == alone["phases"]
    assert len(alone["phases"]) == STEPS
    assert all(torch.equal(w, resumed["weights"][name]) for name, w in alone["weights"].items())


def test_two_processes_do_what_one_does(alone, tmp_path):
    """Each takes half of every batch; the gradients are averaged."""
    assert run(tmp_path / "result", launcher=TORCHRUN) == 0
    first, second = (torch.load(tmp_path / f"result.{rank}.pt") for rank in range(2))
    assert first["phases"] == second["phases"] == alone["phases"]
    for name, expected in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        assert torch.equal(first["weights"][name] == 0, expected == 0)
        torch.testing.assert_close(first["weights"][name], expected, rtol=1e-3, atol=1e-4)
    assert (alone["weights"]["gru.weight_hh_l0"] == 0).any()
    # a loss that is NaN in the second process stops both
    assert "another process's loss is not finite" in first["diverged"]
    assert "the loss is nan" in second["diverged"]
