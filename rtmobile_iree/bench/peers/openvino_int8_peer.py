"""OpenVINO with weights compressed by NNCF, activations quantized in groups as they come."""

from __future__ import annotations

import nncf
import openvino as ov

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.onnx_graph import build
from rtmobile_iree.bench.peers.openvino_peer import infer_request

# weights that share one scale of the activations, the best found; 0 computes in f32
GROUPS = (64, 0)


class OpenVinoInt8Peer(FastestCall):
    """The faster of products in int8 and in f32."""

    def __init__(self, task: Task) -> None:
        graph = build("unrolled", gru_task(task).model, task.steps)
        configurations = []
        for group in GROUPS:
            model = nncf.compress_weights(
                ov.Core().read_model(graph), mode=nncf.CompressWeightsMode.INT8_SYM
            )
            name = f"MatMuls, INT8_SYM, dynamic quantization {group or 'off'}, latency, 1 stream"
            size = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": group}
            configurations.append(infer_request(name, model, task, **size))
        super().__init__(configurations)
