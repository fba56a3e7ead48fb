"""The recurrent layers of the `bspc` dialect, one op a kind (rtmobile_iree/kinds.py), and packed.

All share x [T, B, I], the state h [L, B, P] and y [T, B, P]. A layer reads row `layer` of each
state and returns the state with that row replaced, so that the layers of a stack hand whole states
on.
"""

from collections.abc import Sequence
from types import new_class
from typing import Any

from rtmobile_iree.dialects.bspc import BSPC
from rtmobile_iree.dialects.verify import PACKED_ARRAYS, Verifier
from rtmobile_iree.dialects.verify_recurrent import layer, packed_layer
from torch_mlir import ir
from torch_mlir.dialects import ext

from rtmobile_iree.kinds import KINDS, Kind


def _layer(name: str, doc: str) -> type[ir.OpView]:
    """Defines `bspc.<kind>`: the kind's operands, `reorder`, y and the states."""
    kind = KINDS[name]
    operands = dict.fromkeys(kind.tensors, ext.Operand[Any])
    fields = {**operands, "reorder": Sequence[ext.Operand[Any]], "layer": ir.IntegerAttr}
    return _define(kind, name, fields, layer(kind), doc)


def _packed_layer(name: str, doc: str) -> type[ir.OpView]:
    """Defines `bspc.packed_<kind>`: `ih_reorder` and so on and `shape_ih` in place of `w_ih`."""
    kind = KINDS[name]
    arrays = [f"{part}_{array}" for part in kind.weights for array in PACKED_ARRAYS]
    operands = ("x", *kind.states, *arrays, "b_ih", "b_hh")
    # a shape is a DenseI64ArrayAttr, which IRDL cannot name; the verifier checks it
    shapes = {f"shape_{part}": Any for part in kind.weights}
    fields = {
        **dict.fromkeys(operands, ext.Operand[Any]),
        **shapes,
        "layer": ir.IntegerAttr,
        "row_align": ir.IntegerAttr,
    }
    return _define(kind, f"packed_{name}", fields, packed_layer(kind), doc)


def _define(
    kind: Kind, name: str, fields: dict[str, Any], verifier: Verifier, doc: str
) -> type[ir.OpView]:
    """The class of `bspc.<name>`, as the `class` statement of an op would make it."""
    results = ("y", *(f"next_{state}" for state in kind.states))
    body = {
        "__annotations__": {**fields, **dict.fromkeys(results, ext.Result[Any])},
        "__doc__": doc,
        "__module__": __name__,
        "verify_invariants": staticmethod(verifier),
    }
    title = "".join(part.title() for part in name.split("_")) + "Op"
    keywords = {"name": name, "traits": [ext.Pure]}
    return new_class(title, (BSPC.Operation,), keywords, lambda space: space.update(body))


GruOp = _layer(
    "gru",
    """One GRU layer over any number of steps; the gates of the weights are stacked r, z, n.

    h = state[layer]                           # x [T, B, I], state [L, B, H] -> y [T, B, H], state
    for t in T:
        i = x[t] @ w_ih.T + b_ih;  g = h @ w_hh.T + b_hh
        r = sigmoid(i_r + g_r);  z = sigmoid(i_z + g_z);  n = tanh(i_n + r * g_n)
        h = (1 - z) * n + z * h;  y[t] = h
    state[layer] = h
    """,
)

RnnTanhOp = _layer(
    "rnn_tanh",
    """One plain recurrent layer over any number of steps.

    h = state[layer]                           # x [T, B, I], state [L, B, H] -> y [T, B, H], state
    for t in T:
        h = tanh(x[t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh);  y[t] = h
    state[layer] = h
    """,
)

RnnReluOp = _layer(
    "rnn_relu",
    """`bspc.rnn_tanh` with another activation.

    h = state[layer]                           # x [T, B, I], state [L, B, H] -> y [T, B, H], state
    for t in T:
        h = max(0, x[t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh);  y[t] = h
    state[layer] = h
    """,
)

LstmOp = _layer(
    "lstm",
    """One LSTM layer over any number of steps; the gates of the weights are stacked i, f, g, o.

    h, c = state[layer], cell[layer]           # x [T, B, I], state and cell [L, B, H]
    for t in T:                                # -> y [T, B, H], state, cell
        a = x[t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh
        c = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)
        h = sigmoid(a_o) * tanh(c);  y[t] = h
    state[layer], cell[layer] = h, c
    """,
)

LstmpOp = _layer(
    "lstmp",
    """`bspc.lstm` whose units are projected to P outputs (LSTMP, arXiv 1402.1128).

    h, c = state[layer], cell[layer]           # x [T, B, I], state [L, B, P], cell [L, B, H]
    for t in T:                                # -> y [T, B, P], state, cell
        a = x[t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh
        c = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)
        h = (sigmoid(a_o) * tanh(c)) @ w_hr.T;  y[t] = h
    state[layer], cell[layer] = h, c
    """,
)

PackedGruOp = _packed_layer(
    "gru",
    """`bspc.gru` with the arrays of the format in place of the weights.

    h = state[layer]                           # x [T, B, I], state [L, B, H] -> y [T, B, H], state
    for t in T:
        i = b_ih;  g = b_hh                    # shape_ih = [3H, I], shape_hh = [3H, H]
        for each group, kept column k and row r of the group, as in bspc.packed_matmul:
            i[.., ih_reorder[r]] += x[t, .., ih_column_index[k]] * ih_values[panel][k, r]
            g[.., hh_reorder[r]] += h[.., hh_column_index[k]] * hh_values[panel][k, r]
        r = sigmoid(i_r + g_r);  z = sigmoid(i_z + g_z);  n = tanh(i_n + r * g_n)
        h = (1 - z) * n + z * h;  y[t] = h
    state[layer] = h
    """,
)

PackedRnnTanhOp = _packed_layer(
    "rnn_tanh",
    """`bspc.rnn_tanh` with the arrays of the format in place of the weights.

    for t in T:                                # i and g as in bspc.packed_gru, [.., H]
        h = tanh(i + g);  y[t] = h
    """,
)

PackedRnnReluOp = _packed_layer(
    "rnn_relu",
    """`bspc.rnn_relu` with the arrays of the format in place of the weights.

    for t in T:                                # i and g as in bspc.packed_gru, [.., H]
        h = max(0, i + g);  y[t] = h
    """,
)

PackedLstmOp = _packed_layer(
    "lstm",
    """`bspc.lstm` with the arrays of the format in place of the weights.

    for t in T:                                # i and g as in bspc.packed_gru, [.., 4H]
        a = i + g
        c = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)
        h = sigmoid(a_o) * tanh(c);  y[t] = h
    """,
)

PackedLstmpOp = _packed_layer(
    "lstmp",
    """`bspc.lstmp` with the arrays of the format in place of the weights.

    for t in T:                                # as in bspc.packed_lstm, shape_hr = [P, H], and then
        h = packed_matmul(sigmoid(a_o) * tanh(c));  y[t] = h
    """,
)
