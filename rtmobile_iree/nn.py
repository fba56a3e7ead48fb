"""Recurrent layers that torch.export keeps whole, with any number of steps.

A stock `nn.GRU` reaches the export as one op whose shape function fixes the number of steps, with
its weights in a list that the MLIR importer rejects. Here it becomes one custom op a layer,
`rtmobile::gru`, with flat tensor arguments and a shape function that leaves the steps open. First
stage of the front end; needs torch, not MLIR.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rtmobile_iree.errors import FrontendError

__all__ = ["ExportableGRU", "gru", "gru_stack", "layer_suffixes", "swap_recurrent"]

GATES = 3
"""Row blocks of a GRU weight, stacked r, z, n as torch does."""


@torch.library.custom_op("rtmobile::gru", mutates_args=())
def gru(
    x: torch.Tensor,
    state: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
    layer: int,
    name: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One GRU layer over all steps of a chunk; the state of all layers is threaded through.

    With gates stacked r, z, n in the rows of the weights, for t = 0 .. T-1 and h = state[layer]:
    r, z = sigmoid(W_i x_t + b_i + W_h h + b_h); n = tanh(W_in x_t + b_in + r * (W_hn h + b_hn));
    h = (1 - z) * n + z * h; y_t = h.

    Args:
        x: [T, B, I] f32, T steps of a batch of B.
        state: [L, B, H] f32; state[layer] is read.
        w_ih: [3H, I] f32. w_hh: [3H, H] f32. b_ih, b_hh: [3H] f32.
        layer: which row of the state belongs to this layer.
        name: the layer's name in the user's module, such as "gru.l0"; it changes nothing.

    Returns:
        y [T, B, H], and the state [L, B, H] with state[layer] replaced by the last step's h.
    """
    y, last = torch._VF.gru(  # type: ignore[attr-defined]
        x,
        state[layer : layer + 1].contiguous(),
        [w_ih, w_hh, b_ih, b_hh],
        True,
        1,
        0.0,
        False,
        False,
        False,
    )
    new_state = state.clone(memory_format=torch.contiguous_format)
    new_state[layer] = last[0]
    return y.contiguous(), new_state


