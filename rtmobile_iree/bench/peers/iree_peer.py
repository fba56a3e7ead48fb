"""Compiled IREE modules, timed by iree-benchmark-module: stock IREE's dense one, and ours.

Both are timed by the same tool with the same options; only the `.vmfb` differs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.errors import InputError

WARM_UP_S = 0.05
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
# The best stock flags found for a dense GRU; O3 alone changes nothing, data tiling makes it 1.3 to
# 1.8 times faster.
DENSE_FLAGS = (
    "--iree-opt-level=O3",
    "--iree-opt-data-tiling=true",
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
)


def find_tool(name: str) -> Path:
    """One of IREE's command line tools: beside this Python first, then on the PATH.

    Raises:
        InputError: it is nowhere.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed; pip install iree-base-runtime==3.13.0")
    return Path(found)


class CompiledModule:
    """A `.vmfb` whose function `main` takes the task's inputs."""

    def __init__(self, vmfb: Path, task: Task) -> None:
        self._vmfb, self._task = vmfb, task
        device = ["--device=local-sync"]
        if task.threads > 1:
            device = ["--device=local-task", f"--task_topology_group_count={task.threads}"]
        self._arguments = [f"--module={vmfb}", *device, "--function=main"]
        self._arguments += [f"--input=@{path}" for path in task.inputs]

    def outputs(self) -> Sequence[np.ndarray]:
        """Runs the file with iree-run-module, as a user would."""
        paths = [
            Path(self._task.folder) / f"output-{i}.npy" for i in range(len(self._task.expected))
        ]
        _run("iree-run-module", [*self._arguments, *(f"--output=@{path}" for path in paths)])
        return [np.load(path) for path in paths]

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        text = _run(
            "iree-benchmark-module",
            [
                *self._arguments,
                "--benchmark_format=json",
                f"--benchmark_repetitions={samples}",
                f"--benchmark_min_time={sample_s}s",
                f"--benchmark_min_warmup_time={WARM_UP_S}",
            ],
        )
        runs = json.loads(text)["benchmarks"]
        return [
            run["real_time"] * MICROSECONDS[run["time_unit"]]
            for run in runs
            if run["run_type"] == "iteration"
        ]


def _run(tool: str, arguments: list[str]) -> str:
    result = subprocess.run([find_tool(tool), *arguments], capture_output=True, text=True)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise InputError(
            f"{tool} failed ({result.returncode}): {lines[0] if lines else 'silently'}"
        )
    return result.stdout


class IreeDensePeer(CompiledModule):
    """Stock IREE: torch-mlir's own export, its steps unrolled, weights dense, data tiling on."""

    def __init__(self, task: Task) -> None:
        vmfb = Path(task.folder) / "dense.vmfb"
        compile_dense(task, vmfb)
        super().__init__(vmfb, task)
        self.description = "O3, data tiling, steps unrolled, iree-benchmark-module"


def compile_dense(task: Task, vmfb: Path) -> None:
    """Exports the task's module with torch-mlir and compiles it with IREE's stock compiler.

    An `.mlir` goes to the compiler as it is.
    """
    if Path(task.model).suffix == ".mlir":
        _run("iree-compile", [task.model, *DENSE_FLAGS, "-o", str(vmfb)])
        return
    import torch
    from torch_mlir import fx

    from rtmobile_iree.bench.peers.torch_peer import task_module

    inputs = tuple(torch.from_numpy(array) for array in task.input_arrays())
    module = fx.export_and_import(task_module(task), *inputs, output_type="linalg-on-tensors")
    source = vmfb.with_suffix(".mlirbc")
    with source.open("wb") as file:
        module.operation.write_bytecode(file)
    _run("iree-compile", [str(source), *DENSE_FLAGS, "-o", str(vmfb)])


class RTMobileContender(CompiledModule):
    """A program saved by `rtmobile_iree.compile`."""

    def __init__(self, task: Task) -> None:
        assert task.vmfb is not None
        super().__init__(Path(task.vmfb), task)
        self.description = "iree-benchmark-module"
