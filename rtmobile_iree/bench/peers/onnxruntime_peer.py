"""ONNX Runtime on the CPU, in the fastest of its forms.

Both graphs of `onnx_graph`, each called plainly and through an I/O binding, are timed for a moment
when the peer starts; the fastest of the four is the one that competes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.onnx_graph import FORMS, build, gru_model
from rtmobile_iree.bench.peers.torch_peer import task_module
from rtmobile_iree.bench.timing import times_us

TRIAL_SAMPLES, TRIAL_SAMPLE_S = 3, 0.1


class OnnxRuntimePeer:
    """The faster of two graphs, called the faster of two ways."""

    def __init__(self, task: Task) -> None:
        model = gru_model(task_module(task))
        self._feeds = dict(zip(("x", "state"), task.input_arrays(), strict=True))
        trials = []
        for form in FORMS:
            session = _session(build(form, model, task.steps), task.threads)
            for way, call in self._ways(session).items():
                time = min(times_us(call, TRIAL_SAMPLES, TRIAL_SAMPLE_S))
                trials.append((time, f"{form}, {way}", session, call))
        _, self.description, self._session, self._call = min(trials, key=lambda trial: trial[0])
        tried = ", ".join(f"{name} {time:.0f} us" for time, name, _, _ in trials)
        self.description += f" (tried: {tried})"

    def _ways(self, session: onnxruntime.InferenceSession) -> dict[str, Callable[[], object]]:
        binding = session.io_binding()
        for name, array in self._feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        outputs = session.run(None, self._feeds)
        for info, array in zip(session.get_outputs(), outputs, strict=True):
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_output(info.name, value)
        return {
            "run": lambda: session.run(None, self._feeds),
            "run_with_iobinding": lambda: session.run_with_iobinding(binding),
        }

    def outputs(self) -> Sequence[np.ndarray]:
        outputs: Sequence[np.ndarray] = self._session.run(None, self._feeds)
        return outputs

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        return times_us(self._call, samples, sample_s)


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
