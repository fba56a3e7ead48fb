"""f16 activations on Vulkan: what f32 ones and PyTorch give, to 1e-3; and how weights are laid out.

Hazards: rows and columns that are no multiple of a lane's or a turn's, rows without weights, panels
that share their columns, the least and the greatest integers, a chunk's last part.
"""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.passes.vulkan.block_entries import lane_entry, packed_places
from rtmobile_iree.passes.vulkan.blocks import BlockPool
from rtmobile_iree.passes.vulkan.values import integer_biases, integer_powers
from torch import nn
from torch_layers import Outputs

import rtmobile_iree as rt
from rtmobile_iree.bspc import convert, pack, unpack
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import VULKAN, Module
from rtmobile_iree.targets import get_target
from rtmobile_iree.values import LARGEST, VALUE_BITS

TOLERANCE = 1e-3
BSP = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}


def program(model, x, values, is_half):
    """The model in a step's kernels that read blocks."""
    module = import_module(model, (x,), dynamic_steps=True).module
    step = LowerVulkanPass(kernel="per-step", step_blocks=True, time_chunk=2, is_half=is_half)
    run_passes(module, (*layout_pipeline(Options(values)), step))
    return Module(compile_text(str(module.operation.get_asm()), get_target("lavapipe")), VULKAN)


@pytest.mark.vulkan
@pytest.mark.parametrize(
    ("layer", "values", "pruning"),
    [
        (nn.GRU(11, 65, 2), "f16", BSP),
        (nn.GRU(1, 1), "i8", None),
        (nn.LSTM(5, 17, 2), "i8", BSP),
        (nn.GRU(7, 37, 2), "i4", {**BSP, "row_rate": 6}),
    ],
    ids=lambda each: str(each) if isinstance(each, str) else "",
)
def test_products_of_halves_are_those_of_f32(vulkan, layer, values, pruning):
    torch.manual_seed(0)
    layer.reset_parameters()  # those it was made with are chance's
    model = Outputs(layer).eval()
    if pruning:
        rt.prune(model, layers=["*weight*"], **pruning)
    x = torch.randn(5, 2, layer.input_size)
    wide, half = (program(model, x, values, is_half) for is_half in (False, True))
    with torch.no_grad():
        theirs = model(torch.randn(30, 2, layer.input_size))
    for steps in (1, 3, 30):
        x = 2 * torch.rand(steps, 2, layer.input_size) - 1
        ((expected,), (found,)) = (flat(each([x.numpy()])) for each in (wide, half))
        assert expected.shape[1:] == theirs.shape[1:]
        # a product is rounded to 1/2048 of itself: one weight of nearly 1 has no others to drown it
        close = 3 * TOLERANCE if layer.hidden_size == 1 else TOLERANCE
        np.testing.assert_allclose(found, expected, rtol=0, atol=close)
        if values == "f16":
            with torch.no_grad():
                np.testing.assert_allclose(found, model(x).numpy(), rtol=0, atol=TOLERANCE)


def flat(results):
    return results if isinstance(results, list | tuple) else [results]


def test_entries_hold_places_of_twelve_bits():
    places = np.array([0, 4094, 1, 2047, 2048, 5, 6, -1])
    words = lane_entry(3, 9, places)
    number = sum(word << (32 * i) for i, word in enumerate(words[1:]))
    assert words[0] == 9 << 16 | 3
    assert [number >> (12 * i) & 0xFFF for i in range(8)] == [*places[:-1], 4095]
    assert packed_places(np.array([1, -1]), 16) == (0xFFFF0001, 0, 0, 0)


