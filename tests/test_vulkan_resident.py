"""The resident scan: weights in registers, all layers in one phase, each a step behind the last.

Hazards: threads with several tiles and units, or with none; rows and columns that do not fill
tiles; nothing that fits into registers; sums of one term and of many; rows of zeros; T below the
number of layers; a layer's first steps, before the layer before it has any.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from rtmobile_iree.passes.vulkan.sum_layout import WAVE, ZERO, lay_out, lay_out_together, words_of
from rtmobile_iree.passes.vulkan.tiles import PADDING, TileShape, count_terms, cut, read_rows
from rtmobile_iree.passes.weights import walk
from torch import nn
from torch_layers import recurrent_layers

import rtmobile_iree as rt
from rtmobile_iree.bspc import convert, pack, unpack
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import VULKAN, Module
from rtmobile_iree.targets import get_target

TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-3
ALL = 1 << 16  # more registers than any of these models needs
BSP = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}
FEW_ROWS = {"column_rate": 2, "row_rate": 12, "row_stripes": 3, "col_blocks": 2}
LAYERS = recurrent_layers(proj_size=6)


def lowered(model, x, schedule, values="f32"):
    module = import_module(model, (x,), dynamic_steps=True).module
    run_passes(module, (*layout_pipeline(Options(values)), schedule))
    return module


def read_only(module):
    """How many buffers a kernel only reads: x, states, and three of constants if it is resident."""
    ops = [op for op in walk(module.operation) if op.name == "hal.interface.binding.subspan"]
    return sum("descriptor_flags" in op.attributes for op in ops)


def program(module):
    return Module(compile_text(str(module.operation.get_asm()), get_target("lavapipe")), VULKAN)


def flat(results):
    if not isinstance(results, tuple | list):
        return [results]
    return [each for part in results for each in flat(part)]


def check(module, model, batch, inputs, steps):
    made = program(module)
    for count in steps:
        x = torch.randn(count, batch, inputs)
        with torch.no_grad():
            expected = flat(model(x))
        for mine, theirs in zip(flat(made([x.numpy()])), expected, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=TOLERANCE)


def check_stack(kind, hidden, layers, batch, pruning, schedule, steps):
    """That such layers give PyTorch's outputs; returns the module they became."""
    torch.manual_seed(0)
    model = LAYERS[kind](11, hidden, layers).eval()
    if pruning is not None:
        rt.prune(model, **pruning)
    module = lowered(model, torch.randn(4, batch, 11), schedule)
    check(module, model, batch, 11, steps)
    return module


def check_values(model, schedule, values, steps, tolerance=TOLERANCE):
    """That a model gives what the CPU's program of the same narrow values does."""
    x = torch.randn(4, 1, model.input_size)
    made = program(lowered(model, x, schedule, values))
    expected = rt.compile(model, x, "host", values=values)
    for count in steps:
        x = torch.randn(count, 1, model.input_size)
        for mine, theirs in zip(flat(made([x.numpy()])), flat(expected(x)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


# kind, hidden, layers, batch, pruning, registers, threads
CASES = [
    ("gru", 48, 2, 2, BSP, ALL, 32),
    ("gru", 48, 3, 1, BSP, 1, 256),
    ("gru", 48, 2, 1, FEW_ROWS, 128 * 40, 32),
    ("gru", 33, 1, 2, None, 128 * 60, 64),
    ("lstm", 40, 2, 2, BSP, 128 * 60, 32),
    ("rnn_tanh", 70, 3, 1, FEW_ROWS, ALL, 32),
]


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("kind", "hidden", "layers", "batch", "pruning", "registers", "threads"), CASES
)
def test_outputs_are_pytorchs(vulkan, kind, hidden, layers, batch, pruning, registers, threads):
    schedule = LowerVulkanPass(
        registers=registers, resident_threads=threads, workgroup_threads=max(256, threads)
    )
    module = check_stack(kind, hidden, layers, batch, pruning, schedule, (1, 2, 7, 30))
    assert read_only(module) == 3 + 1 + (2 if kind == "lstm" else 1)


@pytest.mark.vulkan
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_weights_are_read_in_every_step_where_no_register_is_known(vulkan, kind):
    torch.manual_seed(0)
    model = LAYERS[kind](11, 48, 2).eval()
    rt.prune(model, **BSP)
    module = lowered(model, torch.randn(4, 2, 11), LowerVulkanPass())
    assert read_only(module) == 4 + 1 + (2 if kind == "lstm" else 1)
    check(module, model, 2, 11, (1, 30))


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("values", "registers"), [("f16", ALL), ("bf16", 1), ("i8", 1), ("i4", 128 * 50)]
)
def test_narrow_values_are_those_of_the_cpu(vulkan, values, registers):
    torch.manual_seed(0)
    model = nn.GRU(11, 50, 2).eval()
    rt.prune(model, **BSP)
    schedule = LowerVulkanPass(registers=registers, resident_threads=64)
    check_values(model, schedule, values, (1, 30))


