"""Searches block sizes: which row stripes and column blocks keep the accuracy *and* run fast.

The paper's last step, offline tuning (arXiv 2002.11474, IV-C), for what pruning and compiler share.
"""

from rtmobile_iree.tune.blocks import Blocks, BlockSpace, block_space
from rtmobile_iree.tune.pareto import ParetoSet, Placed, write_picture
from rtmobile_iree.tune.search import Objective, Timing, search_blocks

__all__ = [
    "BlockSpace", "Blocks", "ParetoSet", "Objective", "Placed", "Timing", "block_space",
    "search_blocks", "write_picture",
]  # fmt: skip
