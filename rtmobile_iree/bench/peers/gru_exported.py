"""The GRU and the output layer of an exported module, found in its graph.

Backwards from its outputs (y, state): at most one linear layer, then the GRU, as torch's own op or
as a stack of ours; anything else is refused, since a graph of these parts would compute something
else.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from rtmobile_iree.bench.files import attribute, gru_nodes
from rtmobile_iree.bench.peers.gru_task import GruModel
from rtmobile_iree.errors import InputError

ATEN = torch.ops.aten
NEEDED = "its graph must be one GRU and at most one linear layer"


def exported_gru_model(module: fx.GraphModule) -> GruModel:
    """The parts of an exported module that computes `fc(gru(x, state)), state`.

    Raises:
        InputError: the module computes something else.
    """
    x, state = _inputs(module)
    y, last = _outputs(module)
    fc = None
    if y.target == ATEN.linear.default:
        fc = _linear(module, y)
        y = _node(y.args[0])
    grus = list(gru_nodes(module.graph))
    if len(grus) == 1 and grus[0].target == ATEN.gru.input:
        _require(_is_result(y, grus[0], 0) and _is_result(last, grus[0], 1), y)
        return GruModel(_gru_of_torch(module, grus[0], x, state), fc)
    return GruModel(_gru_of_ours(module, grus, (x, state), (y, last)), fc)


def _inputs(module: fx.GraphModule) -> Sequence[fx.Node]:
    found = [node for node in module.graph.nodes if node.op == "placeholder"]
    if len(found) != 2:
        raise InputError(f"it takes {len(found)} inputs, not a chunk and the state")
    return found


def _outputs(module: fx.GraphModule) -> Sequence[fx.Node]:
    results = module.graph.output_node().args[0]
    leaves = torch.utils._pytree.tree_leaves(results)
    if len(leaves) != 2 or not all(isinstance(leaf, fx.Node) for leaf in leaves):
        raise InputError(f"it returns {len(leaves)} results, not an output and the state")
    return leaves


def _linear(module: fx.GraphModule, node: fx.Node) -> nn.Linear:
    weight = attribute(module, _node(node.args[1]))
    bias = node.args[2] if len(node.args) > 2 else None
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    _fill(list(made.parameters()), [weight] + ([attribute(module, _node(bias))] if bias else []))
    return made


def _gru_of_torch(module: fx.GraphModule, node: fx.Node, x: fx.Node, state: fx.Node) -> nn.GRU:
    given_x, given_state, params, has_bias, layers, _, train, two_way, batch_first = node.args
    _require(given_x is x and given_state is state and not train and not two_way, node)
    assert isinstance(params, Sequence)
    assert isinstance(layers, int)
    weights = [attribute(module, _node(p)) for p in params]
    return _gru(weights, layers, bool(has_bias), bool(batch_first))


def _gru_of_ours(
    module: fx.GraphModule,
    nodes: Sequence[fx.Node],
    inputs: Sequence[fx.Node],
    outputs: Sequence[fx.Node],
) -> nn.GRU:
    if not nodes or any(node.target == ATEN.gru.input for node in nodes):
        raise InputError(f"it has {len(nodes)} GRUs; {NEEDED}")
    x, state = inputs
    batch_first = nodes[0].args[0] is not x
    weights: list[Tensor] = []
    for layer, node in enumerate(nodes):
        previous = nodes[layer - 1]
        if layer:
            fed = _is_result(_node(node.args[0]), previous, 0)
            threaded = _is_result(_node(node.args[1]), previous, 1)
        else:
            fed = node.args[0] is x or _is_swap(node.args[0], x, 0)
            threaded = node.args[1] is state
        _require(fed and threaded and node.args[6:7] == (layer,), node)
        weights += [attribute(module, _node(argument)) for argument in node.args[2:6]]
    y, last = outputs
    whole = _is_swap(y, nodes[-1], 1) if batch_first else _is_result(y, nodes[-1], 0)
    _require(whole and _is_result(last, nodes[-1], 1), y)
    return _gru(weights, len(nodes), True, batch_first)


def _gru(weights: Sequence[Tensor], layers: int, bias: bool, batch_first: bool) -> nn.GRU:
    inputs, hidden = weights[0].shape[1], weights[1].shape[1]
    made = nn.GRU(inputs, hidden, layers, bias=bias, batch_first=batch_first).eval()
    _fill(list(made.parameters()), weights)
    return made


def _fill(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Parameters come in the order in which the ops take them: layer by layer, w, w, b, b."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _is_result(node: fx.Node, of: fx.Node, index: int) -> bool:
    return node.target is operator.getitem and node.args == (of, index)


def _is_swap(value: Any, source: fx.Node, batch_dim: int) -> bool:
    """Whether a value is `source` (an input, or the output of a GRU) with a batch of 1 moved from
    `batch_dim`, as `rtmobile_iree.nn` writes it."""
    if not isinstance(value, fx.Node) or value.target != ATEN.unsqueeze.default:
        return False
    squeeze = _node(value.args[0])
    if squeeze.target != ATEN.squeeze.dim or squeeze.args[1] != batch_dim:
        return False
    inner = _node(squeeze.args[0])
    is_source = inner is source or _is_result(inner, source, 0)
    return is_source and value.args[1:] == (1 - batch_dim,)


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise InputError(f"{value} is a constant in its graph; {NEEDED}")
    return value


def _require(fits: bool, node: fx.Node) -> None:
    if not fits:
        raise InputError(f"{node.name} ({node.target}) is in the way; {NEEDED}")
