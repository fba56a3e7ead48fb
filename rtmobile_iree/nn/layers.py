"""Stand-ins for torch's recurrent modules, with the same parameters under the same names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.kinds import KINDS, Kind
from rtmobile_iree.nn.ops import layer_suffixes, run_cell, run_stack

__all__ = ["ExportableCell", "ExportableRNN", "kind_of"]

States = torch.Tensor | tuple[torch.Tensor, ...]
"""As torch passes them: h, or (h, c) of an LSTM."""


def kind_of(module: nn.RNNBase | nn.RNNCellBase) -> Kind:
    """The kind of a stock module, or of a subclass."""
    if isinstance(module, nn.RNNBase):
        name = module.mode.lower() + ("p" if module.proj_size else "")
    elif isinstance(module, nn.RNNCell):
        name = f"rnn_{module.nonlinearity}"
    else:
        name = "lstm" if isinstance(module, nn.LSTMCell) else "gru"
    return KINDS[name]


class _Exportable(nn.Module):
    """What layers and cells share: the weights, and the states."""

    def __init__(
        self, source: nn.RNNBase | nn.RNNCellBase, path: str, suffixes: Sequence[str]
    ) -> None:
        """Share the weights of `source`.

        Args:
            path: of the module, "" for the root.
            suffixes: of the parameters' names: "_l0", …; "" for a cell.
        """
        super().__init__()
        self.path = path
        self.input_size, self.hidden_size = source.input_size, source.hidden_size
        self.kind = kind_of(source)
        stock = next(c for c in type(source).__mro__ if c.__module__ == nn.RNNBase.__module__)
        self.title = f"nn.{stock.__name__}"
        self.parameter_names = [
            [f"{what}{suffix}" for what in (*(f"weight_{part}" for part in self.kind.weights),
                                            "bias_ih", "bias_hh")]
            for suffix in suffixes
        ]  # fmt: skip
        for names in self.parameter_names:
            for name in names:
                no_bias = name.startswith("bias") and not source.bias
                zeros = torch.zeros(self.kind.gates * source.hidden_size)
                self._share(name, zeros if no_bias else getattr(source, name))
        self.eval()

    def _share(self, name: str, value: torch.Tensor) -> None:
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value.detach())

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}: {self.title}" if self.path else self.title

    def weights(self) -> list[list[torch.Tensor]]:
        """For every row of the states, in the op's order."""
        return [[getattr(self, name) for name in names] for names in self.parameter_names]

    def states(
        self, hx: States | None, sizes: Sequence[int], leading: Sequence[int], x: torch.Tensor
    ) -> list[torch.Tensor]:
        """The initial states as a list.

        Args:
            hx: as torch takes them; zeros when None.
            sizes: last dimension of each.
            leading: the dimensions before it.
            x: the input, whose type they have.

        Raises:
            FrontendError: another number of them, or shape.
        """
        expected = [[*leading, size] for size in sizes[: len(self.kind.states)]]
        if hx is None:
            return [torch.zeros(shape, dtype=x.dtype) for shape in expected]
        given = [hx] if isinstance(hx, torch.Tensor) else list(hx)
        if [list(state.shape) for state in given] != expected:
            raise FrontendError(
                f"{self.where} initial state of shape "
                f"{' and '.join(str(list(state.shape)) for state in given)}; "
                f"use {' and '.join(map(str, expected))}"
            )
        return given

    def check_input(self, x: torch.Tensor, ranks: tuple[int, int]) -> None:
        """Raises FrontendError unless x is a tensor of one of these ranks and of I features."""
        if isinstance(x, PackedSequence):
            raise FrontendError(
                f"{self.where} called with a PackedSequence; "
                "pass a padded tensor [steps, batch, features]"
            )
        if x.dim() not in ranks or x.shape[-1] != self.input_size:
            raise FrontendError(
                f"{self.where} input of shape {list(x.shape)}; "
                f"use {ranks[0]} or {ranks[1]} dimensions, the last of {self.input_size}"
            )

    def packed(self, states: Sequence[torch.Tensor]) -> States:
        """States as torch returns them."""
        return tuple(states) if len(self.kind.states) > 1 else states[0]


class ExportableRNN(_Exportable):
    """An `nn.GRU`, `nn.LSTM` or `nn.RNN` in eval mode, made of the ops."""

    def __init__(self, source: nn.RNNBase, path: str) -> None:
        """Share the weights of `source`, found at `path` in the user's module.

        Args:
            source: any number of layers, with or without biases, one direction or two.
            path: the module path, "" for the root; names the layers "path.l0", ...
        """
        suffixes = layer_suffixes(source.num_layers, source.bidirectional)
        super().__init__(source, path, [f"_{suffix}" for suffix in suffixes])
        self.suffixes = suffixes
        self.num_layers, self.proj_size = source.num_layers, source.proj_size
        self.batch_first, self.bidirectional = source.batch_first, source.bidirectional

    def forward(self, input: torch.Tensor, hx: States | None = None) -> tuple[torch.Tensor, States]:
        """As torch's own forward.

        Args:
            input: [T, B, I], [B, T, I] when batch_first, or [T, I] unbatched; f32.
            hx: [L, B, P], [L, P] when unbatched, and [L, B, H] of an LSTM; zeros when None.

        Returns:
            The output, laid out like the input, with P (2P when bidirectional) features, and the
            last states.

        Raises:
            FrontendError: the input is a PackedSequence, or its shape does not fit the layer.
        """
        self.check_input(input, (2, 3))
        unbatched = input.dim() == 2
        x = input.unsqueeze(1) if unbatched else input
        batch_first = self.batch_first and not unbatched
        batch = [] if unbatched else [x.shape[0 if batch_first else 1]]
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        states = self.states(hx, sizes, [len(self.suffixes), *batch], x)
        if unbatched:
            states = [state.unsqueeze(1) for state in states]
        y, *states = run_stack(
            self.kind.name, x, states, self.weights(), self.path, self.suffixes,
            bidirectional=self.bidirectional, batch_first=batch_first,
        )  # fmt: skip
        if unbatched:
            y, states = y.squeeze(1), [state.squeeze(1) for state in states]
        return y, self.packed(states)


class ExportableCell(_Exportable):
    """An `nn.GRUCell`, `nn.LSTMCell` or `nn.RNNCell`: the op over one step."""

    def __init__(self, source: nn.RNNCellBase, path: str) -> None:
        super().__init__(source, path, [""])

    def forward(self, input: torch.Tensor, hx: States | None = None) -> States:
        """As torch's own forward.

        Args:
            input: [B, I], or [I] unbatched; f32.
            hx: [B, H] or [H], two of an LSTM; zeros when None.

        Returns:
            The next states.

        Raises:
            FrontendError: a shape does not fit the cell.
        """
        self.check_input(input, (1, 2))
        unbatched = input.dim() == 1
        x = input.unsqueeze(0) if unbatched else input
        batch = [] if unbatched else [x.shape[0]]
        states = self.states(hx, (self.hidden_size, self.hidden_size), batch, x)
        if unbatched:
            states = [state.unsqueeze(0) for state in states]
        states = list(run_cell(self.kind.name, x, states, self.weights()[0], self.path))
        return self.packed([state.squeeze(0) for state in states] if unbatched else states)
