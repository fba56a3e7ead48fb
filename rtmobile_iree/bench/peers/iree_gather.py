"""A pruned GRU for IREE's stock compiler: panels of kept weights, and gathers of their inputs.

Rows that keep the same columns make a group, as in BSPC; groups are padded to one size, so that a
product is one `linalg.generic` over [group, row, kept column], which reads its input by
`tensor.extract` at the group's column indices. Nothing here knows of IREE's insides: this is what
the format gives to someone who writes linalg and runs `iree-compile`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtmobile_iree.bench.peers.gru_task import GruTask, LayerWeights
from rtmobile_iree.bench.peers.packed_groups import Packed, pack_groups

# orders of the kept weights in memory: panels by row, or by column as BSPC has them
ORDERS = ("grk", "gkr")


def gather_module(gru: GruTask, x_shape: tuple[int, ...], order: str) -> str:
    """The MLIR of one chunk: x and state as PyTorch has them -> y and the state after.

    Args:
        x_shape: [1, T, I] or [T, 1, I].
        order: of `ORDERS`.
    """
    steps, inputs = gru.frames.shape
    layers, hidden = gru.state.shape
    x, y, state = _type(x_shape), _type(gru.y_shape), _type((layers, 1, hidden))
    frames, h = _type((steps, inputs)), _type((hidden,))
    functions, lines = [], [f"%y_0 = tensor.collapse_shape %x [[0, 1], [2]] : {x} into {frames}"]
    for i, weights in enumerate(gru.model.layers()):
        functions.append(_layer(i, weights, steps, order))
        outputs = _type((steps, hidden))
        at = f"[{i}, 0, 0] [1, 1, {hidden}] [1, 1, 1]"
        before = "%state" if i == 0 else f"%last_{i}"
        lines += [
            f"%h_{i} = tensor.extract_slice %state{at} : {state} to {h}",
            f"%y_{i + 1}, %next_{i} = call @layer_{i}(%y_{i}, %h_{i}) : ({frames}, {h}) -> "
            f"({outputs}, {h})",
            f"%last_{i + 1} = tensor.insert_slice %next_{i} into {before}{at} : {h} into {state}",
        ]
        frames = outputs
    result = f"%y_{layers}"
    if linear := gru.model.linear():
        functions.append(_linear(*linear, steps))
        outputs = _type((steps, gru.y_shape[-1]))
        lines.append(f"%scores = call @linear({result}) : ({frames}) -> {outputs}")
        result, frames = "%scores", outputs
    shape = ", ".join(map(str, gru.y_shape))
    lines += [
        f"%y = tensor.expand_shape {result} [[0, 1], [2]] output_shape [{shape}] : {frames} into "
        f"{y}",
        f"return %y, %last_{layers} : {y}, {state}",
    ]
    head = f"func.func @main(%x: {x}, %state: {state}) -> ({y}, {state}) {{"
    return "\n".join([*functions, head, *lines, "}"]) + "\n"


def _layer(i: int, weights: LayerWeights, steps: int, order: str) -> str:
    """x [T, I] and h [H] -> h after every step [T, H], and after the last."""
    w_ih, w_hh, b_ih, b_hh = weights
    inputs, hidden = w_ih.shape[1], w_hh.shape[1]
    x, h, hs = _type((steps, inputs)), _type((hidden,)), _type((steps, hidden))
    inputs_product = _Product("in", pack_groups(w_ih), order, steps)
    product = _Product("re", pack_groups(w_hh), order, 1)
    products = ((inputs_product, b_ih), (product, b_hh))
    one = _type((1, hidden))
    lines = [
        f"func.func private @layer_{i}(%x: {x}, %h_0: {h}) -> ({hs}, {h}) {{",
        *inputs_product.constants(),
        *product.constants(),
        *_gate_constants(products),
        *inputs_product.lines("in", "%x", x),
        f"%ys_0 = tensor.empty() : {hs}",
    ]
    for t in range(steps):
        lines += [
            f"%at_{t} = arith.constant {t} : index",
            f"%row_{t} = tensor.expand_shape %h_{t} [[0, 1]] output_shape [1, {hidden}] : {h} into "
            f"{one}",
            *product.lines(f"re_{t}", f"%row_{t}", one),
            *_gates(t, hidden, inputs_product.type, product.type),
            f"%ys_{t + 1} = tensor.insert_slice %h_{t + 1} into %ys_{t}[{t}, 0] [1, {hidden}] "
            f"[1, 1] : {h} into {hs}",
        ]
    return "\n".join([*lines, f"return %ys_{steps}, %h_{steps} : {hs}, {h}", "}"])


class _Product:
    """The packed matrix times each of `steps` vectors, [steps, G * R]."""

    def __init__(self, prefix: str, packed: Packed, order: str, steps: int) -> None:
        self.prefix, self.packed, self.order, self.steps = prefix, packed, order, steps
        groups, rows, _ = packed.values.shape
        self.values = packed.values.transpose(["grk".index(d) for d in order])
        self.type = _type((steps, groups * rows))

    def constants(self) -> list[str]:
        """Defines the packed matrix."""
        return [
            _constant(f"%{self.prefix}_values", self.values),
            _constant(f"%{self.prefix}_columns", self.packed.columns),
        ]

    def lines(self, name: str, x: str, x_type: str) -> list[str]:
        """Makes %NAME of x [steps, N]."""
        groups, rows, _ = self.packed.values.shape
        result = _type((self.steps, groups, rows))
        return [
            f"%{name}_zero = arith.constant 0.0 : f32",
            f"%{name}_empty = tensor.empty() : {result}",
            f"%{name}_init = linalg.fill ins(%{name}_zero : f32) outs(%{name}_empty : {result}) -> "
            f"{result}",
            f"%{name}_groups = linalg.generic {{indexing_maps = [",
            f"  affine_map<(t, g, r, k) -> ({', '.join(self.order)})>,",
            "  affine_map<(t, g, r, k) -> (g, k)>, affine_map<(t, g, r, k) -> (t, g, r)>],",
            '  iterator_types = ["parallel", "parallel", "parallel", "reduction"]}',
            f"  ins(%{self.prefix}_values, %{self.prefix}_columns : {_type(self.values.shape)}, "
            f"{_type(self.packed.columns.shape, 'i32')}) outs(%{name}_init : {result}) {{",
            "^bb0(%w: f32, %column: i32, %sum: f32):",
            "  %t = linalg.index 0 : index",
            "  %c = arith.index_cast %column : i32 to index",
            f"  %v = tensor.extract {x}[%t, %c] : {x_type}",
            "  %p = arith.mulf %w, %v : f32",
            "  %s = arith.addf %sum, %p : f32",
            "  linalg.yield %s : f32",
            f"}} -> {result}",
            f"%{name} = tensor.collapse_shape %{name}_groups [[0], [1, 2]] : {result} into "
            f"{self.type}",
        ]


def _gate_names() -> list[str]:
    """Where the rows of each gate are in the two products, and their biases."""
    return [f"{side}{gate}_{what}" for side in "xh" for gate in "rzn" for what in ("place", "bias")]


def _gate_constants(products: Sequence[tuple[_Product, np.ndarray]]) -> list[str]:
    """Defines `_gate_names`, of the projection and of the recurrent product."""
    arrays = [
        part
        for product, bias in products
        for pair in zip(np.split(product.packed.places, 3), np.split(bias, 3), strict=True)
        for part in pair
    ]
    return [_constant(f"%{name}", a) for name, a in zip(_gate_names(), arrays, strict=True)]


def _gates(t: int, hidden: int, in_type: str, re_type: str) -> list[str]:
    """The state after step t, of the products and the biases; PyTorch's formula of nn.GRU."""
    h, names = _type((hidden,)), _gate_names()
    types = ", ".join([_type((hidden,), "i32"), h] * 6)
    maps = ", ".join(["affine_map<(u) -> (u)>"] * 14)
    block = ", ".join(f"%b_{n}: {'i32' if n.endswith('place') else 'f32'}" for n in names)
    return [
        f"%zero_{t} = arith.constant 0 : index",
        f"%one_{t} = arith.constant 1.0 : f32",
        f"%h_empty_{t} = tensor.empty() : {h}",
        f'%h_{t + 1} = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["parallel"]}}',
        f"  ins({', '.join(f'%{n}' for n in names)}, %h_{t} : {types}, {h})",
        f"  outs(%h_empty_{t} : {h}) {{",
        f"^bb0({block}, %h: f32, %unused: f32):",
        *_product_value("x", f"%in[%at_{t}", in_type),
        *_product_value("h", f"%re_{t}[%zero_{t}", re_type),
        *_sigmoid("r", "%xr, %hr", f"%one_{t}"),
        *_sigmoid("z", "%xz, %hz", f"%one_{t}"),
        "  %rh = arith.mulf %r, %hn : f32",
        "  %ns = arith.addf %xn, %rh : f32",
        "  %n = math.tanh %ns : f32",
        "  %d = arith.subf %h, %n : f32",
        "  %zd = arith.mulf %z, %d : f32",
        "  %next = arith.addf %n, %zd : f32",
        "  linalg.yield %next : f32",
        f"}} -> {h}",
    ]


