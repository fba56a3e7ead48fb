"""A picture of one weight matrix before and after the reorder.

The left half shows the nonzero weights as the module has them, the right half as BSPC stores them:
rows of one column pattern beside each other (paper section IV-B, figure 3), a colour a group. A
picture of 3072 x 1024 weights has more rows than pixels, so each dot is the share of nonzero
weights in its cell.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rtmobile_iree.bspc import Group

# cells across and down a picture; near one dot each on paper and screen
MAX_CELLS = 384
# neighbouring groups differ in colour; light enough to tell from black, dark enough from white
GROUP_COLORS = ("#1f5fa8", "#c4551d", "#2c7f4f", "#7d3c98")
BEFORE_COLOR = "#303030"
DPI = 110


def write_picture(
    path: str | os.PathLike[str],
    weight: np.ndarray,
    groups: Sequence[Group] | None = None,
    name: str = "weight",
) -> None:
    """Writes the PNG; a failure leaves whatever was at `path` as it was.

    Args:
        weight: [M, N], rows = outputs, as in the module.
        groups: its row groups in stored order; those of `bspc.find_groups` when None.
        name: for the title.

    Raises:
        InputError: no matrix, or one without a nonzero weight.
        OSError: no such folder, no permission, disk full.
    """
    weight = np.asarray(weight)
    if weight.ndim != 2 or not np.count_nonzero(weight):
        raise InputError(f"picture of {name} {list(weight.shape)}: needs a matrix with weights")
    if groups is None:
        from rtmobile_iree.bspc import find_groups

        groups = find_groups((weight != 0).astype(np.float32))
    write_atomically(path, _draw(weight != 0, groups, name))


def _draw(support: np.ndarray, groups: Sequence[Group], name: str) -> bytes:
    """The picture as PNG bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows, columns = support.shape
    stored = np.concatenate([group.rows for group in groups])
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 7.6), layout="constrained")
    _show(axes[0], _shaded(support, [(0, rows, BEFORE_COLOR)]), support.shape)
    axes[0].set_title(f"before: {rows:,} rows as the module has them")
    spans = _spans(groups)
    _show(axes[1], _shaded(support[stored], spans), (len(stored), columns))
    axes[1].set_title(f"after: {len(stored):,} rows in {len(groups):,} groups of one pattern")
    _mark_boundaries(axes[1], spans, columns)
    kept = np.count_nonzero(support)
    figure.suptitle(
        f"{name} [{rows} x {columns}]: {kept:,} weights kept, 1/{support.size / kept:.3g}"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    pyplot.close(figure)
    return buffer.getvalue()


def _spans(groups: Sequence[Group]) -> list[tuple[int, int, str]]:
    """First stored row, one past the last, and colour of each group."""
    ends = np.cumsum([len(group.rows) for group in groups]).tolist()
    starts = [0, *ends[:-1]]
    colors = [GROUP_COLORS[i % len(GROUP_COLORS)] for i in range(len(groups))]
    return list(zip(starts, ends, colors, strict=True))


def _shaded(support: np.ndarray, spans: Sequence[tuple[int, int, str]]) -> np.ndarray:
    """[cells down, cells across, 3]: white where nothing is kept, a span's colour where all is."""
    from matplotlib.colors import to_rgb

    ink = np.zeros((*support.shape, 3), np.float32)  # what the colour takes away from white
    for start, end, color in spans:
        ink[start:end] = support[start:end, :, None] * (1 - np.array(to_rgb(color), np.float32))
    share = _cell_means(_cell_means(ink, 0), 1)
    # 1 kept weight in 10 would be a faint grey; the root keeps sparse cells visible
    return 1 - np.sqrt(share) * np.sqrt(np.maximum(share.max(), 1e-6))


def _cell_means(values: np.ndarray, axis: int) -> np.ndarray:
    """Means over at most `MAX_CELLS` cells along one axis."""
    size = values.shape[axis]
    starts = np.unique(np.linspace(0, size, min(size, MAX_CELLS) + 1).astype(int)[:-1])
    sums = np.add.reduceat(values, starts, axis=axis)
    counts = np.diff([*starts, size])
    return sums / np.expand_dims(counts, [i for i in range(values.ndim) if i != axis])


def _show(axes: Axes, image: np.ndarray, shape: tuple[int, int]) -> None:
    rows, columns = shape
    axes.imshow(image, extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest")
    axes.set_xlabel("column (input)")
    axes.set_ylabel("row (output)")


def _mark_boundaries(axes: Axes, spans: Sequence[tuple[int, int, str]], columns: int) -> None:
    """A bar of each group's colour at the right edge, and a line between groups."""
    width = columns * 0.02
    for start, end, color in spans:
        axes.fill_between([columns, columns + width], start, end, color=color, linewidth=0)
        axes.axhline(start, color="#00000030", linewidth=0.5)
    axes.set_xlim(0, columns + width)