@gru.register_fake
def _(
    x: torch.Tensor,
    state: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
    layer: int,
    name: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    steps, batch, inputs = x.shape
    rows, hidden = w_hh.shape
    torch._check(rows == GATES * hidden, lambda: f"{name}: w_hh {tuple(w_hh.shape)} is not [3H, H]")
    torch._check(
        w_ih.shape[0] == rows and w_ih.shape[1] == inputs,
        lambda: f"{name}: w_ih {tuple(w_ih.shape)} is not [{rows}, {inputs}]",
    )
    torch._check(
        state.shape[1] == batch and state.shape[2] == hidden,
        lambda: f"{name}: the state {tuple(state.shape)} is not [layers, {batch}, {hidden}]",
    )
    return x.new_empty(steps, batch, hidden), state.new_empty(state.shape)


def layer_suffixes(num_layers: int, bidirectional: bool) -> tuple[str, ...]:
    """The suffixes of torch's parameter names, in the order of the state's rows."""
    directions = ("", "_reverse") if bidirectional else ("",)
    return tuple(f"l{k}{d}" for k in range(num_layers) for d in directions)


def gru_stack(
    x: torch.Tensor,
    state: torch.Tensor,
    weights: Sequence[Sequence[torch.Tensor]],
    names: Sequence[str],
    *,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Several GRU layers, one `rtmobile::gru` each (two when bidirectional).

    Args:
        x: [T, B, I], or [B, T, I] when batch_first.
        state: [L, B, H], one row a layer and direction.
        weights: for every row of the state (w_ih, w_hh, b_ih, b_hh).
        names: for every row of the state the layer's name.

    Returns:
        The output, laid out like x, and the last state [L, B, H].
    """
    if batch_first:
        x = _swap_batch_and_steps(x, batch_dim=0)
    stride = 2 if bidirectional else 1
    for first in range(0, len(weights), stride):
        y, state = gru(x, state, *weights[first], first, names[first])
        if bidirectional:
            last = first + 1
            back, state = gru(x.flip(0), state, *weights[last], last, names[last])
            y = torch.cat((y, back.flip(0)), dim=-1)
        x = y
    return (_swap_batch_and_steps(x, batch_dim=1) if batch_first else x), state


def _swap_batch_and_steps(x: torch.Tensor, batch_dim: int) -> torch.Tensor:
    if x.shape[batch_dim] == 1:  # nothing moves: a reshape, where a transpose would be a copy
        return x.squeeze(batch_dim).unsqueeze(1 - batch_dim)
    return x.transpose(0, 1)


class ExportableGRU(nn.Module):
    """An `nn.GRU` in eval mode, with the same parameters under the same names, made of
    `rtmobile::gru`."""

    def __init__(self, source: nn.GRU, path: str) -> None:
        """Share the weights of `source`, found at `path` in the user's module.

        Args:
            source: any number of layers, with or without biases, one direction or two.
            path: the module path, "" for the root; names the layers "path.l0", ...
        """
        super().__init__()
        self.path = path
        self.input_size = source.input_size
        self.hidden_size = source.hidden_size
        self.batch_first = source.batch_first
        self.bidirectional = source.bidirectional
        self.suffixes = layer_suffixes(source.num_layers, source.bidirectional)
        for suffix in self.suffixes:
            for kind in ("weight_ih", "weight_hh"):
                self._share(f"{kind}_{suffix}", getattr(source, f"{kind}_{suffix}"))
            for kind in ("bias_ih", "bias_hh"):
                zeros = torch.zeros(GATES * source.hidden_size)
                bias = getattr(source, f"{kind}_{suffix}") if source.bias else zeros
                self._share(f"{kind}_{suffix}", bias)
        self.eval()

    def _share(self, name: str, value: torch.Tensor) -> None:
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value.detach())

    def forward(
        self, input: torch.Tensor, hx: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `nn.GRU.forward`.

        Args:
            input: [T, B, I], [B, T, I] when batch_first, or [T, I] unbatched; f32.
            hx: [L, B, H], [L, H] when unbatched; zeros when None.

        Returns:
            The output, laid out like the input, with H (2H when bidirectional) features, and the
            last state.

        Raises:
            FrontendError: the input is a PackedSequence, or its shape does not fit the layer.
        """
        where = self.path or "the GRU"
        if isinstance(input, PackedSequence):
            raise FrontendError(
                f"{where}: nn.GRU called with a PackedSequence; "
                "pass a padded tensor [steps, batch, features]"
            )
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise FrontendError(
                f"{where}: nn.GRU input of shape {list(input.shape)}; "
                f"use 2 or 3 dimensions, the last of {self.input_size}"
            )
        unbatched = input.dim() == 2
        x = input.unsqueeze(1) if unbatched else input
        batch_first = self.batch_first and not unbatched
        state = self._initial_state(hx, x.shape[0 if batch_first else 1], unbatched, x.dtype, where)
        weights = [
            [
                getattr(self, f"{kind}_{s}")
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            for s in self.suffixes
        ]
        names = [f"{self.path}.{s}" if self.path else s for s in self.suffixes]
        y, state = gru_stack(
            x, state, weights, names, bidirectional=self.bidirectional, batch_first=batch_first
        )
        return (y.squeeze(1), state.squeeze(1)) if unbatched else (y, state)

    def _initial_state(
        self, hx: torch.Tensor | None, batch: int, unbatched: bool, dtype: torch.dtype, where: str
    ) -> torch.Tensor:
        layers = len(self.suffixes)
        if hx is None:
            return torch.zeros(layers, batch, self.hidden_size, dtype=dtype)
        expected = [layers, self.hidden_size] if unbatched else [layers, batch, self.hidden_size]
        if list(hx.shape) != expected:
            raise FrontendError(
                f"{where}: nn.GRU initial state of shape {list(hx.shape)}; use {expected}"
            )
        return hx.unsqueeze(1) if unbatched else hx


def swap_recurrent(module: nn.Module) -> nn.Module:
    """A copy of the module in which every `nn.GRU` is an `ExportableGRU`; weights are shared, not
    copied.

    Args:
        module: in eval mode; left untouched.

    Raises:
        FrontendError: the module cannot be copied.
    """
    memo: dict[int, object] = {}
    for path, child in module.named_modules():
        if isinstance(child, nn.GRU):
            memo[id(child)] = ExportableGRU(child, path)
    # What deepcopy finds in its memo it takes as already copied: the weights, and the swapped
    # layers wherever they are referred to.
    for tensor in (*module.parameters(), *module.buffers()):
        memo.setdefault(id(tensor), tensor)
    try:
        swapped: nn.Module = copy.deepcopy(module, memo)
    except Exception as error:  # an attribute's own __deepcopy__ may raise anything
        reason = str(error).partition("\n")[0]
        raise FrontendError(
            f"{type(module).__name__}: the module cannot be copied ({reason}); "
            "keep open files, locks and graph tensors out of its attributes"
        ) from error
    return swapped
