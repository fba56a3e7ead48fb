"""MNN on the CPU, from the graphs of `onnx_graph`, by its own converter.

The converter is called in its compiled module. The command `mnnconvert` around it would first run
`pip install` of a logging client, in whatever Python the PATH has, and then report to its makers.
"""

from __future__ import annotations

from pathlib import Path

import _tools as mnn_tools  # of the package MNN
import MNN
import numpy as np

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.onnx_graph import build

# name -> graph, further options of the converter
GRAPHS = {
    "GRU layers": ("gru_node", ("--useOriginRNNImpl",)),
    "GRU as a loop": ("gru_node", ()),
    "MatMuls": ("unrolled", ()),
}


class MnnPeer(FastestCall):
    """The fastest of MNN's GRU layer, its loop over steps, and MatMuls where there is one step.

    Unrolled steps would each get their own copy of the weights.
    """

    def __init__(self, task: Task) -> None:
        model = gru_task(task).model
        names = [name for name in GRAPHS if name != "MatMuls" or task.steps == 1]
        super().__init__(
            [_module(name, build(GRAPHS[name][0], model, task.steps), task) for name in names]
        )


def _module(name: str, onnx_model: bytes, task: Task) -> Configuration:
    source, path = Path(task.folder) / "model.onnx", Path(task.folder) / f"{name}.mnn"
    source.write_bytes(onnx_model)
    command = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path)]
    mnn_tools.mnnconvert([*command, "--bizCode", "bench", *GRAPHS[name][1]])
    options = {
        "backend": "CPU",
        "numThread": task.threads,
        "precision": "high",
        "power": "high",
        "memory": "high",
    }
    manager = MNN.nn.create_runtime_manager((options,))
    module = MNN.nn.load_module_from_file(
        str(path), ["x", "state"], ["y", "next_state"], runtime_manager=manager
    )
    inputs = [
        MNN.expr.const(array, list(array.shape), MNN.expr.NCHW) for array in task.input_arrays()
    ]

    def run() -> list[np.ndarray]:
        # reading is what makes it compute
        return [np.array(variable.read()) for variable in module.forward(inputs)]

    return Configuration(name, run, run)
