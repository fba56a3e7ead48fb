"""OpenVINO on the CPU, from both graphs of `onnx_graph`.

f32 is asked for: its own choice on a machine with bf16 is bf16. One stream and the latency hint
are for single calls one after the other.
"""

from __future__ import annotations

import numpy as np
import openvino as ov

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.onnx_graph import FORMS, build

# GRU nodes become OpenVINO's GRUSequence
GRAPHS = {"gru_node": "GRUSequence", "unrolled": "MatMuls"}


class OpenVinoPeer(FastestCall):
    """The faster of two graphs."""

    def __init__(self, task: Task) -> None:
        model = gru_task(task).model
        super().__init__(
            [
                infer_request(
                    f"{GRAPHS[form]}, f32 hint, latency, 1 stream",
                    ov.Core().read_model(build(form, model, task.steps)),
                    task,
                )
                for form in FORMS
            ]
        )


def infer_request(name: str, model: ov.Model, task: Task, **properties: object) -> Configuration:
    """A compiled model with its inputs in place."""
    compiled = ov.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": task.threads,
            **properties,
        },
    )
    request = compiled.create_infer_request()
    for i, array in enumerate(task.input_arrays()):
        request.set_input_tensor(i, ov.Tensor(array))

    def outputs() -> list[np.ndarray]:
        request.infer()
        return [request.get_output_tensor(i).data.copy() for i in range(len(compiled.outputs))]

    return Configuration(name, request.infer, outputs)
