"""ONNX Runtime on the CPU: both graphs of `onnx_graph`, called plainly and by an I/O binding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.onnx_graph import FORMS, build

Feeds = dict[str, np.ndarray]


class OnnxRuntimePeer(FastestCall):
    """The faster of two graphs, called the faster of two ways."""

    def __init__(self, task: Task) -> None:
        model, feeds = gru_task(task).model, onnx_feeds(task)
        sessions = {form: session(build(form, model, task.steps), task.threads) for form in FORMS}
        super().__init__([way for form, s in sessions.items() for way in ways(form, s, feeds)])


def onnx_feeds(task: Task) -> Feeds:
    """The task's inputs by the names they have in `onnx_graph`."""
    return dict(zip(("x", "state"), task.input_arrays(), strict=True))


def ways(form: str, session: onnxruntime.InferenceSession, feeds: Feeds) -> Iterator[Configuration]:
    """A session called plainly, and by an I/O binding made beforehand."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    results = session.run(None, feeds)
    for info, array in zip(session.get_outputs(), results, strict=True):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_output(info.name, value)

    def run() -> list[np.ndarray]:
        return session.run(None, feeds)

    yield Configuration(f"{form}, run", run, run)
    yield Configuration(
        f"{form}, run_with_iobinding", lambda: session.run_with_iobinding(binding), run
    )


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A serialized ONNX model, loaded with every optimization."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
