"""The kinds of recurrent layers, by what tells them apart. Plain data, for every room.

A kind is `rtmobile::<name>` in torch, `bspc.<name>` in MLIR. Its operands, in this order:

    x, the states, the weights w_ih, w_hh (and w_hr), b_ih, b_hh
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of recurrent layer of H units, I inputs and P outputs.

    Attributes:
        gates: blocks of H rows stacked in w_ih [gates H, I] and w_hh [gates H, P].
        states: what a step hands on: h [P], and c [H] where there is a cell.
        weights: "ih" and "hh", and "hr" [P, H] where the units are projected; else P = H.
    """

    name: str
    gates: int
    states: tuple[str, ...] = ("state",)
    weights: tuple[str, ...] = ("ih", "hh")

    @property
    def first_weight(self) -> int:
        """Position of w_ih; x and the states come before it, and as many results there are."""
        return 1 + len(self.states)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all operands."""
        return ("x", *self.states, *(f"w_{part}" for part in self.weights), "b_ih", "b_hh")


KINDS = {
    kind.name: kind
    for kind in (
        Kind("gru", 3),
        Kind("rnn_tanh", 1),
        Kind("rnn_relu", 1),
        Kind("lstm", 4, ("state", "cell")),
        Kind("lstmp", 4, ("state", "cell"), ("ih", "hh", "hr")),
    )
}
