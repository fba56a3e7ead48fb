"""What this machine allows, measured where our kernels run, and the least time a model can take.

`limits` measures one core: read bandwidth by working set, multiply-adds, activations. `bound` is
the formula (docs/roofline.md); `work` reads a model's share of it off a packed module. The bench
(`rtmobile bench MODEL --roofline`) sets what a program takes against it.
"""

from rtmobile_iree.roofline.bound import Bound, lower_bound
from rtmobile_iree.roofline.limits import Limits, measure_limits
from rtmobile_iree.roofline.work import LinearWork, RecurrentWork, Work, read_work

__all__ = [
    "Bound",
    "Limits",
    "LinearWork",
    "RecurrentWork",
    "Work",
    "lower_bound",
    "measure_limits",
    "read_work",
]
