"""The custom ops `rtmobile::gru`, `lstm`, `lstmp`, `rnn_tanh` and `rnn_relu`, and stacks of them.

    rtmobile::<kind>(x, states, weights, b_ih, b_hh, layer, name) -> (y, states)

One layer over all steps of a chunk, as torch's own; the states of all layers are threaded through:
`layer` says which row [L, B, .] is read and replaced. `name`, such as "gru.l0", changes nothing.
Shapes, all f32: x [T, B, I], y [T, B, P], the rest as in rtmobile_iree/kinds.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from rtmobile_iree.kinds import KINDS, Kind

__all__ = ["OPS", "is_cell", "layer_suffixes", "run_cell", "run_stack"]

CELL = "cell"
"""Last part of the name of a cell's op, where a layer's has "l0"."""


def is_cell(name: str) -> bool:
    """Whether an op of this name is one step of a cell, not a layer over a sequence."""
    return name.rpartition(".")[2] == CELL


def _run(kind: Kind, *arguments: Any) -> tuple[torch.Tensor, ...]:
    """What the op computes, by torch's own layer."""
    *tensors, layer, _ = arguments
    x, *states = tensors[: kind.first_weight]
    *weights, b_ih, b_hh = tensors[kind.first_weight :]
    rows = [state[layer : layer + 1].contiguous() for state in states]
    parameters = [*weights[:2], b_ih, b_hh, *weights[2:]]
    function = getattr(torch._VF, kind.name.removesuffix("p"))  # type: ignore[attr-defined]
    hx = rows[0] if len(rows) == 1 else rows
    y, *last = function(x, hx, parameters, True, 1, 0.0, False, False, False)
    after = [state.clone(memory_format=torch.contiguous_format) for state in states]
    for state, row in zip(after, last, strict=True):
        state[layer] = row[0]
    return (y.contiguous(), *after)


def _shapes(kind: Kind, *arguments: Any) -> tuple[torch.Tensor, ...]:
    """The results without their values, for any number of steps."""
    *tensors, _, name = arguments
    x, *states = tensors[: kind.first_weight]
    w_ih, w_hh, *projection = tensors[kind.first_weight : -2]
    steps, batch, inputs = x.shape
    rows, outputs = w_hh.shape
    hidden = projection[0].shape[1] if projection else outputs
    check = torch._check
    check(rows == kind.gates * hidden,
          lambda: f"{name}: w_hh {tuple(w_hh.shape)} is not [{kind.gates}H, H]")  # fmt: skip
    check(w_ih.shape[0] == rows and w_ih.shape[1] == inputs,
          lambda: f"{name}: w_ih {tuple(w_ih.shape)} is not [{rows}, {inputs}]")  # fmt: skip
    for what, state, size in zip(kind.states, states, (outputs, hidden), strict=False):
        check(state.shape[1] == batch and state.shape[2] == size,
              lambda: f"{name}: the {what} {tuple(state.shape)} is not "  # noqa: B023
                      f"[layers, {batch}, {size}]")  # noqa: B023  # fmt: skip
    return (x.new_empty(steps, batch, outputs), *(s.new_empty(s.shape) for s in states))


def _define(kind: Kind) -> torch.library.CustomOpDef:
    tensors = ", ".join(f"Tensor {name}" for name in kind.tensors)
    results = ", ".join(["Tensor"] * kind.first_weight)
    op = torch.library.custom_op(
        f"rtmobile::{kind.name}",
        partial(_run, kind),
        mutates_args=(),
        schema=f"({tensors}, int layer, str name) -> ({results})",
    )
    op.register_fake(partial(_shapes, kind))
    return op


OPS = {name: _define(kind) for name, kind in KINDS.items()}


def layer_suffixes(num_layers: int, bidirectional: bool) -> tuple[str, ...]:
    """The suffixes of torch's parameter names, in the order of the states' rows."""
    directions = ("", "_reverse") if bidirectional else ("",)
    return tuple(f"l{k}{d}" for k in range(num_layers) for d in directions)


def run_stack(
    kind: str,
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[Sequence[torch.Tensor]],
    path: str,
    suffixes: Sequence[str],
    *,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[torch.Tensor, ...]:
    """Several layers of one kind, one op each (two when bidirectional).

    Args:
        x: [T, B, I], or [B, T, I] when batch_first.
        states: [L, B, .] each, one row a layer and direction.
        weights: for every row of the states its weights and biases, in the op's order.
        path: the module's, "" for the root; with a suffix for every row it names the layers.

    Returns:
        The output, laid out like x, and the last states.
    """
    op = OPS[kind]
    names = [f"{path}.{suffix}" if path else suffix for suffix in suffixes]
    if batch_first:
        x = _swap_batch_and_steps(x, batch_dim=0)
    stride = 2 if bidirectional else 1
    for first in range(0, len(weights), stride):
        y, *states = op(x, *states, *weights[first], first, names[first])
        if bidirectional:
            last = first + 1
            back, *states = op(x.flip(0), *states, *weights[last], last, names[last])
            y = torch.cat((y, back.flip(0)), dim=-1)
        x = y
    return (_swap_batch_and_steps(x, batch_dim=1) if batch_first else x, *states)


def run_cell(
    kind: str,
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    path: str,
) -> tuple[torch.Tensor, ...]:
    """One step of a cell: x [B, I], states [B, .]; returns the next states."""
    rows = [state.unsqueeze(0) for state in states]
    _, *rows = run_stack(kind, x.unsqueeze(0), rows, [weights], path, [CELL])
    return tuple(row.squeeze(0) for row in rows)


def _swap_batch_and_steps(x: torch.Tensor, batch_dim: int) -> torch.Tensor:
    if x.shape[batch_dim] == 1:  # nothing moves: a reshape, where a transpose would be a copy
        return x.squeeze(batch_dim).unsqueeze(1 - batch_dim)
    return x.transpose(0, 1)
