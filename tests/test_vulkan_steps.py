"""Models on Vulkan by one dispatch a step, run here: PyTorch's numbers, and how many dispatches.

Hazards: groups of units that are not full, layers whose last step comes later than others', states
that alternate between two places (T odd and even), rows of a layer in two groups, batch entries.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from rtmobile_iree.passes.vulkan.lanes import fitting_quads
from rtmobile_iree.passes.vulkan.step_loop import MOST_IN_LINE
from rtmobile_iree.passes.vulkan.values import fitting_words
from rtmobile_iree.passes.weights import walk
from test_vulkan_resident import check_values
from torch import nn
from torch_layers import Outputs, recurrent_layers

import rtmobile_iree as rt
from rtmobile_iree.bspc import pack
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import VULKAN, Module
from rtmobile_iree.targets import get_target

pytestmark = [pytest.mark.vulkan, pytest.mark.filterwarnings("ignore:LSTM with projections")]

TOLERANCE = 1e-5
BSP = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}
FEW_ROWS = {"column_rate": 2, "row_rate": 12, "row_stripes": 3, "col_blocks": 2}
LAYERS = recurrent_layers(proj_size=6)
# kind, inputs, hidden, layers, both directions, batch, pruning, target
CASES = [
    ("gru", 1, 1, 1, False, 1, None, "lavapipe"),
    ("gru", 7, 129, 1, False, 2, BSP, "adreno-640"),
    ("gru", 5, 64, 3, False, 1, "zeros", "adreno-640"),
    ("gru", 5, 65, 2, False, 3, None, "vulkan"),
    ("gru", 5, 17, 2, False, 2, FEW_ROWS, "mali-valhall"),
    ("lstm", 5, 67, 1, True, 3, BSP, "lavapipe"),
    ("lstmp", 5, 17, 3, False, 2, BSP, "adreno-7xx"),
    ("lstmp", 5, 70, 1, True, 1, "zeros", "vulkan"),
    ("rnn_tanh", 5, 63, 2, False, 2, BSP, "lavapipe"),
    ("rnn_relu", 130, 17, 2, False, 1, None, "adreno-640"),
]


def flat(results):
    """Arrays or tensors of nested tuples, one after another."""
    if not isinstance(results, tuple | list):
        return [results]
    return [each for part in results for each in flat(part)]


def check(program, model, x):
    with torch.no_grad():
        expected = flat(model(x))
    for mine, theirs in zip(flat(program([x.numpy()])), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(mine), theirs, rtol=0, atol=TOLERANCE)


def pruned(model, pruning):
    """The model in eval mode; `pruning`: "zeros", arguments of `rt.prune`, or None."""
    if pruning == "zeros":
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "weight" in name:
                    parameter.zero_()
    elif pruning is not None:
        rt.prune(model, **pruning)
    return model.eval()


@pytest.mark.parametrize(
    ("kind", "inputs", "hidden", "layers", "both", "batch", "pruning", "target"), CASES
)
def test_layers_are_pytorchs(vulkan, kind, inputs, hidden, layers, both, batch, pruning, target):
    torch.manual_seed(0)
    model = pruned(LAYERS[kind](inputs, hidden, layers, bidirectional=both), pruning)
    x = torch.randn(4, batch, inputs)
    program = rt.compile(model, x, target, gpu_kernel="per-step").module
    for steps in (1, 2, 30):
        check(program, model, torch.randn(steps, batch, inputs))


def lowered(model, x, schedule, dynamic_steps=True):
    module = import_module(model, (x,), dynamic_steps=dynamic_steps).module
    run_passes(module, (*layout_pipeline(), schedule))
    return module


@pytest.mark.parametrize(
    "schedule",
    [
        LowerVulkanPass(kernel="per-step", units=5, step_threads=1, step_unroll=1, vector_tile=1),
        LowerVulkanPass(kernel="per-step", units=1, step_threads=8, step_quads=4, time_chunk=5),
        LowerVulkanPass(
            kernel="per-step", units=100, step_threads=128, step_unroll=3, time_chunk=2
        ),
        LowerVulkanPass(kernel="per-step", units=24, step_quads=4, word_bits=64, time_chunk=4),
        LowerVulkanPass(kernel="per-step", units=6, step_quads=4, word_bits=32, time_chunk=9),
        LowerVulkanPass(kernel="per-step", units=20, step_blocks=True, step_quads=1, time_chunk=3),
        LowerVulkanPass(
            kernel="per-step", step_blocks=True, step_threads=128, time_chunk=2, chunk_bytes=1
        ),
        LowerVulkanPass(kernel="persistent", threads=32, unroll=7, quads=1),
    ],
    ids=str,
)
def test_outputs_are_pytorchs_under_any_schedule(vulkan, schedule):
    torch.manual_seed(0)
    model = nn.Sequential(Outputs(nn.GRU(11, 48, 2)), nn.Linear(48, 9)).eval()
    rt.prune(model, layers=["*weight*"], **{**BSP, "row_rate": 1})
    text = str(lowered(model, torch.randn(4, 2, 11), schedule).operation.get_asm())
    program = Module(compile_text(text, get_target("lavapipe")), VULKAN)
    for steps in (1, 5, 30):
        check(program, model, torch.randn(steps, 2, 11))


@pytest.mark.parametrize(
    ("groups", "blocks", "values"),
    [(1, False, "f32"), (2, True, "f32"), (2, False, "i8"), (5, True, "i8")],
)
def test_a_projection_takes_as_many_groups_of_units_at_once_as_fit(vulkan, groups, blocks, values):
    torch.manual_seed(0)
    model = pruned(LAYERS["lstmp"](7, 23, 2), {**BSP, "row_rate": 1})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "weight_hr" in name:
                parameter[:, ::3] = 0  # each five units lack others
    sums, outputs, units = 2 * 4 * 4 * 5, 4 * 6, 4 * 5
    schedule = LowerVulkanPass(
        kernel="per-step", units=5, step_threads=8, time_chunk=2, step_blocks=blocks,
        shared_bytes=sums + outputs + groups * units,
    )  # fmt: skip
    check_values(model, schedule, values, (1, 2, 7))


def test_a_projection_of_units_that_no_workgroup_can_keep(vulkan):
    model, x = pruned(LAYERS["lstmp"](5, 4100), None), torch.randn(3, 1, 5)
    rt.prune(model, column_rate=4, row_stripes=6, col_blocks=1)
    check(rt.compile(model, x, "vulkan").module, model, x)


@pytest.mark.parametrize(("values", "quads"), [("f16", 4), ("bf16", 4), ("i8", 8)])
def test_narrow_weights_are_f32_of_their_values_in_words_of_any_size(vulkan, values, quads):
    """The same numbers from four weights a load as from words, whatever a chunk's last part is."""
    torch.manual_seed(0)
    model = Outputs(nn.GRU(11, 64, 2)).eval()
    rt.prune(model, layers=["*weight*"], column_rate=3, row_stripes=3, col_blocks=2)
    x = torch.randn(7, 2, 11)
    found = []
    for bits in (0, 32, 64):
        module = import_module(model, (x,), dynamic_steps=True).module
        step = LowerVulkanPass(kernel="per-step", step_quads=quads, word_bits=bits, time_chunk=3)
        run_passes(module, (*layout_pipeline(Options(values)), step))
        text = str(module.operation.get_asm())
        program = Module(compile_text(text, get_target("lavapipe")), VULKAN)
        found.append([flat(program([x[:steps].numpy()]))[0] for steps in (1, 3, 4, 7)])
    for others in found[1:]:
        for mine, theirs in zip(found[0], others, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["gru", "lstmp"])
