"""Every schedule computes the same: vector widths of other targets, any chunk, any tile."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
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
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_pytorchs_under_any_schedule(schedule, batch):
    torch.manual_seed(0)
    model = Model().eval()
    state = torch.rand(2, batch, 37) - 0.5
    imported = import_module(model, (torch.zeros(4, batch, 9), state), dynamic_steps=True)
    run_passes(imported.module, [*layout_pipeline(), schedule])
    text = imported.module.operation.get_asm(assume_verified=True)
    module = Module(compile_text(text, host_target()))
    for steps in STEPS:
        x = torch.randn(steps, batch, 9)
        with torch.no_grad():
            expected = model(x, state)
        for mine, theirs in zip(module([x.numpy(), state.numpy()]), expected, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-5)
