"""Fair timing of compiled programs against what people would pick instead.

Every contender runs in a process of its own, its output is checked first, and their bursts
alternate, so that a drift of the machine hits all of them. `run_bench` does it all; the peers are
one small file each in `bench/peers`.
"""

from rtmobile_iree.bench.plot import check_plot, write_plot
from rtmobile_iree.bench.results import BenchResults, Measurement, Ratio
from rtmobile_iree.bench.runner import Settings, run_bench
from rtmobile_iree.bench.table import results_table

__all__ = [
    "BenchResults",
    "Measurement",
    "Ratio",
    "Settings",
    "check_plot",
    "results_table",
    "run_bench",
    "write_plot",
]
