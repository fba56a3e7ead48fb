"""Compiled IREE modules, timed by iree-benchmark-module: stock IREE's dense one, and ours.

Both are timed by the same tool with the same options; only the `.vmfb` differs.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from rtmobile_iree.bench.peers import LOCAL, Task
from rtmobile_iree.bench.peers.torch_peer import task_module
from rtmobile_iree.devices.base import (
    BENCHMARK_TOOL,
    RUN_TOOL,
    benchmark_arguments,
    call_arguments,
)
from rtmobile_iree.errors import InputError
from rtmobile_iree.runtime import VULKAN
from rtmobile_iree.targets import CPU_FLAGS
from rtmobile_iree.vulkan import environment

# ops that make a file ours or torch-mlir's
FOREIGN = ("bspc.", "torch.", "torch_c.")
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
# The best stock flags found for a dense GRU; O3 alone changes nothing, data tiling makes it 1.3 to
# 1.8 times faster.
STOCK_FLAGS = ("--iree-opt-level=O3", "--iree-opt-data-tiling=true")
DENSE_FLAGS = (*STOCK_FLAGS, *CPU_FLAGS, "--iree-llvmcpu-target-cpu=host")


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
    """A `.vmfb` with a function that takes the task's inputs."""

    tried = ""

    def __init__(self, vmfb: Path, task: Task, function: str = "main") -> None:
        self._vmfb, self._task = vmfb, task
        driver = None if task.device == LOCAL else task.device
        self._arguments = call_arguments(str(vmfb), task.inputs, function, task.threads, driver)
        self._environment = environment() if driver == VULKAN else {}

    def outputs(self) -> Sequence[np.ndarray]:
        """Runs the file with iree-run-module, as a user would."""
        paths = [
            Path(self._task.folder) / f"output-{i}.npy" for i in range(len(self._task.expected))
        ]
        arguments = [*self._arguments, *(f"--output=@{path}" for path in paths)]
        run_tool(RUN_TOOL, arguments, self._environment)
        return [np.load(path) for path in paths]

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        options = benchmark_arguments(samples, sample_s)
        text = run_tool(BENCHMARK_TOOL, [*self._arguments, *options], self._environment)
        return sample_times_us(json.loads(text))


def sample_times_us(result: dict[str, Any]) -> list[float]:
    """Microseconds a call of each sample, from the JSON of iree-benchmark-module."""
    return [
        run["real_time"] * MICROSECONDS[run["time_unit"]]
        for run in result["benchmarks"]
        if run["run_type"] == "iteration"
    ]


def run_tool(tool: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> str:
    """What one of IREE's tools prints.

    Args:
        environment: variables it gets besides.

    Raises:
        InputError: it failed.
    """
    variables = os.environ | dict(environment or {})
    command = [str(find_tool(tool)), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=variables)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise InputError(
            f"{tool} failed ({result.returncode}): {lines[0] if lines else 'silently'}"
        )
    return result.stdout


class IreeDensePeer(CompiledModule):
    """Stock IREE, data tiling on: torch-mlir's own export, its steps unrolled and its weights
    dense, or an `.mlir` as it is."""

    def __init__(self, task: Task) -> None:
        vmfb, function = compile_dense(task, DENSE_FLAGS)
        unrolled = "" if Path(task.model).suffix == ".mlir" else "steps unrolled, "
        self.description = f"O3, data tiling, {unrolled}iree-benchmark-module"
        super().__init__(vmfb, task, function)


def compile_dense(task: Task, flags: Sequence[str]) -> tuple[Path, str]:
    """The task's model by IREE's own compiler: the file, in the task's folder, and its function.

    Raises:
        InputError: the model has ops IREE does not know, torch-mlir refuses it, or IREE does.
    """
    vmfb = Path(task.folder) / "dense.vmfb"
    function = "main"
    if Path(task.model).suffix == ".mlir":
        source, function = Path(task.model), stock_function(Path(task.model))
    else:
        source = vmfb.with_suffix(".mlirbc")
        source.write_bytes(exported_dense(task))
    run_tool("iree-compile", [str(source), *flags, "-o", str(vmfb)])
    return vmfb, function


def stock_function(path: Path) -> str:
    """The public function of an `.mlir` that IREE's stock compiler can take.

    Raises:
        InputError: the module has ops that it does not know.
    """
    from torch_mlir import ir

    from rtmobile_iree.dialects import make_context

    module = ir.Module.parse(path.read_text(), make_context())
    foreign: set[str] = set()

    def look(op: ir.Operation) -> ir.WalkResult:
        if op.name.startswith(FOREIGN):
            foreign.add(op.name)
        return ir.WalkResult.ADVANCE

    module.operation.walk(look)
    if foreign:
        raise InputError(f"IREE's own compiler does not take {', '.join(sorted(foreign))}")
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    public = [f for f in functions if "sym_visibility" not in f.operation.attributes]
    names = [ir.StringAttr(f.operation.attributes["sym_name"]).value for f in public]
    return "main" if "main" in names else names[0]


def exported_dense(task: Task) -> bytes:
    """The task's module by torch-mlir's own export, as bytecode.

    Raises:
        InputError: torch-mlir refuses it.
    """
    from torch_mlir.fx import export_and_import

    inputs = tuple(torch.from_numpy(array) for array in task.input_arrays())
    module = task_module(task)
    if isinstance(module, fx.GraphModule):
        _call_functions(module)
    try:
        imported = export_and_import(module, *inputs, output_type="linalg-on-tensors")
    except Exception as error:  # torch.export and torch-mlir raise whatever goes wrong
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"torch-mlir's own export fails: {reason}") from error
    buffer = io.BytesIO()
    imported.operation.write_bytecode(buffer)
    return buffer.getvalue()


def _call_functions(module: fx.GraphModule) -> None:
    """Turns our ops, which torch-mlir does not know, into calls of the functions behind them."""
    from rtmobile_iree.nn import OPS

    functions = {getattr(torch.ops.rtmobile, name).default: op for name, op in OPS.items()}
    for node in module.graph.nodes:
        if node.target in functions:
            node.target = functions[node.target]._init_fn
    module.recompile()


class RTMobileContender(CompiledModule):
    """A program saved by `rtmobile_iree.compile`."""

    def __init__(self, task: Task) -> None:
        assert task.vmfb is not None
        super().__init__(Path(task.vmfb), task)
        self.description = "iree-benchmark-module"
