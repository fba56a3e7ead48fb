"""Vectors stored without gaps: the plan, and compiled kernels with and without expansion."""

import numpy as np
import pytest
import torch
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.kernels.expand import plan_expansion
from rtmobile_iree.passes.kernels.plan import ConstantPool
from rtmobile_iree.passes.lower import LowerPass

import rtmobile_iree as rt
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.pipeline import layout_pipeline
from rtmobile_iree.runtime import Module
from rtmobile_iree.targets import host_target


def read(pool, expansion, stored, length):
    """What `Expansion.load` gives, block by block."""
    index, values = pool.index().astype(np.int64), pool.values()
    out = values[expansion.defaults : expansion.defaults + length].copy()
    for block in range(length // expansion.width):
        mask, first = index[expansion.blocks + 2 * block :][:2]
        there = [lane for lane in range(expansion.width) if mask >> lane & 1]
        out[np.array(there, int) + block * expansion.width] = stored[first : first + len(there)]
    return out


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_gaps_are_opened_and_filled(width, share):
    rng = np.random.default_rng(0)
    there = rng.random(64) < share
    places = np.where(there, np.cumsum(there) - 1, -1)
    defaults, stored = rng.standard_normal((2, 64)).astype(np.float32)
    pool = ConstantPool()
    expansion = plan_expansion(pool, places, defaults, width)
    expected = np.where(there, stored[places], defaults)
    np.testing.assert_array_equal(read(pool, expansion, stored, 64), expected)


def test_entries_that_are_no_run_are_not_planned():
    places = np.arange(16)[::-1].copy()
    assert plan_expansion(ConstantPool(), places, np.zeros(16, np.float32), 16) is None


@pytest.mark.parametrize("rows", [2, 8, 40])
@pytest.mark.parametrize("hidden", [64, 50])
def test_expanded_and_scattered_kernels_agree(hidden, rows):
    torch.manual_seed(0)
    module = torch.nn.GRU(7, hidden, 2).eval()
    rt.prune(module, column_rate=2, row_rate=rows, row_stripes=6, col_blocks=1)
    inputs = (torch.randn(5, 2, 7), torch.randn(2, 2, hidden))
    with torch.no_grad():
        expected = module(*inputs)[0].numpy()
    for expand in (False, True):
        imported = import_module(module, inputs)
        lower = LowerPass(vector_width=16, expand=expand)
        run_passes(imported.module, [*layout_pipeline(), lower])
        text = str(imported.module.operation.get_asm(assume_verified=True))
        assert ("vector.expandload" in text) == (expand and hidden != 50)
        y, _ = Module(compile_text(text, host_target()))([each.numpy() for each in inputs])
        np.testing.assert_allclose(y, expected, atol=2e-6)
