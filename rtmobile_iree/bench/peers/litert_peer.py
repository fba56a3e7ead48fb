"""LiteRT (TensorFlow Lite) on the CPU: one step as a graph, called once a step.

Dense weights run on XNNPACK. Sparse ones run on LiteRT's own kernels, which use one thread.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import GruTask, gru_task
from rtmobile_iree.bench.peers.tflite_cell import cell, padded_inputs

XNNPACK = OpResolverType.BUILTIN
OWN_KERNELS = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
DENSE_RESOLVERS = {"XNNPACK": XNNPACK}
# sparse products run on LiteRT's own kernels in both
SPARSE_RESOLVERS = {"sparse kernels, else XNNPACK": XNNPACK, "built-in kernels": OWN_KERNELS}


class LiteRtPeer(FastestCall):
    """Weights in f32."""

    dtype: type[np.generic] = np.float32
    is_sparse = False
    resolvers: Mapping[str, OpResolverType] = DENSE_RESOLVERS

    def __init__(self, task: Task) -> None:
        gru = gru_task(task)
        model = cell(gru.model, self.dtype, self.is_sparse)
        columns = padded_inputs(gru.model, self.dtype, self.is_sparse)
        frames = np.pad(gru.frames, ((0, 0), (0, columns - gru.frames.shape[1])))
        super().__init__(
            [
                self._steps(
                    name,
                    Interpreter(
                        model_content=model,
                        num_threads=task.threads,
                        experimental_op_resolver_type=resolver,
                    ),
                    gru,
                    frames,
                )
                for name, resolver in self.resolvers.items()
            ]
        )

    def _steps(
        self, name: str, interpreter: Interpreter, gru: GruTask, frames: np.ndarray
    ) -> Configuration:
        interpreter.allocate_tensors()
        x, *states = [details["index"] for details in interpreter.get_input_details()]
        y, *last = [details["index"] for details in interpreter.get_output_details()]
        rows = [frame[None] for frame in frames]

        def run() -> list[np.ndarray]:
            values = list(gru.state[:, None])
            ys = []
            for row in rows:
                interpreter.set_tensor(x, row)
                for index, value in zip(states, values, strict=True):
                    interpreter.set_tensor(index, value)
                interpreter.invoke()
                values = [interpreter.get_tensor(index) for index in last]
                ys.append(interpreter.get_tensor(y))
            return gru.shaped(np.array(ys), np.array(values))

        return Configuration(f"{name}, a call a step", run, run)


class LiteRtInt8Peer(LiteRtPeer):
    """Weights in int8 with a scale a row, activations quantized as they come."""

    dtype = np.int8


class LiteRtSparsePeer(LiteRtPeer):
    """Weights in f32, pruned to 8x8 blocks, stored in blocks of 1x4."""

    is_sparse = True
    resolvers = SPARSE_RESOLVERS


class LiteRtSparseInt8Peer(LiteRtPeer):
    """Weights in int8, pruned to 16x16 blocks, stored in blocks of 1x16."""

    dtype = np.int8
    is_sparse = True
    resolvers = SPARSE_RESOLVERS
