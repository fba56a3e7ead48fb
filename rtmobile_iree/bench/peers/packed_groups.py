"""Rows that keep the same columns as groups, as in BSPC, padded to one size for plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtmobile_iree.bspc import find_groups


@dataclass(frozen=True)
class Packed:
    """A matrix [M, N] as padded groups.

    Attributes:
        values: [G, R, K] f32.
        columns: [G, K] i32; 0 where a group has fewer, under weights of 0.
        places: [M] i32, where each row is in the flat [G * R]; a row of zeros for one that is not
            kept.
    """

    values: np.ndarray
    columns: np.ndarray
    places: np.ndarray


def pack_groups(weight: np.ndarray) -> Packed:
    """Pads the groups of a matrix to one size, with at least one row of zeros."""
    groups = find_groups(np.ascontiguousarray(weight))
    height = max((len(group.rows) for group in groups), default=0)
    width = max((len(group.columns) for group in groups), default=1)
    kept = sum(len(group.rows) for group in groups)
    if kept < len(weight) and kept == height * len(groups):
        height += 1
    values = np.zeros((max(1, len(groups)), max(1, height), width), np.float32)
    columns = np.zeros((len(values), width), np.int32)
    places = np.full(len(weight), -1, np.int32)
    for i, group in enumerate(groups):
        values[i, : len(group.rows), : len(group.columns)] = weight[
            np.ix_(group.rows, group.columns)
        ]
        columns[i, : len(group.columns)] = group.columns
        places[group.rows] = i * values.shape[1] + np.arange(len(group.rows))
    empty = np.setdiff1d(np.arange(values.shape[0] * values.shape[1]), places)
    places[places < 0] = empty[0] if len(empty) else 0
    return Packed(values, columns, places)
