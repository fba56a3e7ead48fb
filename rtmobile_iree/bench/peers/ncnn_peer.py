"""ncnn on the CPU: its GRU layers, the files that pnnx would write made from the weights directly.

Source: ncnn's param and model file structure; its GRU keeps the biases of r and z added up, and
those of n apart.
"""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np

from rtmobile_iree.bench.peers import Task
from rtmobile_iree.bench.peers.called import Configuration, FastestCall
from rtmobile_iree.bench.peers.gru_task import GruModel, gru_task

MAGIC = 7767517
# before weights: stored as f32
F32_TAG = np.zeros(1, np.uint32)


class NcnnPeer(FastestCall):
    """f32 storage and arithmetic."""

    def __init__(self, task: Task) -> None:
        gru = gru_task(task)
        net = _load(gru.model, Path(task.folder), task.threads)
        layers = range(gru.model.gru.num_layers)
        frames, states = ncnn.Mat(gru.frames), [ncnn.Mat(state[None]) for state in gru.state]
        results = ["y", *(f"last_{layer}" for layer in layers)]

        def run() -> list[ncnn.Mat]:
            extractor = net.create_extractor()
            extractor.input("x", frames)
            for layer in layers:
                extractor.input(f"state_{layer}", states[layer])
            return [extractor.extract(name)[1] for name in results]

        def outputs() -> list[np.ndarray]:
            y, *last = [np.array(mat) for mat in run()]
            return gru.shaped(y, np.array(last))

        super().__init__([Configuration("GRU layers", run, outputs)])


def _load(model: GruModel, folder: Path, threads: int) -> ncnn.Net:
    param, weights = folder / "gru.param", folder / "gru.bin"
    param.write_text(_param(model))
    weights.write_bytes(_weights(model))
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for kind in ("fp16", "bf16"):
        for use in ("packed", "storage", "arithmetic"):
            if hasattr(net.opt, name := f"use_{kind}_{use}"):
                setattr(net.opt, name, False)
    for load, path in ((net.load_param, param), (net.load_model, weights)):
        if load(str(path)):
            raise RuntimeError(f"ncnn does not load {path.name}")
    return net


def _param(model: GruModel) -> str:
    """The graph: x [T, I] and state_l [1, H] -> y [T, C] and last_l [1, H]."""
    gru, linear = model.gru, model.linear()
    layers = range(gru.num_layers)
    lines = ["Input x 0 1 x", *(f"Input state_{i} 0 1 state_{i}" for i in layers)]
    value = "x"
    for i, (w_ih, _, _, _) in enumerate(model.layers()):
        result = "y" if linear is None and i == layers[-1] else f"y_{i}"
        fields = f"0={gru.hidden_size} 1={w_ih.size} 2=0"
        lines.append(f"GRU gru_{i} 2 2 {value} state_{i} {result} last_{i} {fields}")
        value = result
    if linear is not None:
        weight = linear[0]
        lines.append(f"InnerProduct fc 1 1 {value} y 0={len(weight)} 1=1 2={weight.size}")
    blobs = 1 + 3 * len(layers) + (linear is not None)
    return "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines]) + "\n"


def _weights(model: GruModel) -> bytes:
    parts: list[np.ndarray] = []
    for w_ih, w_hh, b_ih, b_hh in model.layers():
        hidden = w_hh.shape[1]
        both = b_ih[: 2 * hidden] + b_hh[: 2 * hidden]
        bias = np.concatenate([both, b_ih[2 * hidden :], b_hh[2 * hidden :]])
        for array in (w_ih, bias, w_hh):
            parts += [F32_TAG, array]
    if linear := model.linear():
        parts += [F32_TAG, *linear]
    return b"".join(part.tobytes() for part in parts)
