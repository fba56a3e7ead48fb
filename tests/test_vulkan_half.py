"""f16 activations on Vulkan: NumPy's definition of the rounded inputs, and PyTorch's outputs.

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
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.bspc import pack
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import VULKAN, Module
from rtmobile_iree.targets import get_target

TOLERANCE = 1e-3
BSP = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}


class Outputs(nn.Module):
    """The outputs of a recurrent layer alone."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


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
    model = Outputs(layer).eval()
    if pruning:
        rt.prune(model, layers=["*weight*"], **pruning)
    x = torch.randn(5, 2, layer.input_size)
    wide, half = (program(model, x, values, is_half) for is_half in (False, True))
    with torch.no_grad():
        theirs = model(torch.randn(30, 2, layer.input_size))
    for steps in (1, 3, 30):
        x = torch.randn(steps, 2, layer.input_size)
        ((expected,), (found,)) = (flat(each([x.numpy()])) for each in (wide, half))
        assert expected.shape[1:] == theirs.shape[1:]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
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


@pytest.mark.parametrize("kind", ["i8", "i4"])
@pytest.mark.parametrize("is_half", [False, True])
def test_stored_integers_times_powers_and_scales_are_the_weights(kind, is_half):
    """As `halves` says, by NumPy: every mask, of a matrix with the greatest integers in it."""
    weights = np.random.default_rng(0).standard_normal((21, 13)).astype(np.float32)
    packed = pack(weights, values=kind)
    pool = BlockPool(kind, 2, is_half=is_half)
    (lanes,) = pool.add_parts(packed, np.arange(21), np.zeros(21, int), 1)
    words, index, table, _ = pool.arrays()
    assert (lanes.count, pool.padded, len(index)) == (3, True, 4)
    if not is_half:
        return
    bits, a_word = {"i8": (8, 4), "i4": (4, 8)}[kind]
    by_turn = words.reshape(2, -1, 3, 4).transpose(2, 0, 1, 3).reshape(3, -1).view(np.uint32)
    fields = by_turn[:, :, None] >> (bits * np.arange(a_word, dtype=np.uint32)) & (2**bits - 1)
    integers = fields.reshape(3, 16, 8).astype(int) - halves.bias(kind)
    scales = table[: 3 * 3].reshape(3, 3, 4)[:, 1:].copy().view(np.float32).reshape(3, 8)
    found = integers * (scales * halves.powers(kind, 8))[:, None]
    rows = found[:, :13].transpose(2, 0, 1).reshape(24, 13)[:21]
    expected = packed.values.reshape(13, 21).T * packed.scales[:, None]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert not integers[:, 13:].any()


def test_what_has_no_halves_is_refused():
    model, x = nn.GRU(5, 8).eval(), torch.randn(3, 1, 5)
    for target, options, error, message in (
        ("vulkan", {}, rt.TargetError, "activations f16; this GPU takes f32 alone"),
        ("lavapipe", {"gpu_kernel": "persistent"}, rt.TargetError, "use gpu_kernel per-step"),
        ("lavapipe", {"values": "bf16"}, rt.CompileError, "values are bf16; f16 activations take"),
    ):
        with pytest.raises(error, match=message):
            rt.compile(model, x, target, activations="f16", **options)


def test_halves_refuse_more_rows_than_entries_can_number():
    schedule = LowerVulkanPass(kernel="per-step", units=1025, is_half=True)
    module = import_module(nn.GRU(1, 1025).eval(), (torch.randn(1, 1, 1),)).module
    with pytest.raises(rt.CompileError, match="fewer than 4,095 sums"):
        run_passes(module, (*layout_pipeline(Options("f16")), schedule))
