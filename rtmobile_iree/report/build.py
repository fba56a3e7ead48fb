"""Reads the report off a module after `bspc-pack`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch_mlir import ir

from rtmobile_iree.bspc import PackedMatrix, byte_counts, load_counts, pack
from rtmobile_iree.passes.contraction import match_contraction
from rtmobile_iree.passes.eliminate_dead_units import DEAD_UNITS
from rtmobile_iree.passes.encode import DENSE
from rtmobile_iree.passes.grouping import dense_group
from rtmobile_iree.passes.pack import VALUE_ERRORS
from rtmobile_iree.passes.packed_ops import PACKED, read_packed
from rtmobile_iree.passes.weights import walk
from rtmobile_iree.report.encoding import MatrixReport, Report


def build_report(module: ir.Module) -> Report:
    """One entry for each constant matrix that is multiplied with something."""
    entries: list[MatrixReport] = []
    for op in walk(module.operation):
        if op.name.startswith(PACKED):
            entries += _packed_entries(op, read_packed(op))
        elif DENSE in op.attributes:
            entries += _dense_entry(op)
    return Report(tuple(entries))


def _reasons(op: ir.Operation, count: int) -> list[str]:
    if DENSE not in op.attributes:
        return [""] * count
    return [ir.StringAttr(reason).value for reason in ir.ArrayAttr(op.attributes[DENSE])]


def _packed_entries(op: ir.Operation, matrices: list[PackedMatrix]) -> list[MatrixReport]:
    names = [ir.StringAttr(name).value for name in ir.ArrayAttr(op.attributes["weights"])]
    reasons = _reasons(op, len(matrices))
    attributes = op.attributes
    dead = ir.IntegerAttr(attributes[DEAD_UNITS]).value if DEAD_UNITS in attributes else 0
    lost = [0.0] * len(matrices)
    if VALUE_ERRORS in attributes:
        lost = list(ir.DenseF64ArrayAttr(attributes[VALUE_ERRORS]))
    return [
        replace(_entry(name, matrix, reason), dead_units=dead, value_error=error)
        for name, matrix, reason, error in zip(names, matrices, reasons, lost, strict=True)
    ]


def _entry(name: str, matrix: PackedMatrix, reason: str) -> MatrixReport:
    sizes, loads = byte_counts(matrix), load_counts(matrix)
    return MatrixReport(
        name=name,
        shape=matrix.shape,
        kept=int(np.count_nonzero(matrix.values)),
        encoded=not reason,
        reason=reason,
        groups=matrix.group_offset.size - 1,
        values_bytes=sizes.values,
        padding_bytes=sizes.padding,
        index_bytes=sizes.index,
        dense_bytes=sizes.dense,
        csr_bytes=sizes.csr,
        loads_before=loads.before,
        loads_after=loads.after,
        value_type=matrix.value_type,
    )


def _dense_entry(op: ir.Operation) -> list[MatrixReport]:
    contraction = match_contraction(op)
    if contraction is None:
        return []
    weight = contraction.weight
    name = ir.StringAttr(op.attributes["name"]).value
    matrix = pack(weight, [dense_group(weight.shape)])
    return [_entry(name, matrix, _reasons(op, 1)[0])]
