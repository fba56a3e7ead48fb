"""Stock IREE with the pruned weights packed, and gathers; see `iree_gather`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import TRIAL_ROUNDS, TRIAL_SAMPLE_S
from rtmobile_iree.bench.peers.gru_task import gru_task
from rtmobile_iree.bench.peers.iree_gather import ORDERS, gather_module
from rtmobile_iree.bench.peers.iree_peer import DENSE_FLAGS, CompiledModule, run_tool


class IreeGatherPeer:
    """The faster order of the weights in memory.

    Args:
        flags: for iree-compile.
    """

    def __init__(self, task: Task, flags: Sequence[str] = DENSE_FLAGS) -> None:
        gru, (x, _) = gru_task(task), task.input_arrays()
        modules = {}
        for order in ORDERS:
            source = Path(task.folder) / f"{order}.mlir"
            source.write_text(gather_module(gru, x.shape, order))
            vmfb = source.with_suffix(".vmfb")
            run_tool("iree-compile", [str(source), *flags, "-o", str(vmfb)])
            modules[order] = CompiledModule(vmfb, task)
        times = {o: min(m.times_us(TRIAL_ROUNDS, TRIAL_SAMPLE_S)) for o, m in modules.items()}
        best = min(times, key=times.__getitem__)
        self._module = modules[best]
        self.description = f"O3, linalg.generic with tensor.extract, weights {best}"
        self.tried = ", ".join(f"weights {order} {time:.0f} us" for order, time in times.items())

    def outputs(self) -> Sequence[np.ndarray]:
        return self._module.outputs()

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        return self._module.times_us(samples, sample_s)
