"""Recurrent layers that torch.export keeps whole, with any number of steps.

A stock `nn.GRU` reaches the export as one op whose shape function fixes the number of steps, with
its weights in a list that the MLIR importer rejects. Here it becomes one custom op a layer, with
flat tensor arguments and a shape function that leaves the steps open; nn.LSTM, nn.RNN and the cells
likewise. First stage of the front end; needs torch, not MLIR.
"""

from rtmobile_iree.nn.layers import ExportableCell, ExportableRNN, kind_of
from rtmobile_iree.nn.ops import OPS, is_cell, layer_suffixes, run_cell, run_stack
from rtmobile_iree.nn.swap import STOCK, swap_recurrent

__all__ = [
    "OPS",
    "STOCK",
    "ExportableCell",
    "ExportableRNN",
    "is_cell",
    "kind_of",
    "layer_suffixes",
    "run_cell",
    "run_stack",
    "swap_recurrent",
]
