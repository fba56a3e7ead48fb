"""Rules of the recurrent layers that IRDL cannot state, made for each kind from what it is."""

from __future__ import annotations

from rtmobile_iree.dialects.verify import (
    PACKED_ARRAYS,
    Broken,
    Verifier,
    expect,
    floats,
    integer,
    packed,
    rules,
    static,
    text,
    weights,
)
from torch_mlir import ir

from rtmobile_iree.kinds import Kind


def layer(kind: Kind) -> Verifier:
    """Rules of `bspc.<kind>`: x, states, weights, biases -> y, states."""
    fixed = len(kind.tensors)

    @rules(operands=fixed, results=kind.first_weight)
    def verify(op: ir.Operation) -> None:
        needed = _shapes(op, kind, fixed - 2)
        rows = {f"w_{part}": needed[part][0] for part in kind.weights}
        found = weights(op, kind.first_weight, fixed, rows)
        for part, columns in zip(kind.weights, found, strict=True):
            if needed[part][1] not in (None, columns):
                raise Broken(
                    f"w_{part} has {columns} columns; the other operands need {needed[part][1]}"
                )

    return verify


def packed_layer(kind: Kind) -> Verifier:
    """Rules of `bspc.packed_<kind>`: five arrays for each weight."""
    arrays = len(PACKED_ARRAYS)
    biases = kind.first_weight + arrays * len(kind.weights)

    @rules(operands=biases + 2, results=kind.first_weight)
    def verify(op: ir.Operation) -> None:
        needed = _shapes(op, kind, biases)
        for i, part in enumerate(kind.weights):
            name, (rows, columns) = f"shape_{part}", needed[part]
            shape = packed(op, kind.first_weight + i * arrays, f"{part}_", name)
            expected = (rows, shape[1] if columns is None else columns)
            if shape != expected:
                raise Broken(f"{name} is {list(shape)}; the operands need {list(expected)}")

    return verify


def _shapes(op: ir.Operation, kind: Kind, bias: int) -> dict[str, tuple[int, int | None]]:
    """Checks what both forms of a layer share; returns the shape that each weight must have.

    Args:
        bias: number of the operand b_ih; b_hh follows.
    """
    x, y = floats(op.operands[0], "x", 3), floats(op.results[0], "y", 3)
    states = [floats(op.operands[1 + i], name, 3) for i, name in enumerate(kind.states)]
    sizes = [
        static(state[-1:], f"the {name}'s last dimension")[0]
        for state, name in zip(states, kind.states, strict=True)
    ]
    outputs, hidden = sizes[0], sizes[-1]
    if "hr" not in kind.weights and outputs != hidden:
        raise Broken(f"the state has {outputs} units, the cell {hidden}; use equal numbers")
    expect("y", y, (x[0], x[1], outputs))
    rows = states[0][0]
    for i, (name, state) in enumerate(zip(kind.states, states, strict=True)):
        expect(name, state, (rows if i else None, x[1], sizes[i]))
        after = floats(op.results[1 + i], f"next {name}", 3)
        expect(f"the {name} that is returned", after, state)
    gates = kind.gates * hidden
    for i, name in enumerate(("b_ih", "b_hh")):
        expect(name, floats(op.operands[bias + i], name, 1), (gates,))
    number = integer(op, "layer")
    if number < 0 or (rows is not None and number >= rows):
        raise Broken(
            f"layer {number} of a state {text(states[0])}; use 0 to its first dimension - 1"
        )
    return {"ih": (gates, x[2]), "hh": (gates, outputs), "hr": (outputs, hidden)}
