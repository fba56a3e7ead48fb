"""The picture of the reorder."""

import matplotlib.image
import numpy as np
import pytest

from rtmobile_iree.bspc import find_groups
from rtmobile_iree.errors import InputError
from rtmobile_iree.report.picture import write_picture


def shuffled_stripes(rows: int, columns: int, patterns: int) -> np.ndarray:
    """Rows of a few column patterns in random order, some rows all zero."""
    rng = np.random.default_rng(0)
    supports = rng.random((patterns, columns)) < 0.2
    weight = rng.normal(size=(rows, columns)) * supports[rng.integers(0, patterns, rows)]
    weight[rng.random(rows) < 0.1] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (383, 385), (769, 31), (1000, 1000)])
def test_pictures_of_many_sizes(tmp_path, shape):
    weight = shuffled_stripes(*shape, patterns=3)
    weight[0, 0] = 1
    path = tmp_path / "reorder.png"
    write_picture(path, weight, name="w")
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 400
    assert image.shape[1] > 800
    # there is ink in both halves
    half = image.shape[1] // 2
    assert (image[:, :half, :3] < 0.9).any()
    assert (image[:, half:, :3] < 0.9).any()


def test_the_reorder_is_what_the_right_half_shows(tmp_path):
    weight = shuffled_stripes(200, 100, patterns=4)
    write_picture(tmp_path / "found.png", weight)
    write_picture(tmp_path / "given.png", weight, find_groups(weight))
    write_picture(tmp_path / "other.png", weight, find_groups(weight)[::-1])
    found, given, other = (
        (tmp_path / f"{name}.png").read_bytes() for name in ("found", "given", "other")
    )
    assert found == given
    assert found != other


@pytest.mark.parametrize("weight", [np.zeros((4, 4)), np.ones(4), np.zeros((0, 4))])
def test_nothing_to_draw(tmp_path, weight):
    with pytest.raises(InputError, match="needs a matrix with weights"):
        write_picture(tmp_path / "x.png", weight)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_picture(tmp_path / "none" / "x.png", np.ones((4, 4)))
