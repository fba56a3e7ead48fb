"""Every schedule computes the same: vector widths of other targets, any chunk, any tile, and any
number of workers, shared out either way."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.kernels import sharing
from rtmobile_iree.passes.kernels.sharing import Sharing, plan_sharing
from rtmobile_iree.passes.lower import LowerPass
from torch import nn

from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import Module
from rtmobile_iree.targets import host_target

STEPS = (1, 2, 5, 18)


class Model(nn.Module):
    """Two GRU layers, the second one mostly constant gates, an LSTM with a projection, and a ragged
    output layer."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(9, 37, 2)
        self.lstm = nn.LSTM(37, 19, proj_size=11)
        self.fc = nn.Linear(11, 13)
        rng = np.random.default_rng(0)
        with torch.no_grad():
            for name, weight in (*self.gru.named_parameters(), *self.lstm.named_parameters()):
                if "weight" not in name:
                    continue
                for rows in np.array_split(np.arange(weight.shape[0]), 3):
                    weight[np.ix_(rows, np.flatnonzero(rng.random(weight.shape[1]) < 0.7))] = 0
                dead = rng.random(weight.shape[0]) < (0.3 if name.endswith("l0") else 0.9)
                weight[np.flatnonzero(dead)] = 0

    def forward(self, x, h):
        y, h = self.gru(x, h)
        y, (_, c) = self.lstm(y)
        return self.fc(y), h, c


@pytest.mark.parametrize(
    "schedule",
    [
        LowerPass(vector_width=4, accumulators=16, time_chunk=1),
        LowerPass(vector_width=4, accumulators=8, vector_tile=2, time_chunk=3),
        LowerPass(vector_width=8, accumulators=8, time_chunk=16),
        LowerPass(vector_width=16, accumulators=16, vector_tile=8, time_chunk=4),
        LowerPass(vector_width=1, accumulators=1, vector_tile=1, time_chunk=7),
        LowerPass(vector_width=8, accumulators=8, vector_tile=2, time_chunk=3, cache_bytes=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_pytorchs_under_any_schedule(schedule, batch):
    model, state, vmfb = compiled(schedule, batch)
    module = Module(vmfb)
    for steps in STEPS:
        check(module, model, state, steps)


@pytest.mark.parametrize(
    ("way", "batch", "workers"),
    [("wavefront", 1, 3), ("wavefront", 3, 2), ("stripes", 1, 2), ("stripes", 3, 3)],
)
def test_outputs_are_pytorchs_on_any_number_of_workers(way, batch, workers, monkeypatch):
    """More workers than cores among them; none may wait for one that never runs."""
    monkeypatch.setattr(sharing, "WAKE_NS", 0)
    monkeypatch.setattr(sharing, "MEET_NS", 1e9 if way == "wavefront" else -1e9)
    schedule = LowerPass(time_chunk=3, workers=workers)
    model, state, vmfb = compiled(schedule, batch)
    for driver in ("local-sync", "local-task"):
        module = Module(vmfb, driver)
        for steps in (*STEPS, *[40] * 10):
            check(module, model, state, steps)


def compiled(schedule, batch):
    """The model, a state, and the .vmfb."""
    torch.manual_seed(0)
    model = Model().eval()
    state = torch.rand(2, batch, 37) - 0.5
    imported = import_module(model, (torch.zeros(4, batch, 9), state), dynamic_steps=True)
    run_passes(imported.module, [*layout_pipeline(), schedule])
    text = imported.module.operation.get_asm(assume_verified=True)
    return model, state, compile_text(text, host_target())


def check(module, model, state, steps):
    x = torch.randn(steps, state.shape[1], 9)
    with torch.no_grad():
        expected = model(x, state)
    for mine, theirs in zip(module([x.numpy(), state.numpy()]), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("bytes_a_step", "workers", "expected"),
    [
        ([1e6, 1e6], 1, Sharing()),
        ([1e6], 2, Sharing()),  # 5 us saved, and 5 us to meet
        ([4e6], 2, Sharing(2, stripes=True, least_steps=7)),  # 20 us saved, 5 us to meet
        ([1e6, 1e6], 2, Sharing(2, stripes=False, least_steps=11)),  # 10 us saved a step
        ([1e6, 1e6, 1e6], 2, Sharing(2, stripes=False, least_steps=7)),
        ([1e6, 1e6], 8, Sharing(2, stripes=False, least_steps=11)),  # two layers occupy two
        ([1e6, 0.0], 2, Sharing()),  # nothing to take from the first
        ([1e2, 1e2], 2, Sharing(2, stripes=False, least_steps=100_001)),
    ],
)
def test_work_is_shared_where_that_is_faster(bytes_a_step, workers, expected):
    assert plan_sharing(bytes_a_step, workers) == expected
