"""The `bspc` dialect: one encoding attribute, `matmul`, and in recurrent.py the layers.

Stages of a weight matrix W [M, N]:

    plain tensor       -- bspc-encode -->          tensor<MxNxf32, #bspc.encoding<{...}>>
    encoded            -- bspc-reorder -->         rows of one pattern adjacent, `reorder` operand
    reordered          -- bspc-eliminate-loads --> nearly equal patterns merged
    merged             -- bspc-pack -->            the arrays of the format (rtmobile_iree/bspc.py)

An op's meaning is its loop nest below, written with W in its original row order. When `reorder`
is given, row i of the weight operand is row reorder[i] of W; rows of W that are not named are zero.
Any op may carry `name`, a string: the parameter or layer it came from, for reports and errors.

An op has one `reorder` or none, for all its weights: their reorders, one after another.
Read operands by position: `reorder` is a variadic group at the end, which needs no
operandSegmentSizes in IR, while the named accessors that `ext` makes do.
"""

from collections.abc import Sequence
from typing import Any

from rtmobile_iree.dialects import verify
from torch_mlir import ir
from torch_mlir.dialects import ext


class BSPC(ext.Dialect, name="bspc"):
    """Block-structured pruning, compact."""


class EncodingAttr(BSPC.Attribute, name="encoding"):
    """Encoding of a weight tensor type: `tensor<48x64xf32, #bspc.encoding<{stage = "encoded"}>>`.

    The dictionary holds
        stage         "encoded", "reordered" or "merged"
        groups        i64: row groups, each with one set of kept columns
        kept          i64: nonzero weights
        group_offset  array<i64>: first row of each group and the end of the last; empty while
                      "encoded". Rows from the end on are in no group, and all zero
        loads_before, loads_after  i64, optional: loads of x in one product, row by row and as
                      laid out

    It changes no element: the tensor holds W[i, n] at [i, n], or W[reorder[i], n] once reordered.

    for g in groups:
        for n in columns that a row of g keeps:
            for i in group_offset[g] .. group_offset[g + 1]:
                y[reorder[i]] += w[i, n] * x[n]
    """

    fields: ir.DictAttr


class MatmulOp(BSPC.Operation, name="matmul", traits=[ext.Pure]):
    """A linear layer with a block-sparse weight.

    for every leading index b of x:            # x [..., N], w [M, N] -> y [..., M]
        for m in M:
            y[b, m] = sum over n in N of x[b, n] * w[m, n]
    """

    x: ext.Operand[Any]
    w: ext.Operand[Any]
    reorder: Sequence[ext.Operand[Any]]
    y: ext.Result[Any]

    @staticmethod
    def verify_invariants(op: ir.OpView) -> bool:
        return verify.matmul(op)


class PackedMatmulOp(BSPC.Operation, name="packed_matmul", traits=[ext.Pure]):
    """`bspc.matmul` with the arrays of the format in place of the weight.

    for g in groups:                           # x [..., N] -> y [..., M]; shape = [M, N]
        for k in column_offset[g] .. column_offset[g + 1]:
            for row r of group g:
                y[.., reorder[r]] += x[.., column_index[k]] * values[panel of g][k, r]
    """

    x: ext.Operand[Any]
    row_order: ext.Operand[Any]
    group_offset: ext.Operand[Any]
    column_offset: ext.Operand[Any]
    column_index: ext.Operand[Any]
    values: ext.Operand[Any]
    y: ext.Result[Any]
    shape: Any  # DenseI64ArrayAttr, which IRDL cannot name; the verifier checks it
    row_align: ir.IntegerAttr

    @staticmethod
    def verify_invariants(op: ir.OpView) -> bool:
        return verify.packed_matmul(op)
