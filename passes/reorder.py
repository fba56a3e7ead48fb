"""bspc-reorder: rows of one pattern stand together, and every worker gets equal work.

Rewrites:
    bspc.matmul %x, %w : tensor<MxNxf32, #bspc.encoding<{stage = "encoded"}>>
  ->
    bspc.matmul %x, %w', %reorder : tensor<MxNxf32, #bspc.encoding<{stage = "reordered"}>>

with rows of all zeros last, in no group; `bspc.gru` likewise, both weights.

Assumes: `bspc-encode` ran. Does not handle: weights without an encoding; they keep their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rtmobile_iree.passes.grouping import cycles, loads
from rtmobile_iree.passes.weights import Weight, bspc_ops, read_weights, write_weights
from torch_mlir import ir

from rtmobile_iree.bspc import Group, find_groups
from rtmobile_iree.errors import EncodeError


def balance(groups: list[Group], workers: int) -> list[Group]:
    """Orders groups so that `workers` equal shares of them cost the same.

    The costliest group goes to the least loaded worker (longest processing time first); inside a
    worker, groups and rows keep their original order, so that results leave in runs.
    """
    shares: list[list[Group]] = [[] for _ in range(workers)]
    costs = np.zeros(workers)
    for group in sorted(groups, key=lambda g: -cycles([g])):
        least = int(costs.argmin())
        shares[least].append(group)
        costs[least] += cycles([group])
    return [g for share in shares for g in sorted(share, key=lambda g: int(g.rows[0]))]


def reorder(weight: Weight, workers: int) -> Weight:
    """The weight with rows of one pattern adjacent."""
    if weight.stage != "encoded":
        return weight
    groups = balance(find_groups(weight.array), workers)
    return weight.arranged(groups, stage="reordered", loads_after=loads(groups))


@dataclass(frozen=True)
class ReorderPass:
    """Puts rows of one pattern next to each other, groups balanced over workers.

    Attributes:
        workers: threads that will share the rows.
    """

    name: ClassVar[str] = "bspc-reorder"

    workers: int = 1

    def run(self, module: ir.Operation) -> None:
        if self.workers < 1:
            raise EncodeError(f"bspc-reorder: workers = {self.workers}; use 1 or more")
        for op in bspc_ops(module):
            before = read_weights(op)
            if any(weight.stage == "encoded" for weight in before):
                write_weights(op, [reorder(weight, self.workers) for weight in before])
