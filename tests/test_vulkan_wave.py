"""The wavefront: a workgroup a layer, a chunk of steps a dispatch, inputs projected chunk by chunk.

Hazards: T = 1, below a chunk, one above it, chunks that do not divide T; layers without a chunk in
a dispatch; batch entries; layers pruned to nothing, or of their W_ih or W_hh alone; rows of W_ih
whose sums have no other term; states of other rows; weights that find no registers.
"""

import pytest
import torch
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from test_vulkan_resident import (
    ALL,
    BSP,
    FEW_ROWS,
    HALF_TOLERANCE,
    check,
    check_stack,
    check_values,
    lowered,
)
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.gpu_cost.host import count_runs
from rtmobile_iree.gpu_cost.models import ADRENO_640

CHUNK = 3
STEPS = (1, 2, CHUNK, CHUNK + 1, 30)


def wavefront(registers=ALL, threads=64, **choices):
    return LowerVulkanPass(
        kernel="wavefront",
        registers=registers,
        resident_threads=threads,
        wave_chunk=CHUNK,
        **choices,
    )


# kind, hidden, layers, batch, pruning, registers, threads
CASES = [
    ("gru", 36, 2, 2, BSP, ALL, 32),
    ("gru", 13, 3, 1, None, 1, 64),
    ("lstm", 17, 2, 1, FEW_ROWS, 128 * 40, 32),
    ("rnn_tanh", 45, 3, 2, BSP, ALL, 64),
]


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("kind", "hidden", "layers", "batch", "pruning", "registers", "threads"), CASES
)
def test_outputs_are_pytorchs(vulkan, kind, hidden, layers, batch, pruning, registers, threads):
    schedule = wavefront(registers, threads, time_chunk=2)
    check_stack(kind, hidden, layers, batch, pruning, schedule, STEPS)


@pytest.mark.vulkan
@pytest.mark.parametrize("names", [["weight"], ["weight_hh_l0", "weight_ih_l1"]])
def test_what_is_pruned_to_nothing_is_still_a_layer(vulkan, names):
    torch.manual_seed(0)
    model = nn.GRU(5, 9, 2).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if any(each in name for each in names):
                values.zero_()
    module = lowered(model, torch.randn(4, 1, 5), wavefront())
    check(module, model, 1, 5, (1, CHUNK + 1))


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("values", "registers", "blocks"), [("f16", ALL, False), ("i8", 1, False), ("i4", ALL, True)]
)
def test_narrow_values_are_those_of_the_cpu(vulkan, values, registers, blocks):
    torch.manual_seed(0)
    model = nn.GRU(11, 23, 2).eval()
    rt.prune(model, **BSP)
    choices = {"time_chunk": 3, "word_bits": 32, "step_blocks": blocks}
    check_values(model, wavefront(registers, **choices), values, (1, 7))


# layer, pruning, values, registers
HALVES = [
    (nn.GRU(7, 13, 2), BSP, "i4", 128 * 60),
    (nn.LSTM(5, 13, 2), FEW_ROWS, "i8", 1),
    (nn.GRU(5, 9, 2), BSP, "f16", ALL),
]


@pytest.mark.vulkan
@pytest.mark.parametrize(("layer", "pruning", "values", "registers"), HALVES)
def test_products_of_halves_are_those_of_f32(vulkan, layer, pruning, values, registers):
    torch.manual_seed(0)
    layer.reset_parameters()  # those it was made with are chance's
    rt.prune(layer.eval(), **pruning)
    schedule = wavefront(registers, threads=32, time_chunk=CHUNK, is_half=True)
    check_values(layer, schedule, values, (1, 7), HALF_TOLERANCE)


@pytest.mark.parametrize(("inputs", "layers", "fewer"), [(300, 2, 0), (2, 2, 1), (5, 3, 1)])
def test_a_chunk_of_all_layers_is_two_dispatches(inputs, layers, fewer):
    """But the first, where the first layer keeps the weights of its few inputs."""
    module = lowered(nn.GRU(inputs, 9, layers).eval(), torch.randn(4, 1, inputs), wavefront())
    for steps in STEPS:
        runs, _ = count_runs(module, steps, ADRENO_640.latencies)
        turns = -(-steps // CHUNK) + layers - 1
        assert sum(run.times for run in runs) == 2 * turns - fewer


def test_each_layer_has_a_workgroup_of_its_own():
    """In the estimate all work is counted, and time that of the slower processor."""
    module = lowered(nn.GRU(5, 9, 2).eval(), torch.randn(4, 1, 5), wavefront())
    runs, _ = count_runs(module, 2 * CHUNK, ADRENO_640.latencies)
    scans = [run for run in runs if run.name.endswith("scan")]
    own = [[len(side.phases) for side in run.sides] for run in scans]
    assert [[count > 1 for count in each] for each in own] == [
        [True, False], [True, True], [False, True]
    ]  # fmt: skip
    assert [len(run.others(run.sides[0])) for run in scans] == [0, 1, 1]


@pytest.mark.parametrize(
    ("model", "schedule", "values"),
    [
        (nn.GRU(5, 9), wavefront(), "f32"),
        (nn.GRU(5, 9, 2), wavefront(registers=0), "f32"),
        (nn.LSTM(5, 9, 2, proj_size=4), wavefront(), "f32"),
        (nn.GRU(5, 200, 2), wavefront(threads=32), "f32"),
    ],
)
def test_what_is_no_wavefront_is_refused(model, schedule, values):
    with pytest.raises(rt.CompileError, match="no wavefront: that takes two layers or more"):
        lowered(model.eval(), torch.randn(2, 1, 5), schedule, values)
