"""The GRUs of a program that plain torch.export made: `aten.gru.input` becomes `rtmobile::gru`."""

from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.nn import GATES, gru_stack, layer_suffixes

__all__ = ["restore_recurrent"]

REFUSED = (
    "lstm.input",
    "lstm.data",
    "gru.data",
    "gru_cell.default",
    "lstm_cell.default",
    "rnn_tanh.input",
    "rnn_relu.input",
    "rnn_tanh_cell.default",
    "rnn_relu_cell.default",
)
"""ATen overloads of recurrent layers without a kernel."""


def restore_recurrent(program: ExportedProgram) -> nn.Module:
    """The program as a module that calls `rtmobile::gru` where it called `aten.gru.input`.

    Raises:
        FrontendError: the program holds another recurrent layer, or a GRU in training mode.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target == torch.ops.aten.gru.input:
            _restore_gru(module, node)
        elif str(node.target).removeprefix("aten.") in REFUSED:
            raise FrontendError(f"{node.name}: {node.target} is not supported; use nn.GRU")
    # A new module over the same graph, without the hook that insists on the first export's sizes.
    return fx.GraphModule(module, module.graph)


def _restore_gru(module: fx.GraphModule, node: fx.Node) -> None:
    x, state, params, has_biases, num_layers, _, train, bidirectional, batch_first = node.args
    assert isinstance(params, list | tuple)
    assert isinstance(num_layers, int)
    path = str(params[0].target).rpartition(".")[0] if isinstance(params[0], fx.Node) else ""
    if train:
        raise FrontendError(f"{path or node.name}: nn.GRU exported in training mode; call .eval()")
    suffixes = layer_suffixes(num_layers, bool(bidirectional))
    per_layer = 4 if has_biases else 2
    weights = [list(params[i * per_layer : (i + 1) * per_layer]) for i in range(len(suffixes))]
    if not has_biases:
        zero = _zero_bias(module, node, weights[0][1])
        weights = [[*pair, zero, zero] for pair in weights]
    kwargs: dict[str, Any] = {"bidirectional": bidirectional, "batch_first": batch_first}
    with module.graph.inserting_before(node):
        names = [f"{path}.{s}" if path else s for s in suffixes]
        stack = module.graph.call_function(gru_stack, (x, state, weights, names), kwargs)
    node.replace_all_uses_with(stack)
    module.graph.erase_node(node)


def _zero_bias(module: fx.GraphModule, node: fx.Node, w_hh: Any) -> fx.Node:
    rows = w_hh.meta["val"].shape[0]
    assert rows % GATES == 0
    name = f"{node.name}_zero_bias"
    module.register_buffer(name, torch.zeros(rows))
    with module.graph.inserting_before(node):
        return module.graph.get_attr(name)
