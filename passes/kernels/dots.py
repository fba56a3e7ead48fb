"""Integer dot products: inputs quantized as they come, four columns of a row in one lane.

    largest = max |x|;  u[n] = round(x[n] * 127 / largest) + zero_point          # once a vector
    for panel in class:
        acc[:] = -zero_point * (sum of each row's weights)                       # i32
        for quad of columns:
            u4 = u[the quad's four columns]                                      # 4 bytes
            acc[r] += u4 . values[quad, r, 0..4]        for every row r: one instruction a register
        out[rows of panel] = acc * scales * (largest / 127) + bias

x is rounded to 1/127 of its largest entry, anew for every step and batch entry: an error of at most
largest / 254 an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.passes.kernels.emit import Emitter
from rtmobile_iree.passes.kernels.plan import COLUMNS_A_LANE
from torch_mlir import ir
from torch_mlir.dialects import arith, math, memref, vector

from rtmobile_iree.schedule import IntegerDot
from rtmobile_iree.values import I8_MAX


@dataclass(frozen=True)
class Quantized:
    """Input vectors as bytes: a flat i8 memref, an offset and a scale (f32 value) for each."""

    source: ir.Value
    offsets: Sequence[ir.Value]
    scales: Sequence[ir.Value]


def quantize(
    e: Emitter,
    dot: IntegerDot,
    source: tuple[ir.Value, ir.Value],
    target: tuple[ir.Value, ir.Value],
    length: int,
) -> ir.Value:
    """Writes x [length] f32 as bytes; returns its scale, largest / 127 (f32).

    Args:
        source, target: memref and offset; f32 and i8.
    """
    largest = e.largest(source[0], source[1], length)
    is_zero = arith.cmpf(arith.CmpFPredicate.OEQ, largest, e.scalar(0.0))
    steps = arith.divf(e.scalar(I8_MAX), largest)
    inverse = arith.select(is_zero, e.scalar(0.0), steps)

    def write(at: ir.Value, size: int) -> None:
        x = e.vload(source[0], e.add(source[1], at), size)
        nearest = math.roundeven(arith.mulf(x, e.splat(inverse, size)))
        whole = arith.fptosi(e.integers(size), nearest)
        shifted = arith.addi(whole, e.integer_splat(dot.zero_point, size))
        byte = ir.VectorType.get([size], ir.IntegerType.get_signless(8))
        vector.store(arith.trunci(byte, shifted), target[0], [e.add(target[1], at)])

    e.pieces(length, write)
    return arith.mulf(largest, e.scalar(1 / I8_MAX))


def load_quad(e: Emitter, index: ir.Value, at: ir.Value, source: ir.Value, x: ir.Value) -> ir.Value:
    """The bytes of four columns as one i32, first column lowest.

    Args:
        index, at: index buffer, and where the columns stand.
        source, x: i8 buffer, and offset of the input vector.
    """
    i32 = ir.IntegerType.get_signless(32)
    quad = None
    for j in range(COLUMNS_A_LANE["i8x4"]):
        column = e.load_index(index, e.add(at, j))
        byte = arith.extui(i32, memref.load(source, [e.add(x, column)]))
        if quad is None:
            quad = byte
        else:
            quad = arith.ori(quad, arith.shli(byte, arith.constant(i32, 8 * j)))
    return quad


def dot_product(
    e: Emitter, dot: IntegerDot, sums: ir.Value, quad: ir.Value, weights: ir.Value
) -> ir.Value:
    """sums[r] + the quad's bytes times weights [r, 0..4); vectors of i32 and of 4 times as many i8.

    Args:
        quad: i32, the same for every lane.
    """
    lanes = ir.VectorType(sums.type).shape[0]
    bytes_type = ir.VectorType(weights.type)
    x = vector.bitcast(bytes_type, vector.broadcast(e.integers(lanes), quad))
    return ir.Operation.create(
        "llvm.call_intrinsic",
        results=[sums.type],
        operands=[sums, x, weights],
        attributes={
            "intrin": ir.StringAttr.get(dot.intrinsic(lanes)),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([3, 0]),
            "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
        },
    ).result
