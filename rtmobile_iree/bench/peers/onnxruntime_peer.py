"""ONNX Runtime on the CPU, in the fastest of its forms.

Both graphs of `onnx_graph`, each called plainly and through an I/O binding, are timed for a moment
when the peer starts; the fastest of the four is the one that competes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
from torch.fx import GraphModule

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.onnx_exported import exported_gru_model
from rtmobile_iree.bench.peers.onnx_graph import FORMS, GruModel, build, gru_model
from rtmobile_iree.bench.peers.torch_peer import task_module
from rtmobile_iree.bench.timing import times_us
from rtmobile_iree.errors import InputError

TRIAL_SAMPLES, TRIAL_SAMPLE_S = 3, 0.1


class OnnxRuntimePeer:
    """The faster of two graphs, called the faster of two ways."""

    def __init__(self, task: Task) -> None:
        model = _model(task)
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


def _model(task: Task) -> GruModel:
    """The GRU and the linear layer of the task's module.

    Raises:
        InputError: the module is something else.
    """
    inputs, outputs = task.input_arrays(), task.expected_arrays()
    if (len(inputs), len(outputs)) != (2, 2):
        raise InputError(
            f"its graph takes a chunk and the state and returns both; this model has {len(inputs)} "
            f"inputs and {len(outputs)} outputs"
        )
    if inputs[1].ndim != 3 or inputs[1].shape[1] != 1:
        raise InputError(f"its graph is for batch 1, not for a state {list(inputs[1].shape)}")
    module = task_module(task)
    return exported_gru_model(module) if isinstance(module, GraphModule) else gru_model(module)


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
