"""ONNX Runtime's dynamic quantization of the graph of MatMuls; it does not know GRU nodes."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.onnx_graph import build
from rtmobile_iree.bench.peers.onnxruntime_peer import onnx_feeds, session, ways
from rtmobile_iree.targets import cpu_features

# signed weights, unsigned activations; u8 weights are a fast path of machines without VNNI,
# where signed ones have 7 bits (see `saturates`)
WEIGHTS = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def saturates() -> bool:
    """Whether products of u8 and s8 overflow: on x86-64 without VNNI two are added up in 16 bits.

    ONNX Runtime's documentation ("Quantize ONNX models") has weights of 7 bits for that.
    """
    has = cpu_features()
    return "avx2" in has and not any("vnni" in name for name in has)


class OnnxRuntimeInt8Peer(FastestCall):
    """The fastest of signed and unsigned weights and of two ways to call."""

    def __init__(self, task: Task) -> None:
        plain = onnx.load_from_string(build("unrolled", gru_task(task).model, task.steps))
        feeds = onnx_feeds(task)
        configurations: list[Configuration] = []
        for name, weight_type in WEIGHTS.items():
            path = Path(task.folder) / f"{name}.onnx"
            quantize_dynamic(
                plain, path, per_channel=True, weight_type=weight_type,
                reduce_range=weight_type == QuantType.QInt8 and saturates(),
            )  # fmt: skip
            quantized = session(path.read_bytes(), task.threads)
            configurations += ways(f"MatMuls, quantize_dynamic {name}", quantized, feeds)
        super().__init__(configurations)