def test_dispatches_are_no_more_than_layers_times_steps(kind, layers, steps):
    model, x = LAYERS[kind](3, 8, layers).eval(), torch.randn(steps, 1, 3)
    for chunk in (1, 4, 30):
        schedule = LowerVulkanPass(kernel="per-step", time_chunk=chunk)
        module = lowered(model, x, schedule, dynamic_steps=False)
        expected = steps + (layers - 1) * min(chunk, steps)
        assert dispatches(module) == expected <= layers * steps
    module = lowered(model, x, LowerVulkanPass(), dynamic_steps=False)
    assert dispatches(module) == 1


@pytest.mark.parametrize(("steps", "is_loop"), [(1, False), (30, False), (MOST_IN_LINE + 1, True)])
def test_so_many_known_steps_have_no_loop(steps, is_loop):
    model, x = nn.GRU(3, 8).eval(), torch.randn(steps, 1, 3)
    module = lowered(model, x, LowerVulkanPass(kernel="per-step"), dynamic_steps=False)
    called = [op for op in walk(module.operation) if op.name == "flow.dispatch"]
    assert any(op.parent.name == "scf.for" for op in called) == is_loop
    assert dispatches(module) == steps


@pytest.mark.parametrize("kind", ["gru", "lstmp"])
def test_known_steps(vulkan, kind):
    model = pruned(LAYERS[kind](5, 17, 2), BSP)
    for steps in (1, 7):
        x = torch.randn(steps, 2, 5)
        program = rt.compile(model, x, "lavapipe", dynamic_steps=False, gpu_kernel="per-step")
        check(program.module, model, x)


