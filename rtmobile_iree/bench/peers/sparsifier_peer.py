"""MLIR's sparsifier, as the torch-mlir wheel ships it, run by the wheel's ExecutionEngine."""

from __future__ import annotations

import ctypes

import numpy as np
from torch_mlir import ir
from torch_mlir.execution_engine import ExecutionEngine
from torch_mlir.passmanager import PassManager
from torch_mlir.runtime import get_ranked_memref_descriptor

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import GruTask, gru_task
from rtmobile_iree.bench.peers.sparsifier_buffers import make_buffers
from rtmobile_iree.bench.peers.sparsifier_module import sparsifier_module
from rtmobile_iree.targets import cpu_features

# rows of a strip; the default pruning makes strips of 64 of the evaluation model's matrices
HEIGHTS = (64, 16, 1)
PIPELINE = (
    "builtin.module(sparsifier{{"
    "enable-runtime-library=false vl={lanes} reassociate-fp-reductions=true "
    "enable-index-optimizations=true}})"
)
OPT_LEVEL = 3


class SparsifierPeer(FastestCall):
    """The fastest of strips of several heights."""

    def __init__(self, task: Task) -> None:
        gru = gru_task(task)
        rows = 3 * gru.model.gru.hidden_size
        super().__init__([_compiled(gru, height) for height in HEIGHTS if rows % height == 0])


def _compiled(gru: GruTask, height: int) -> Configuration:
    buffers = make_buffers(gru, height)
    lanes = 16 if "avx512f" in cpu_features() else 8
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse(sparsifier_module(gru, height))
        PassManager.parse(PIPELINE.format(lanes=lanes)).run(module.operation)
        engine = ExecutionEngine(module, OPT_LEVEL)
    function = engine.lookup("main")
    descriptors = [get_ranked_memref_descriptor(array) for array in buffers.arguments]
    pointers = [ctypes.pointer(ctypes.pointer(descriptor)) for descriptor in descriptors]
    packed = (ctypes.c_void_p * len(pointers))(*[ctypes.cast(p, ctypes.c_void_p) for p in pointers])
    # the compiled code reads all of these by address
    _ALIVE.append((engine, buffers, pointers))

    def outputs() -> list[np.ndarray]:
        function(packed)
        return gru.shaped(buffers.y.copy(), np.array(buffers.states))

    name = f"strips of {height} rows" if height > 1 else "compressed rows"
    return Configuration(name, lambda: function(packed), outputs)


# what must live as long as this process
_ALIVE: list[object] = []
