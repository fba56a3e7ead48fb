"""Block-based structured pruning (BSP) of PyTorch modules. The first room: module -> pruned module.

Source: RTMobile (arXiv 2002.11474), section IV-A, Algorithm 1; here in one shot, by magnitude.
`pruner` is the training that keeps the accuracy.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.projection import check_rate, project_bsp
from rtmobile_iree.prune.report import PrunedMatrix, PruneReport
from rtmobile_iree.prune.weights import as_matrix, plain_parameter, select_weights

__all__ = ["PruneReport", "PrunedMatrix", "prune"]


def prune(
    module: nn.Module,
    *,
    column_rate: float = 16,
    row_rate: float = 2,
    row_stripes: int = 48,
    col_blocks: int = 8,
    layers: Iterable[str] | None = None,
) -> PruneReport:
    """Prunes weight matrices of `module` in place to BSP's structure, by magnitude, in one shot.

    `projection` says exactly which weights stay. Both steps' rates multiply: 16 x 2 keeps about
    1/32. A parameter that several layers share is pruned once, for all of them.

    Args:
        column_rate: columns of a row stripe over kept columns, at least 1.
        row_rate: rows of a matrix over kept rows, at least 1.
        row_stripes: row stripes of each matrix, 1 to its rows; they need not divide.
        col_blocks: column blocks of each stripe, 1 to the matrix's columns; they need not divide.
        layers: which matrices, one name or several: parameter names (`gru.weight_hh_l0`), layer
            names (`gru`: all its matrices) or globs over parameter names (`*.weight_hh_*`). By
            default every weight_ih, weight_hh and weight_hr of nn.GRU, nn.LSTM, nn.RNN and their
            cells. The weight of an nn.Linear, nn.Conv1d or nn.Conv2d is pruned only when `layers`
            says so, a convolution's in its matrix form (see `weights`).

    Raises:
        PruneError: nothing to prune, a name that matches nothing, a matrix the stripes or blocks
            do not fit, NaN or infinite weights, a weight that is no plain floating parameter. No
            weight has changed then.
    """
    if not isinstance(module, nn.Module):
        raise PruneError(f"prune: module is a {type(module).__name__}; give a torch.nn.Module")
    check_rate("column_rate", column_rate)
    check_rate("row_rate", row_rate)
    planned = []
    for weight in select_weights(module, layers):
        parameter = plain_parameter(weight)
        name = weight.names[0]
        values = as_matrix(parameter)
        mask = project_bsp(values, column_rate, row_rate, row_stripes, col_blocks, name=name)
        pruned = PrunedMatrix.of(weight.names, np.where(mask, values, 0))
        planned.append((parameter, mask, pruned))
    with torch.no_grad():
        for parameter, mask, _ in planned:
            dropped = torch.from_numpy(~mask).reshape(parameter.shape)
            parameter.masked_fill_(dropped.to(parameter.device), 0.0)
    matrices = tuple(pruned for _, _, pruned in planned)
    return PruneReport(
        matrices, float(column_rate), float(row_rate), int(row_stripes), int(col_blocks)
    )
