"""Panels for f16: whole groups, whole registers, column numbers four to a word.

A register of f16 holds eight rows, more than many groups have once rows are pruned, and what a
panel costs is then its columns: a number and an x to load for each. So a group of up to 128 rows is
one panel, its rows filled up to whole registers, and a larger one a few that are as tall; the
format's panels (`bspc`) are taken apart for it. Columns are filled up to a multiple of four, and
four numbers are one 64-bit load:

    for k in range(0, columns, 4):
        four = quads[k / 4]                        # 16 bits each
        for i in range(4):
            acc[:] += x[four >> 16 i & 0xFFFF] * values[k + i, :]

The last column's weights are shared out to the columns added, so that an infinite x meets no zero.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import arith

from rtmobile_iree.bspc import PackedMatrix, Panel, panels
from rtmobile_iree.schedule import even_part

QUAD = 4  # columns
INDEX_BITS = 16
MOST_COLUMNS = 1 << INDEX_BITS
# Rows of a panel: the sums of one vector then take half of the registers.
HIGHEST = 128
# What the last column's weights are multiplied with in its place and in those added.
SHARES = {0: (1.0,), 1: (0.5, 0.5), 2: (0.5, 0.25, 0.25), 3: (0.25, 0.25, 0.25, 0.25)}
# Panels that share a number of columns before the kernel is written for it, and most multiply-adds
# of such code: 2 KB of instructions. Of longer code LLVM moves loads so far ahead that it runs out
# of registers.
LEAST_ALIKE = 3
MOST_WRITTEN_OUT = 128


def fits(packed: PackedMatrix) -> bool:
    """Whether the matrix can stand so: its column numbers have 16 bits."""
    return packed.shape[1] <= MOST_COLUMNS


def moved_columns(packed: PackedMatrix, start: int) -> PackedMatrix:
    """The matrix for an input that begins at `start` of a longer one.

    Both have at most MOST_COLUMNS together. An address of x is then the longer one's, which is in a
    register, and a number; no third part.
    """
    rows, columns = packed.shape
    numbers = (packed.column_index.astype(np.int32) + start).astype(np.uint16)
    return replace(packed, shape=(rows, columns + start), column_index=numbers)


def tall_panels(packed: PackedMatrix, lanes: int) -> list[tuple[Panel, np.ndarray]]:
    """The panels of a matrix of f16 weights, and their values [columns, height].

    Args:
        lanes: rows a register holds.
    """
    groups: dict[int, list[Panel]] = {}
    for panel in panels(packed):
        groups.setdefault(panel.group, []).append(panel)
    found = []
    for parts in groups.values():
        stored = [
            packed.values[p.value_start :][: p.columns * p.height].reshape(p.columns, p.height)
            for p in parts
        ]
        first, rows = parts[0], sum(p.rows for p in parts)
        weights = _filled(np.concatenate(stored, axis=1)[:, :rows])
        most = even_part(rows, HIGHEST, lanes)
        for row in range(0, rows, most):
            own = min(most, rows - row)
            height = own + -own % lanes
            values = np.pad(weights[:, row : row + own], ((0, 0), (0, height - own)))
            place = {"row_start": first.row_start + row, "columns": len(values)}
            found.append((replace(first, height=height, rows=own, **place), values))
    return found


def padded_places(packed: PackedMatrix, lanes: int) -> tuple[np.ndarray, int]:
    """Where stored rows go when every panel writes its padding too, one after another.

    Returns:
        [stored rows] places, and how many there are.
    """
    places, place = np.zeros(packed.reorder.size, np.int32), 0
    for panel, _ in tall_panels(packed, lanes):
        places[panel.row_start :][: panel.rows] = place + np.arange(panel.rows)
        place += panel.height
    return places, place


def _filled(weights: np.ndarray) -> np.ndarray:
    """Weights [columns, rows] with columns added; see the module docstring."""
    shares = SHARES[-len(weights) % QUAD]
    last = np.asarray(shares, weights.dtype)[:, None] * weights[-1:]
    return np.concatenate([weights[:-1], last])


def quads(packed: PackedMatrix, panel: Panel) -> np.ndarray:
    """Column numbers of a panel of `tall_panels`, i64 words of four."""
    first, stop = packed.column_offset[panel.group : panel.group + 2]
    kept = packed.column_index[first:stop].astype(np.uint16)
    return np.pad(kept, (0, panel.columns - kept.size), mode="edge").view(np.int64)


def columns_alike(found: list[Panel]) -> dict[Panel, int]:
    """Of each panel, its number of columns where enough others of its height have as many; or 0."""
    alike = Counter((panel.height, panel.columns) for panel in found)
    return {
        panel: panel.columns if alike[panel.height, panel.columns] >= LEAST_ALIKE else 0
        for panel in found
    }


@dataclass(frozen=True)
class Columns:
    """The columns of one panel in the kernel.

    Attributes:
        quads, values: i64 and f16 memrefs; quad_start, value_start: where the panel's begin.
        height: f16 elements of a column.
        count: quads (index value).
        known: quads where the kernel is written for so many; else 0.
    """

    quads: ir.Value
    quad_start: ir.Value
    values: ir.Value
    value_start: ir.Value
    height: int
    count: ir.Value
    known: int


def sum_columns(
    e: Emitter,
    columns: Columns,
    x: list[tuple[ir.Value, ir.Value]],
    starts: list[ir.Value],
    sets: int,
) -> list[list[ir.Value]]:
    """Sums over a panel's columns, for every vector and register: [set][vector and register].

    Args:
        x: memref and offset of each input vector.
        starts: a register of sums for each register of rows of each vector, vector by vector.
        sets: sums of columns that are one set apart need not wait for each other; 1, 2 or 4.
    """
    registers, size = len(starts) // len(x), len(starts)

    def quad(k: ir.Value | int, sums: list[ir.Value]) -> list[ir.Value]:
        at = k if isinstance(k, ir.Value) else e.index(k)
        word = e.load(columns.quads, e.add(columns.quad_start, at))
        first = e.add(columns.value_start, e.mul(at, QUAD * columns.height))
        for i in range(QUAD):
            own = i % sets * size
            start, column = e.add(first, i * columns.height), _column(word, i)
            weights = [
                e.vload(columns.values, e.add(start, r * e.width), e.width)
                for r in range(registers)
            ]
            for v, (source, offset) in enumerate(x):
                xk = e.splat(e.load(source, e.add(offset, column)), e.width)
                for r, weight in enumerate(weights):
                    place = own + v * registers + r
                    sums[place] = e.fma(xk, weight, sums[place])
        return sums

    sums = starts + [e.splat(0.0, e.width)] * ((sets - 1) * size)
    if 0 < columns.known * QUAD * size <= MOST_WRITTEN_OUT:
        for k in range(columns.known):
            sums = quad(k, sums)
    else:
        sums = e.loop(0, columns.known or columns.count, 1, sums, lambda k, *a: quad(k, list(a)))
    return [sums[i * size : (i + 1) * size] for i in range(sets)]


def _column(word: ir.Value, number: int) -> ir.Value:
    """One of the four column numbers of a word (index value)."""
    i64 = ir.IntegerType.get_signless(8 * 8)
    moved = arith.shrui(word, arith.constant(i64, number * INDEX_BITS))
    masked = arith.andi(moved, arith.constant(i64, (1 << INDEX_BITS) - 1))
    return arith.index_castui(ir.IndexType.get(), masked)