def _product_value(side: str, at: str, product_type: str) -> list[str]:
    """The three gates' rows of a product, with their biases."""
    return [
        line
        for gate in "rzn"
        for line in (
            f"  %{side}{gate}_at = arith.index_cast %b_{side}{gate}_place : i32 to index",
            f"  %{side}{gate}_sum = tensor.extract {at}, %{side}{gate}_at] : {product_type}",
            f"  %{side}{gate} = arith.addf %{side}{gate}_sum, %b_{side}{gate}_bias : f32",
        )
    ]


def _sigmoid(name: str, terms: str, one: str) -> list[str]:
    return [
        f"  %{name}_sum = arith.addf {terms} : f32",
        f"  %{name}_neg = arith.negf %{name}_sum : f32",
        f"  %{name}_exp = math.exp %{name}_neg : f32",
        f"  %{name}_den = arith.addf %{name}_exp, {one} : f32",
        f"  %{name} = arith.divf {one}, %{name}_den : f32",
    ]


def _linear(weight: np.ndarray, bias: np.ndarray, steps: int) -> str:
    """The linear layer, dense."""
    x, y, b = _type((steps, weight.shape[1])), _type((steps, len(weight))), _type((len(weight),))
    return "\n".join(
        [
            f"func.func private @linear(%x: {x}) -> {y} {{",
            _constant("%w", weight.T),
            _constant("%b", bias),
            f"%e = tensor.empty() : {y}",
            f"%i = linalg.broadcast ins(%b : {b}) outs(%e : {y}) dimensions = [0]",
            f"%y = linalg.matmul ins(%x, %w : {x}, {_type(weight.T.shape)}) outs(%i : {y}) -> {y}",
            f"return %y : {y}",
            "}",
        ]
    )


def _constant(name: str, array: np.ndarray) -> str:
    element = "f32" if array.dtype == np.float32 else "i32"
    text = np.ascontiguousarray(array).tobytes().hex().upper()
    return f'{name} = arith.constant dense<"0x{text}"> : {_type(array.shape, element)}'


def _type(shape: tuple[int, ...], element: str = "f32") -> str:
    return f"tensor<{'x'.join(map(str, (*shape, element)))}>"