def dispatches(module):
    """How many a call makes; its loops have constant bounds."""
    from torch_mlir.passmanager import PassManager

    with module.context:
        PassManager.parse("builtin.module(canonicalize)").run(module.operation)
    return sum(runs(op) for op in walk(module.operation) if op.name == "flow.dispatch")


def runs(op):
    """How often the loops around an op run it."""
    times, parent = 1, op.parent
    while parent is not None:
        if parent.name == "scf.for":
            low, high, step = (bound.owner.attributes["value"].value for bound in
                               list(parent.operands)[:3])  # fmt: skip
            times *= len(range(low, high, step))
        parent = parent.parent
    return times


def test_a_model_too_large_for_shared_memory_runs_step_by_step(vulkan):
    model, x = pruned(nn.GRU(5, 900, 2), None), torch.randn(3, 1, 5)
    rt.prune(model, column_rate=16, row_rate=4, row_stripes=30, col_blocks=4)
    with pytest.raises(rt.CompileError, match=r"900 units need 21,600 bytes .* has 16,384; use"):
        rt.compile(model, x, "vulkan", gpu_kernel="persistent")
    check(rt.compile(model, x, "vulkan").module, model, x)


def test_a_large_model_is_given_a_dispatch_a_step_where_one_core_would_run_it(vulkan):
    model, x = pruned(nn.GRU(5, 48), None), torch.randn(3, 1, 5)
    for most, kernels in ((48 * 3 * (5 + 48), 1), (48 * 3 * (5 + 48) - 1, 3)):
        module = lowered(model, x, LowerVulkanPass(scan_weights=most), dynamic_steps=False)
        assert dispatches(module) == kernels


@pytest.mark.parametrize(
    ("kind", "rows", "most", "bits"),
    [
        ("f32", 4, 64, 32),
        ("f32", 8, 64, 64),
        ("bf16", 8, 64, 32),
        ("i8", 16, 64, 32),
        ("i8", 8, 64, 0),
    ],
)
def test_words_are_as_wide_as_a_lane_has_rows(kind, rows, most, bits):
    assert fitting_words(kind, rows, most) == bits
    assert fitting_words(kind, rows, 0) == 0


@pytest.mark.parametrize(("rows", "quads"), [(0, 4), (3, 1), (20, 1), (40, 2), (64, 4)])
def test_lanes_have_more_rows_where_few_are_padding(rows, quads):
    assert fitting_quads([pack(np.ones((rows, 8), np.float32))], 4) == quads


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"threads": 100}, "threads = 100 is not a power of two"),
        ({"step_threads": 512}, "step_threads = 512; the target's workgroups have at most 256"),
        ({"unroll": 0}, "unroll = 0; use 1 or more"),
        ({"time_chunk": 0}, "time_chunk = 0; use 1 or more"),
        ({"word_bits": 16}, "word_bits = 16; use 0, 32 or 64"),
        ({"units": -1}, "units = -1; use 0 or more"),
        ({"units": 64, "shared_bytes": 1024, "kernel": "per-step"}, "units = 64; their sums take"),
    ],
)
def test_choices_that_a_target_does_not_allow_are_refused(choices, message):
    with pytest.raises(rt.TargetError, match=message):
        lowered(nn.GRU(3, 99).eval(), torch.randn(2, 1, 3), LowerVulkanPass(**choices))


def test_more_outputs_than_a_workgroup_can_add_up_are_refused():
    model = nn.LSTM(3, 99, proj_size=90).eval()
    schedule = LowerVulkanPass(kernel="per-step", shared_bytes=4096, units=64)
    message = r"90 outputs .* from 99 units, 64 at a time, takes 2,664 .* has 2,663; use a smaller"
    lowered(model, torch.randn(2, 1, 3), replace(schedule, shared_bytes=2664))
    with pytest.raises(rt.TargetError, match=message):
        lowered(model, torch.randn(2, 1, 3), replace(schedule, shared_bytes=2663))
