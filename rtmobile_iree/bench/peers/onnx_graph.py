"""A GRU model as ONNX, in the two forms that engines may run fastest.

`gru_node` has one GRU node a layer. `unrolled` has MatMuls: the input projection of all steps at
once, then one recurrent product a step; better on some machines and chunk lengths.
Formulas: PyTorch's nn.GRU (gates stacked r, z, n); ONNX operator GRU (gates z, r, h).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rtmobile_iree.bench.peers.gru_task import GruModel, LayerWeights

OPSET = 18


@dataclass
class Graph:
    """Nodes and constants under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its results."""
        names = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names

    def one(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one result and returns its name."""
        return self.add(op, *inputs, outputs=1, **attributes)[0]

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def build(form: str, model: GruModel, steps: int) -> bytes:
    """A serialized ONNX model: x [1, T, I] or [T, 1, I], state [L, 1, H] -> output, state.

    Args:
        form: "gru_node" or "unrolled".
        steps: T.
    """
    gru, graph = model.gru, Graph()
    y = graph.one("Transpose", "x", perm=[1, 0, 2]) if gru.batch_first else "x"
    states = graph.add("Split", "state", outputs=gru.num_layers, num_outputs=gru.num_layers)
    last = []
    for layer in range(gru.num_layers):
        y, state = FORMS[form](graph, model.weights(layer), y, states[layer], steps)
        last.append(state)
    if gru.batch_first:
        y = graph.one("Transpose", y, perm=[1, 0, 2])
    if linear := model.linear():
        weight, bias = linear
        product = graph.one("MatMul", y, graph.constant(weight.T))
        y = graph.one("Add", product, graph.constant(bias))
    graph.nodes.append(helper.make_node("Identity", [y], ["y"]))
    graph.nodes.append(helper.make_node("Concat", last, ["next_state"], axis=0))
    return _serialize(graph, gru, steps)


def _serialize(graph: Graph, gru: nn.GRU, steps: int) -> bytes:
    f32 = TensorProto.FLOAT
    x_shape = [1, steps, gru.input_size] if gru.batch_first else [steps, 1, gru.input_size]
    state_shape = [gru.num_layers, 1, gru.hidden_size]
    proto = helper.make_graph(
        graph.nodes,
        "gru",
        [
            helper.make_tensor_value_info("x", f32, x_shape),
            helper.make_tensor_value_info("state", f32, state_shape),
        ],
        [
            helper.make_tensor_value_info("y", f32, None),
            helper.make_tensor_value_info("next_state", f32, state_shape),
        ],
        graph.constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opset, ir_version=10).SerializeToString()


def _zrh(stacked: np.ndarray) -> np.ndarray:
    """Rows stacked r, z, n as rows stacked z, r, n."""
    r, z, n = np.split(stacked, 3)
    return np.concatenate([z, r, n])


def _gru_node(
    graph: Graph, weights: LayerWeights, x: str, state: str, steps: int
) -> tuple[str, str]:
    """One layer as a GRU node: x [T, 1, I] -> y [T, 1, H], state [1, 1, H]."""
    w_ih, w_hh, b_ih, b_hh = (_zrh(array) for array in weights)
    y, last = graph.add(
        "GRU",
        x,
        graph.constant(w_ih[None]),
        graph.constant(w_hh[None]),
        graph.constant(np.concatenate([b_ih, b_hh])[None]),
        "",
        state,
        outputs=2,
        hidden_size=w_hh.shape[1],
        linear_before_reset=1,
    )
    return graph.one("Squeeze", y, graph.constant(np.array([1]))), last


def _unrolled(
    graph: Graph, weights: LayerWeights, x: str, state: str, steps: int
) -> tuple[str, str]:
    """One layer as MatMuls: x [T, 1, I] -> y [T, 1, H], state [1, 1, H]."""
    w_ih, w_hh, b_ih, b_hh = weights
    inputs = graph.one("MatMul", x, graph.constant(w_ih.T))
    inputs = graph.one("Add", inputs, graph.constant(b_ih))
    chunks = graph.add("Split", inputs, outputs=steps, num_outputs=steps) if steps > 1 else [inputs]
    recurrent, bias = graph.constant(w_hh.T), graph.constant(b_hh)
    h, ys = state, []
    for chunk in chunks:
        product = graph.one("Add", graph.one("MatMul", h, recurrent), bias)
        x_r, x_z, x_n = graph.add("Split", chunk, outputs=3, num_outputs=3, axis=2)
        h_r, h_z, h_n = graph.add("Split", product, outputs=3, num_outputs=3, axis=2)
        r = graph.one("Sigmoid", graph.one("Add", x_r, h_r))
        z = graph.one("Sigmoid", graph.one("Add", x_z, h_z))
        n = graph.one("Tanh", graph.one("Add", x_n, graph.one("Mul", r, h_n)))
        h = graph.one("Add", n, graph.one("Mul", z, graph.one("Sub", h, n)))
        ys.append(h)
    return graph.one("Concat", *ys, axis=0), h


FORMS = {"gru_node": _gru_node, "unrolled": _unrolled}
