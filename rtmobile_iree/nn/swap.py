"""The swap of torch's recurrent modules for their stand-ins, in a copy that shares the weights."""

from __future__ import annotations

import copy

from torch import nn

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.nn.layers import ExportableCell, ExportableRNN

__all__ = ["STOCK", "swap_recurrent"]

STOCK = (nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell, nn.LSTMCell, nn.RNNCell)
"""The modules that are swapped, subclasses included."""


def swap_recurrent(module: nn.Module) -> nn.Module:
    """A copy of the module in which stand-ins take the place of recurrent layers and cells; weights
    are shared, not copied.

    Args:
        module: in eval mode; left untouched.

    Raises:
        FrontendError: the module cannot be copied.
    """
    memo: dict[int, object] = {}
    for path, child in module.named_modules():
        if isinstance(child, nn.RNNBase):
            memo[id(child)] = ExportableRNN(child, path)
        elif isinstance(child, nn.RNNCellBase):
            memo[id(child)] = ExportableCell(child, path)
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
