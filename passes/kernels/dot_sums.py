"""Sums of a panel's rows where weights and inputs are quantized: integer dot products (`dots`).

acc[v, :] = 0                                     # i32
for k in panel.columns, four or eight at once:
    for v in vectors:
        acc[v, :] += x[v, k] . values[k, :]       # bytes, moved together by `staging`
sums[v, :] = acc[v, :] * (scale[v] * scales[panel]) + bias[panel]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.dots import (
    LANE_BYTES,
    Quantized,
    add_lanes,
    dot_product,
    load_inputs,
    load_lanes,
    load_pairs,
    split_pairs,
)
from rtmobile_iree.passes.kernels.plan import (
    COLUMNS_A_LANE,
    NIBBLE_DOTS,
    NIBBLE_FACTOR,
    PanelClass,
    elements_a_lane,
)
from rtmobile_iree.passes.kernels.sums import Fields, PanelSums, Vectors
from rtmobile_iree.passes.kernels.values import NIBBLE_BITS, element
from torch_mlir import ir
from torch_mlir.dialects import arith, vector

from rtmobile_iree.schedule import IntegerDot


@dataclass(frozen=True)
class DotSums(PanelSums):
    """Panels of i8x4, i8x8 and i4x8."""

    def rows(
        self, which: PanelClass, row: int, block: int, fields: Fields, vectors: Vectors
    ) -> list[list[ir.Value]]:
        """Rows [row, row + block) of a panel times every vector: sums[vector][register]."""
        e, dot, quantized = self.emit, self._dot(which), vectors.quantized
        assert quantized is not None
        width = min(block, e.width)
        registers, own_lanes = block // width, dot.lanes_a_row(which.height)
        zero = e.integer_splat(0, width * own_lanes)
        walk = self._walk_lanes if dot.by_lane and own_lanes == 1 else self._walk_dots
        walk = self._walk_pairs if dot.is_matrix else walk
        sums = walk(which, row, (width, registers), fields, quantized, zero)
        if dot.zero_point:
            correction = self.row_constants(which, 2, row, width, registers, fields)
            starts = [arith.bitcast(e.integers(width), bits) for bits in correction]
        bias = self.row_constants(which, 0, row, width, registers, fields)
        scales = self.row_constants(which, 1, row, width, registers, fields)
        results = []
        for v, scale in enumerate(quantized.scales):
            own = []
            for r in range(registers):
                total = add_lanes(sums[v * registers + r], width)
                if dot.zero_point:
                    total = arith.addi(total, starts[r])
                both = arith.mulf(scales[r], e.splat(scale, width))
                own.append(e.fma(arith.sitofp(e.vector_type(width), total), both, bias[r]))
            results.append(own)
        return results

    def _load_dots(
        self, which: PanelClass, row: int, sizes: tuple[int, int], fields: Fields, k: ir.Value
    ) -> list[list[ir.Value]]:
        """Registers of an i8x4 panel: of four columns, or of several times four; of an i8x8 panel:
        of eight columns, two rows each half of a register; of an i4x8 panel: those of its first
        columns as of i8x4, then those of as many more, both `NIBBLE_FACTOR` times the weights."""
        e, (width, registers) = self.emit, sizes
        each = elements_a_lane(which.kind) * self._dot(which).lanes_a_row(which.height)
        packed = ir.VectorType.get([width * each], element(which.kind))
        start = e.add(fields["value_start"], row * each, e.mul(k, which.height * each))
        source = self.constants.weights(which.kind)
        places = [e.add(start, r * width * each) for r in range(registers)]
        loaded = [vector.load(packed, source, [at]) for at in places]
        if which.kind != NIBBLE_DOTS:
            return [loaded]
        bits, mask = (
            arith.constant(packed, ir.DenseElementsAttr.get_splat(packed, _byte(value)))
            for value in (NIBBLE_BITS, -NIBBLE_FACTOR)
        )
        return [
            [arith.shli(register, bits) for register in loaded],
            [arith.andi(register, mask) for register in loaded],
        ]

    def _walk_dots(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """Sums [vector, register] of an i8x4 or i4x8 panel, in as many lanes as `zero` has."""
        e, dot, (width, registers) = self.emit, self._dot(which), sizes
        own_lanes = dot.lanes_a_row(which.height)
        together = COLUMNS_A_LANE[which.kind] * own_lanes

        def step(k: ir.Value, accs: list[ir.Value], _: list[ir.Value]) -> list[ir.Value]:
            panels, out = self._load_dots(which, row, sizes, fields, k), list(accs)
            for v, staged in enumerate(quantized.staged):
                at = e.add(staged, e.mul(k, together))
                for part, panel in enumerate(panels):
                    place = e.add(at, part * together // len(panels))
                    x = load_inputs(e, quantized.buffer, place, width, width * own_lanes)
                    for r, weights in enumerate(panel):
                        own = v * registers + r
                        out[own] = dot_product(dot, out[own], x, weights)
            return out

        nothing = [zero] * (registers * len(quantized.staged))
        return self.walk(fields["columns"], nothing, zero, arith.addi, step, lambda k, count: [])

    def _walk_lanes(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """The same where a register of inputs serves several products, a lane of it each."""
        e, dot, registers = self.emit, self._dot(which), sizes[1]
        together = COLUMNS_A_LANE[which.kind]
        lanes = together // LANE_BYTES

        def step(k: ir.Value, count: int, sums: list[ir.Value]) -> list[ir.Value]:
            at = [e.add(staged, e.mul(k, together)) for staged in quantized.staged]
            inputs = [load_lanes(e, quantized.buffer, place, count * lanes) for place in at]
            for number in range(count):
                panels = self._load_dots(which, row, sizes, fields, e.add(k, number))
                for part, panel in enumerate(panels):
                    for v, x in enumerate(inputs):
                        for r, weights in enumerate(panel):
                            own, lane = v * registers + r, number * lanes + part
                            sums[own] = dot_product(dot, sums[own], x[lane], weights)
            return sums

        nothing = [zero] * (registers * len(quantized.staged))
        return self.walk_groups(fields["columns"], e.width // lanes, nothing, step)

    def _walk_pairs(
        self,
        which: PanelClass,
        row: int,
        sizes: tuple[int, int],
        fields: Fields,
        quantized: Quantized,
        zero: ir.Value,
    ) -> list[ir.Value]:
        """The same for an i8x8 panel: two rows times two vectors at once."""
        e, dot, registers = self.emit, self._dot(which), sizes[1]
        count = len(quantized.staged)
        pairs = -(-count // 2)

        def octet(k: ir.Value, sums: Sequence[ir.Value], x: list[ir.Value]) -> list[ir.Value]:
            out = list(sums)
            for r, four in enumerate(self._load_dots(which, row, sizes, fields, k)[0]):
                bytes_ = ir.VectorType(four.type).shape[0]
                halves = [list(range(bytes_ // 2)), list(range(bytes_ // 2, bytes_))]
                two = [vector.shuffle(four, four, half) for half in halves]
                for pair in range(pairs):
                    for half, weights in enumerate(two):
                        at = (pair * registers + r) * 2 + half
                        out[at] = dot_product(dot, out[at], x[pair], weights)
            return out

        def step(k: ir.Value, octets: int, sums: list[ir.Value]) -> list[ir.Value]:
            x = load_pairs(e, quantized, e.mul(k, 8))
            for number in range(octets):
                sums = octet(e.add(k, number), sums, [pair[number] for pair in x])
            return sums

        nothing = [zero] * (2 * pairs * registers)
        sums = self.walk_groups(fields["columns"], 2, nothing, step)
        found: list[ir.Value] = []
        for pair in range(pairs):
            own = sums[2 * registers * pair :][: 2 * registers]
            split = [
                split_pairs(own[2 * r], own[2 * r + 1], min(2, count - 2 * pair))
                for r in range(registers)
            ]
            found += [each[v] for v in range(len(split[0])) for each in split]
        return found

    def _dot(self, which: PanelClass) -> IntegerDot:
        """The instruction of a panel's kind."""
        kind = "i8x4" if which.kind == NIBBLE_DOTS else which.kind
        dots = (self.schedule.dot, self.schedule.chunk_dot)
        return next(dot for dot in dots if dot is not None and dot.kind == kind)


def _byte(value: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(8), value)
