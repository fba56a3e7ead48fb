"""bspc-encode: constant weights whose zeros have block structure get a `#bspc.encoding`.

Rewrites:
    linalg.matmul ins(%x, transpose(%w)) outs(zeros)         with %w a constant [M, N]
  ->
    bspc.matmul %x, %w : tensor<MxNxf32, #bspc.encoding<{stage = "encoded", ...}>>

in every form `contraction` knows, and puts the encoding on the weights of `bspc.gru`. The pattern
is found from the numbers. A matrix that the cost model finds no faster in BSPC stays dense, and the
op says why in the attribute `bspc.dense`. A small dense matrix that meets few vectors at a time, as
the output layer of a streaming model does, becomes a `bspc.matmul` all the same, without an
encoding: one group of all rows and columns on the panel kernel. Larger ones are left to IREE.

Does not handle: weights that are no constants; element types other than f32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rtmobile_iree.dialects.constants import constant_array
from rtmobile_iree.passes.contraction import Contraction, is_contraction, match_contraction
from rtmobile_iree.passes.grouping import cycles, dense_group, layout, loads
from rtmobile_iree.passes.kernels.dispatch import dynamic_dims
from rtmobile_iree.passes.weights import (
    Weight,
    bspc_ops,
    erase_unused,
    read_weights,
    value_name,
    walk,
    weight_names,
    write_weights,
)
from torch_mlir import ir
from torch_mlir.dialects import arith, linalg, tensor

from rtmobile_iree.bspc import byte_counts, find_groups, pack
from rtmobile_iree.errors import EncodeError

DENSE = "bspc.dense"
# Where the panel kernel beats IREE's dense code: the matrix stays in half of a 1 MB L2, and the
# vectors are too few for IREE's data tiling to pay. Measured on Zen 4: [40, 1024] times one vector
# takes 2 us on panels and 16 us in IREE; times 30 vectors both take 22 us.
SMALL_BYTES = 512 * 1024
FEW_VECTORS = 32


def encoding(weight: NDArray[np.float32], threshold: float) -> dict[str, object] | str:
    """Fields of the encoding of a matrix [M, N], or the reason why it should stay dense.

    Args:
        threshold: BSPC is chosen below this share of the dense matrix's estimated cycles.
    """
    kept = int(np.count_nonzero(weight))
    if kept == weight.size:
        return "no zeros"
    groups = layout(weight)
    dense = [dense_group(weight.shape)]
    share = cycles(groups) / cycles(dense)
    if share >= threshold:
        size = byte_counts(pack(weight, groups))
        return (
            f"too little block structure: {kept:,} of {weight.size:,} weights kept, in "
            f"{len(find_groups(weight)):,} row patterns; BSPC would take {size.total:,} bytes for "
            f"{size.dense:,} dense, and {share:.2f} of the time (below {threshold:g} is worth it)"
        )
    return {
        "stage": "encoded",
        "groups": len(find_groups(weight)),
        "kept": kept,
        "group_offset": [],
        "loads_before": kept,
        "loads_after": loads(find_groups(weight)),
    }


@dataclass(frozen=True)
class EncodePass:
    """Puts the BSPC encoding on every constant weight that it makes faster.

    Attributes:
        threshold: encode below this share of the dense matrix's estimated time.
    """

    name: ClassVar[str] = "bspc-encode"

    threshold: float = 0.7

    def run(self, module: ir.Operation) -> None:
        if not self.threshold > 0:
            raise EncodeError(f"bspc-encode: threshold = {self.threshold}; use a number above 0")
        for op in bspc_ops(module):
            _encode_weights(op, self.threshold)
        for op in [op for op in walk(module) if is_contraction(op)]:
            contraction = match_contraction(op)
            if contraction is not None:
                _encode_contraction(contraction, self.threshold)


def _encode_weights(op: ir.Operation, threshold: float) -> None:
    """Encodes the weights of a `bspc.gru` or of a `bspc.matmul` somebody wrote by hand."""
    weights, reasons = read_weights(op), []
    for name, weight in zip(weight_names(op), weights, strict=True):
        _check_finite(name, weight.array)
        found = encoding(weight.array, threshold) if weight.encoding is None else ""
        reasons.append(found if isinstance(found, str) else "")
        if isinstance(found, dict):
            weights[len(reasons) - 1] = replace(weight, encoding=found)
    if any(weight.stage == "encoded" for weight in weights):
        op = write_weights(op, weights)
    if any(reasons):
        with op.context:
            op.attributes[DENSE] = ir.ArrayAttr.get([ir.StringAttr.get(r) for r in reasons])


def _encode_contraction(match: Contraction, threshold: float) -> None:
    op = match.op
    name = value_name(match.source) or op.name
    _check_finite(name, match.weight)
    found = encoding(match.weight, threshold)
    with op.context:
        attributes: dict[str, ir.Attribute] = {"name": ir.StringAttr.get(name)}
        if isinstance(found, str):
            attributes[DENSE] = ir.ArrayAttr.get([ir.StringAttr.get(found)])
        if isinstance(found, dict):
            _replace(match, Weight(match.weight, found), attributes)
        elif _is_small(match):
            _replace(match, Weight(match.weight), attributes)
        else:
            for key, attribute in attributes.items():
                op.attributes[key] = attribute


def _is_small(match: Contraction) -> bool:
    """Whether a dense contraction does better on the panel kernel than in IREE."""
    kind = ir.RankedTensorType(match.x.type)
    leading = [kind.shape[axis] for axis in match.x_order[:-1] if not kind.is_dynamic_dim(axis)]
    return match.weight.nbytes <= SMALL_BYTES and math.prod(leading) <= FEW_VECTORS


def _check_finite(name: str, weight: NDArray[np.float32]) -> None:
    bad = weight.size - int(np.isfinite(weight).sum())
    if bad:
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(weight))[0])
        raise EncodeError(
            f"bspc-encode: {name} {list(weight.shape)}: {bad:,} weights are NaN or infinite, the "
            f"first at {list(where)}; only finite weights can be compiled"
        )


def _replace(match: Contraction, weight: Weight, attributes: dict[str, ir.Attribute]) -> None:
    """Puts a `bspc.matmul` in a contraction's place, with transposes where the order needs them."""
    op = match.op
    init = list(op.operands)[-1]
    with op.context, ir.InsertionPoint(op), op.location:
        x = _transposed(match.x, match.x_order)
        kind = ir.RankedTensorType(x.type)
        sizes = [*_sizes(kind)[:-1], weight.array.shape[0]]
        result = ir.RankedTensorType.get(sizes, kind.element_type)
        # the source only stands in until write_weights gives the op its own constant
        new = ir.Operation.create(
            "bspc.matmul",
            results=[result],
            operands=[x, match.source],
            attributes=attributes,
        )
        y = _transposed(new.results[0], match.y_order)
        if not _is_zero(init):
            y = arith.addf(_cast(y, init.type), init)
        op.results[0].replace_all_uses_with(_cast(y, op.results[0].type))
    old = list(op.operands)
    op.erase()
    erase_unused(old)
    write_weights(new, [weight])