@pytest.mark.vulkan
@pytest.mark.parametrize(("values", "registers"), [("f16", 1), ("i8", ALL), ("i4", 128 * 60)])
def test_products_of_halves_are_those_of_f32(vulkan, values, registers):
    torch.manual_seed(0)
    model = nn.GRU(7, 17, 2).eval()
    rt.prune(model, **BSP)
    x = torch.randn(4, 1, 7)
    schedule = LowerVulkanPass(
        kernel="persistent", registers=registers, resident_threads=32, is_half=True
    )
    made = program(lowered(model, x, schedule, values))
    expected = rt.compile(model, x, "host", values=values)
    for steps in (1, 30):
        x = torch.randn(steps, 1, 7)
        for mine, theirs in zip(flat(made([x.numpy()])), flat(expected(x)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=HALF_TOLERANCE)


@pytest.mark.parametrize("kind", ["lstmp", "gru"])
def test_what_is_too_large_or_projected_reads_its_weights(kind):
    """A thread's weights are unrolled: 3 x 200 x 211 of them are too many for 32 threads."""
    model = LAYERS[kind](11, 200).eval()
    schedule = LowerVulkanPass(registers=ALL, resident_threads=32)
    assert read_only(lowered(model, torch.randn(4, 1, 11), schedule)) == 4 + (
        3 if kind == "lstmp" else 2
    )


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    kept=st.floats(0, 1),
    height=st.sampled_from([4, 8, 12]),
    width=st.integers(1, 12),
    kind=st.sampled_from(["f32", "f16", "i8"]),
    seed=st.integers(0, 99),
)
def test_tiles_hold_each_weight_once(rows, columns, kept, height, width, kind, seed):
    generator = np.random.default_rng(seed)
    support = (generator.random((3, columns)) < kept)[generator.integers(0, 3, rows)]
    w = (generator.standard_normal((rows, columns)) * support).astype(np.float32)
    packed = convert(pack(w), kind)
    groups = [each for each in read_rows(packed, np.arange(rows), 5) if each.sources.size]
    if not groups:
        assert not w.any()
        return
    shape = TileShape(height, width)
    tiles = cut(groups, shape, rows)
    found, terms = np.zeros((rows, columns)), [set() for _ in range(rows)]
    for tile in range(tiles.count):
        own = tiles.sources[tile]
        if tile >= tiles.lengths.long:
            assert (own[tiles.lengths.short :] == PADDING).all()
        once = {}
        for row in range(height):
            values = tiles.values[tile, :, row].astype(np.float64) * tiles.scales[tile, row]
            key = (int(tiles.sums[tile, row]), int(tiles.terms[tile, row]))
            assert (once.setdefault(key, values) == values).all()
        for (row, term), values in once.items():
            assert term not in terms[row]
            terms[row].add(term)
            found[row, own[own != PADDING] - 5] += values[own != PADDING]
    np.testing.assert_allclose(found, unpack(packed), rtol=1e-6)
    counts = count_terms(groups, shape, rows)
    assert [sorted(each) for each in terms] == [list(range(count)) for count in counts]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_sums_of_one_class_share_a_zero(terms):
    terms = np.array(terms, np.int64)
    ((own,), places) = lay_out_together(terms, 7)
    assert own.terms == terms.max()
    assert own.lacks == bool((terms[terms > 0] < terms.max()).any())
    assert sorted(places[terms > 0]) == list(range(7, 7 + np.count_nonzero(terms)))
    assert (places[terms == 0] == 7 + own.count - 1).all()
    assert own.count == np.unique(places).size


@given(st.lists(st.integers(0, 9), max_size=300))
def test_sums_get_words_of_their_own(terms):
    terms = np.array(terms, np.int64)
    classes, places = lay_out(terms, 7)
    assert (places[terms == 0] == ZERO).all()
    words = []
    for place, count in zip(places.tolist(), terms.tolist(), strict=True):
        if not count:
            continue
        (own,) = [each for each in classes if each.first <= place < each.first + each.count]
        assert count <= own.terms
        words += [place + term * own.count for term in range(own.terms)]
    assert sorted(words) == list(range(7, 7 + words_of(classes)))
    assert all(each.count >= WAVE for each in classes[:-1])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"registers": -1}, "registers = -1; use 0 or more"),
        ({"resident_threads": 512}, "resident_threads = 512; the target's workgroups have at most"),
    ],
)
def test_schedules_that_are_refused(choices, message):
    with pytest.raises(rt.TargetError, match=message):
        lowered(nn.GRU(3, 8).eval(), torch.randn(2, 1, 3), LowerVulkanPass(**choices))
