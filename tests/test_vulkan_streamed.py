"""The wavefront whose weights are read in every step: a workgroup a layer, on lavapipe.

Hazards: steps of a chunk written out and in a loop; T = 1, below a chunk, one above it; units that
fill no four; fours of rows that are no aligned fours; more lanes than threads, and fewer; layers
pruned to nothing; batch entries; states given; which kernel a known T gets.
"""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from rtmobile_iree.passes.weights import walk
from test_vulkan_resident import (
    BSP,
    FEW_ROWS,
    TOLERANCE,
    check,
    check_stack,
    check_values,
    flat,
    lowered,
    program,
)
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.frontend import import_module
from rtmobile_iree.pipeline import layout_pipeline, vulkan_pipeline
from rtmobile_iree.targets import get_target

CHUNK = 3
STEPS = (1, 2, CHUNK, CHUNK + 1, 30)


def streamed(chunk=CHUNK, **choices):
    return LowerVulkanPass(kernel="wavefront", wave_chunk=chunk, streamed_steps=1, **choices)


# kind, hidden, layers, batch, pruning, chunk, choices
CASES = [
    ("gru", 36, 2, 2, BSP, CHUNK, {"step_threads": 8, "time_chunk": 2}),
    ("gru", 37, 2, 1, None, CHUNK, {"step_threads": 8, "step_quads": 4, "word_bits": 64}),
    ("gru", 1, 3, 1, None, CHUNK, {}),
    ("lstm", 40, 2, 2, FEW_ROWS, 8, {"step_threads": 16, "time_chunk": 5}),
    ("rnn_tanh", 47, 3, 1, BSP, 1, {"step_threads": 1, "step_unroll": 3}),
    ("gru", 48, 2, 1, {"column_rate": 3, "row_stripes": 9, "col_blocks": 2}, 7, {"step_quads": 4}),
]


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("kind", "hidden", "layers", "batch", "pruning", "chunk", "choices"), CASES
)
def test_outputs_are_pytorchs(vulkan, kind, hidden, layers, batch, pruning, chunk, choices):
    check_stack(kind, hidden, layers, batch, pruning, streamed(chunk, **choices), STEPS)


@pytest.mark.vulkan
@pytest.mark.parametrize("names", [["weight"], ["weight_hh_l0", "weight_ih_l1"]])
def test_what_is_pruned_to_nothing_is_still_a_layer(vulkan, names):
    torch.manual_seed(0)
    model = nn.GRU(5, 8, 2).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if any(each in name for each in names):
                values.zero_()
    check(lowered(model, torch.randn(4, 1, 5), streamed()), model, 1, 5, (1, CHUNK + 1))


@pytest.mark.vulkan
@pytest.mark.parametrize(("values", "bits"), [("f16", 0), ("bf16", 64), ("i8", 64), ("i4", 32)])
def test_narrow_values_are_those_of_the_cpu(vulkan, values, bits):
    torch.manual_seed(0)
    model = nn.GRU(11, 24, 2).eval()
    rt.prune(model, **BSP)
    check_values(model, streamed(word_bits=bits, step_quads=8), values, (1, 7))


@pytest.mark.vulkan
def test_states_go_in_and_out(vulkan):
    torch.manual_seed(0)
    model, x, h, c = nn.LSTM(7, 12, 3).eval(), torch.randn(8, 2, 7), *torch.randn(2, 3, 2, 12)
    module = import_module(model, (x, (h, c)), dynamic_steps=True).module
    run_passes(module, (*layout_pipeline(), streamed()))
    made = program(module)([x.numpy(), h.numpy(), c.numpy()])
    with torch.no_grad():
        expected = flat(model(x, (h, c)))
    for mine, theirs in zip(flat(made), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("steps", "dispatches"), [(1, 2), (11, 16), (12, 6), (30, 12), (None, 0)])
def test_all_but_few_steps_choose_it(steps, dispatches):
    """Too large for registers; a chunk of six steps of all layers is two dispatches."""
    model, x = nn.GRU(5, 420, 2).eval(), torch.randn(steps or 30, 1, 5)
    module = import_module(model, (x,), dynamic_steps=steps is None).module
    run_passes(module, (*layout_pipeline(), *vulkan_pipeline(get_target("lavapipe"))))
    ops = [op for op in walk(module.operation) if op.name == "flow.dispatch"]
    kernels = {str(op.attributes["entry_points"]).rsplit("_")[-1] for op in ops}
    own = {"step"} if steps is not None and steps < 12 else {"scan", "project"}
    assert {each for each in own if any(each in kernel for kernel in kernels)} == own
    if steps is not None:
        assert len(ops) == dispatches <= 2 * steps


@pytest.mark.parametrize(
    ("model", "schedule"),
    [
        (nn.GRU(5, 9), streamed()),
        (nn.LSTM(5, 9, 2, proj_size=4), streamed()),
        (nn.GRU(5, 9, 2), streamed(is_half=True)),
        (nn.GRU(5, 1025, 2), streamed(shared_bytes=16 << 10)),
    ],
)
def test_what_is_no_wavefront_is_refused(model, schedule):
    values = "f16" if schedule.is_half else "f32"
    with pytest.raises(rt.CompileError, match="no wavefront: that takes two layers or more"):
        lowered(model.eval(), torch.randn(2, 1, 5), schedule, values)
