"""What a chunk compiled by MLIR's sparsifier reads, and room for what it writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtmobile_iree.bench.peers.gru_task import GruTask


@dataclass(frozen=True)
class Strips:
    """A matrix [M, N] as strips of rows, M / R of them.

    Attributes:
        positions: [M / R + 1] i32, first kept column of each strip.
        columns: [K] i32, those columns.
        values: [K * R] f32, column by column.
    """

    positions: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def strips(weight: np.ndarray, height: int) -> Strips:
    """The columns of each strip of `height` rows that hold anything."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows // height, height, columns).transpose(0, 2, 1)
    kept = blocks.any(2)
    positions = np.append(0, np.cumsum(kept.sum(1))).astype(np.int32)
    values = np.ascontiguousarray(blocks[kept], np.float32).ravel()
    return Strips(positions, np.nonzero(kept)[1].astype(np.int32), values)


@dataclass(frozen=True)
class Buffers:
    """What one chunk reads and writes.

    Attributes:
        arguments: of `sparsifier_module`, in order.
        states: of each layer after the last step, [H] f32.
        y: [T, C] f32. Like the states, these are among the arguments.
    """

    arguments: list[np.ndarray]
    states: list[np.ndarray]
    y: np.ndarray


def make_buffers(gru: GruTask, height: int) -> Buffers:
    """Buffers with the weights as strips, the inputs in place, and room for what is computed."""
    steps, found, states = len(gru.frames), list[np.ndarray](), list[np.ndarray]()
    for (w_ih, w_hh, b_ih, b_hh), state in zip(gru.model.layers(), gru.state, strict=True):
        for part in (strips(w_ih, height), strips(w_hh, height)):
            found += [part.positions, part.columns, part.values]
        groups = len(w_ih) // height
        found += [b_ih, b_hh, np.zeros((steps, groups, height), np.float32)]
        found.append(np.zeros((groups, height), np.float32))
        states.append(np.zeros(len(state), np.float32))
        y = np.zeros((steps, len(state)), np.float32)
        found += [np.ascontiguousarray(state), states[-1], y]
    found.append(np.ascontiguousarray(gru.frames))
    if linear := gru.model.linear():
        weight, bias = linear
        y = np.zeros((steps, len(weight)), np.float32)
        found += [np.ascontiguousarray(weight.T), bias, y]
    return Buffers(found, states, y)
