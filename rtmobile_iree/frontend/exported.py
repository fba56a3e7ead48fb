"""The recurrent layers of a program that plain torch.export made: ATen's become our own ops."""

from operator import getitem
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.kinds import KINDS
from rtmobile_iree.nn import layer_suffixes, run_cell, run_stack

__all__ = ["restore_recurrent"]

LAYERS = {
    "gru.input": "gru",
    "lstm.input": "lstm",
    "rnn_tanh.input": "rnn_tanh",
    "rnn_relu.input": "rnn_relu",
}
CELLS = {
    "gru_cell.default": "gru",
    "lstm_cell.default": "lstm",
    "rnn_tanh_cell.default": "rnn_tanh",
    "rnn_relu_cell.default": "rnn_relu",
}
"""ATen overloads, and their kinds."""


def restore_recurrent(program: ExportedProgram) -> nn.Module:
    """The program as a module that calls `run_stack` or `run_cell` where it called ATen.

    Raises:
        FrontendError: the program holds a layer in training mode.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        target = str(node.target).removeprefix("aten.") if node.op == "call_function" else ""
        if target in LAYERS:
            _restore_layer(module, node, LAYERS[target])
        elif target in CELLS:
            _restore_cell(module, node, CELLS[target])
    # A new module over the same graph, without the hook that insists on the first export's sizes.
    return fx.GraphModule(module, module.graph)


def _restore_layer(module: fx.GraphModule, node: fx.Node, kind: str) -> None:
    x, hx, params, has_biases, num_layers, _, train, bidirectional, batch_first = node.args
    assert isinstance(params, list | tuple)
    assert isinstance(num_layers, int)
    path = _path(params[0])
    if train:
        raise FrontendError(
            f"{path or node.name}: {node.target} exported in training mode; call .eval()"
        )
    suffixes = layer_suffixes(num_layers, bool(bidirectional))
    per_layer = len(params) // len(suffixes)
    if per_layer == (5 if has_biases else 3):
        kind = "lstmp"
    weights = []
    for first in range(0, len(params), per_layer):
        w_ih, w_hh, *rest = params[first : first + per_layer]
        biases, projection = (rest[:2], rest[2:]) if has_biases else ([None, None], rest)
        biases = [_bias(module, node, kind, bias, w_ih) for bias in biases]
        weights.append([w_ih, w_hh, *projection, *biases])
    states = hx if isinstance(hx, list | tuple) else [hx]
    kwargs: dict[str, Any] = {"bidirectional": bidirectional, "batch_first": batch_first}
    with module.graph.inserting_before(node):
        arguments = (kind, x, states, weights, path, suffixes)
        stack = module.graph.call_function(run_stack, arguments, kwargs)
    node.replace_all_uses_with(stack)
    module.graph.erase_node(node)


def _restore_cell(module: fx.GraphModule, node: fx.Node, kind: str) -> None:
    x, hx, w_ih, w_hh, *given = node.args
    biases = [_bias(module, node, kind, b, w_ih) for b in (*given, None, None)[:2]]
    states = hx if isinstance(hx, list | tuple) else [hx]
    with module.graph.inserting_before(node):
        arguments = (kind, x, states, [w_ih, w_hh, *biases], _path(w_ih))
        cell = module.graph.call_function(run_cell, arguments)
        if len(KINDS[kind].states) == 1:
            cell = module.graph.call_function(getitem, (cell, 0))
    node.replace_all_uses_with(cell)
    module.graph.erase_node(node)


def _path(weight: Any) -> str:
    """Path of the module that owns a parameter; "" where it is the root's, or none."""
    return str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) else ""


def _bias(module: fx.GraphModule, node: fx.Node, kind: str, bias: Any, w_ih: Any) -> Any:
    """A bias, or zeros where the layer has none."""
    if bias is not None:
        return bias
    rows = w_ih.meta["val"].shape[0]
    assert rows % KINDS[kind].gates == 0
    name = f"{node.name}_zero_bias_{rows}"
    if not hasattr(module, name):
        module.register_buffer(name, torch.zeros(rows))
    with module.graph.inserting_before(node):
        return module.graph.get_attr(name)
