"""How pruned weights are stored for the peers: squares, padded groups, strips."""

import numpy as np
import pytest
import torch

from rtmobile_iree.bench.peers.packed_groups import pack_groups
from rtmobile_iree.bench.peers.sparsifier_buffers import strips
from rtmobile_iree.bench.squares import prune_squares


def sparse_matrix(rows: int, columns: int, kept: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((rows, columns)).astype(np.float32)
    return weight * (generator.random((rows, columns)) < kept).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns", "block"), [(16, 16, 8), (17, 23, 8), (7, 5, 8)])
@pytest.mark.parametrize("kept", [0, 1, 64, 100, 10_000])
def test_squares_keep_whole_blocks_of_greatest_norm(rows, columns, block, kept):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    pruned = matrix.clone()
    prune_squares([pruned], [kept], block)
    norms, alive = [], []
    for i in range(0, rows, block):
        for j in range(0, columns, block):
            part, before = (
                pruned[i : i + block, j : j + block],
                matrix[i : i + block, j : j + block],
            )
            assert torch.equal(part, before) or not part.any()
            norms.append(float(before.square().sum()))
            alive.append(bool(part.any()))
    assert sum(alive) == min(len(alive), -(-kept // block**2))
    least = min((n for n, a in zip(norms, alive, strict=True) if a), default=np.inf)
    assert all(n <= least for n, a in zip(norms, alive, strict=True) if not a)


@pytest.mark.parametrize(
    "weight",
    [
        sparse_matrix(7, 5, 0.5),
        sparse_matrix(1, 1, 1),
        np.zeros((4, 3), np.float32),
        np.ones((4, 3), np.float32),
        np.kron(sparse_matrix(3, 8, 0.4), np.ones((4, 1), np.float32)),
        np.eye(6, dtype=np.float32),
    ],
)
def test_padded_groups_multiply_as_the_matrix_does(weight):
    packed = pack_groups(weight)
    x = np.random.default_rng(1).standard_normal(weight.shape[1]).astype(np.float32)
    products = np.einsum("grk,gk->gr", packed.values, x[packed.columns]).ravel()
    np.testing.assert_allclose(products[packed.places], weight @ x, atol=1e-6)


@pytest.mark.parametrize("height", [1, 2, 6])
@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_strips_multiply_as_the_matrix_does(height, kept):
    weight = sparse_matrix(12, 5, kept)
    made = strips(weight, height)
    x = np.random.default_rng(1).standard_normal(5).astype(np.float32)
    y = np.zeros((12 // height, height), np.float32)
    values = made.values.reshape(-1, height)
    for strip, (start, end) in enumerate(zip(made.positions, made.positions[1:], strict=False)):
        for k in range(start, end):
            y[strip] += values[k] * x[made.columns[k]]
    np.testing.assert_allclose(y.ravel(), weight @ x, atol=1e-6)