def read_back(pool, kind, is_half, shape):
    """The matrix that a kernel would multiply, row by row where its sums go; and the zeros."""
    words, index, table, _ = pool.arrays()
    inside = pool.inside([None] * 4)
    found, scaled = np.zeros(shape), kind in LARGEST
    entries = inside.entries_a_lane
    for at in range(0, inside.panels - 1, entries):  # an entry is no lane
        panel, lane = table[at, 0] & 0xFFFF, table[at, 0] >> 16
        first, turns, weight, lanes = table[inside.panels + panel]
        columns = index[first : first + 2 * turns].ravel()
        own = words[weight : weight + turns * inside.loads * lanes].reshape(-1, lanes, 4)[:, lane]
        values = numbers(own.ravel(), kind, is_half)
        if scaled:
            values = values * table[at + 1 : at + entries].copy().view(np.float32).ravel()
        for row, place in enumerate(places_of(table[at])):
            if place != 4095:
                np.add.at(found[place], columns, values[:, row])
    zeros = table[inside.zeros :].copy().view(np.int16).ravel()
    return found, zeros[zeros >= 0]


def numbers(words, kind, is_half):
    """[columns, 8] what products are made with: values, or integers times powers of two."""
    if kind == "f16":
        return words.view(np.float16).reshape(-1, 8).astype(float)
    bits = VALUE_BITS[kind]
    fields = words.view(np.uint32)[:, None] >> (bits * np.arange(32 // bits, dtype=np.uint32))
    fields = (fields & (2**bits - 1)).reshape(-1, 8).astype(int)
    if is_half:
        return (fields - halves.bias(kind)) * halves.powers(kind, 8)
    powers, biases = integer_powers(kind, 8), integer_biases(kind, 8)
    is_signed = (biases == 0) & (fields >= 2 ** (bits - 1))
    return (fields - 2**bits * is_signed) * powers - biases


def places_of(entry):
    number = sum(int(word) % 2**32 << (32 * i) for i, word in enumerate(entry[1:]))
    return [number >> (12 * i) & 0xFFF for i in range(8)]


@pytest.mark.parametrize("shape", [(1, 1), (21, 13), (200, 9), (64, 8)])
@pytest.mark.parametrize(
    ("kind", "is_half"), [("f16", True), ("i8", True), ("i8", False), ("i4", True), ("i4", False)]
)
def test_blocks_hold_the_matrix(kind, is_half, shape):
    """In two parts, of which each has a panel of some rows; every eleventh row is none's."""
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    weights[3::11] = 0
    weights[: shape[0] // 2, ::3] = 0
    packed = convert(pack(weights), kind)
    pool = BlockPool(kind, 2, is_half=is_half)
    places = np.random.default_rng(1).permutation(shape[0]).astype(np.int32)
    owners = np.arange(shape[0]) % 2
    parts = pool.add_parts(packed, places, owners, 2, is_complete=True)
    pool.add_entries([(1, 2, 3, 4)])
    found, zeros = read_back(pool, kind, is_half, shape)
    np.testing.assert_allclose(found[places], unpack(packed), rtol=1e-6, atol=1e-7)
    absent = np.setdiff1d(np.arange(shape[0]), packed.reorder)
    assert sorted(zeros) == sorted(places[absent])
    assert sum(part.count for part in parts) == len(pool._lanes) // (1 if kind == "f16" else 3)


def test_what_has_no_halves_is_refused():
    model, x = nn.LSTM(5, 8, proj_size=4).eval(), torch.randn(3, 1, 5)
    for target, options, error, message in (
        ("vulkan", {}, rt.TargetError, "activations f16; this GPU takes f32 alone"),
        ("lavapipe", {"gpu_kernel": "persistent", "values": "i8"}, rt.CompileError,
         "use gpu_kernel per-step"),
        ("lavapipe", {"values": "bf16"}, rt.CompileError, "values are bf16; f16 activations take"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            rt.compile(model, x, target, activations="f16", **options)


def test_halves_refuse_more_rows_than_entries_can_number():
    schedule = LowerVulkanPass(kernel="per-step", units=1025, is_half=True)
    module = import_module(nn.GRU(1, 1025).eval(), (torch.randn(1, 1, 1),)).module
    with pytest.raises(rt.CompileError, match="fewer than 4,095 sums"):
        run_passes(module, (*layout_pipeline(Options("f16")), schedule))