def _sizes(kind: ir.RankedTensorType) -> list[int]:
    dynamic = ir.ShapedType.get_dynamic_size()
    return [dynamic if kind.is_dynamic_dim(i) else kind.shape[i] for i in range(kind.rank)]


def _transposed(value: ir.Value, order: tuple[int, ...]) -> ir.Value:
    if order == tuple(range(len(order))):
        return value
    kind = ir.RankedTensorType(value.type)
    dims = dynamic_dims(value)
    axes = [i for i in range(kind.rank) if kind.is_dynamic_dim(i)]
    by_axis = dict(zip(axes, dims, strict=True))
    sizes = [by_axis.get(axis, kind.shape[axis]) for axis in order]
    empty = tensor.empty(sizes, kind.element_type)
    return linalg.transpose(value, outs=[empty], permutation=order).results[0]


def _cast(value: ir.Value, kind: ir.Type) -> ir.Value:
    """Same shape, known to another degree: `tensor<?x8xf32>` to `tensor<1x8xf32>`."""
    return value if value.type == kind else tensor.cast(kind, value)


def _is_zero(init: ir.Value) -> bool:
    """Whether a contraction's accumulator starts from zeros."""
    array = constant_array(init)
    if array is not None:
        return not array.any()
    owner = init.owner
    if isinstance(owner, ir.Block) or owner.name != "linalg.fill":
        return False
    scalar = owner.operands[0].owner
    if isinstance(scalar, ir.Block) or scalar.name != "arith.constant":
        return False
    return ir.FloatAttr(scalar.attributes["value"]).value == 0
