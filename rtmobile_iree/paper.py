"""RTMobile's Tables I and II (arXiv 2002.11474): what ours is compared with.

A GRU of 2 layers of 1024 units, 40 inputs, on a Galaxy S10 (Snapdragon 855: CPU Kryo 485, GPU
Adreno 640). A frame is 0.58 GOP dense: 2 operations for each of 9.6 M weights and 30 time steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.bench.models import parse_rate
from rtmobile_iree.models import PaperGRU, paper_gru
from rtmobile_iree.prune import prune

FRAME_STEPS = 30


@dataclass(frozen=True)
class PaperRow:
    """A row of both tables.

    Attributes:
        compression: weights, and weights kept.
        rate: the paper's name of it, column rate x row rate.
        per_added: what pruning adds to the phone error rate of 18.80 % on TIMIT, percent points.
        gop: billions of operations of a frame.
        gpu_us, cpu_us: microseconds of a frame on the phone's GPU and CPU.
    """

    compression: int
    rate: str
    per_added: float
    gop: float
    gpu_us: float
    cpu_us: float

    @property
    def column_rate(self) -> float:
        return parse_rate(self.rate)[0]

    @property
    def row_rate(self) -> float:
        """What is left of the compression, see above."""
        return max(1.0, self.compression / self.column_rate)


TABLE_2 = (
    PaperRow(1, "1x1", 0.0, 0.5800, 3590.12, 7130.00),
    PaperRow(10, "10x1", 0.0, 0.0580, 495.26, 1210.20),
    PaperRow(19, "16x1.25", 0.6, 0.0330, 304.11, 709.33),
    PaperRow(29, "16x2", 0.8, 0.0207, 233.89, 464.73),
    PaperRow(43, "16x5", 1.8, 0.0143, 186.05, 344.77),
    PaperRow(80, "20x8", 2.7, 0.0080, 130.00, 218.01),
    PaperRow(103, "16x16", 4.4, 0.0060, 109.76, 202.72),
    PaperRow(153, "20x10", 5.4, 0.0039, 97.11, 170.74),
    PaperRow(245, "20x16", 5.4, 0.0028, 81.64, 151.28),
    PaperRow(301, "20x20", 6.7, 0.0020, 79.13, 145.93),
)


def model_at(row: PaperRow, row_stripes: int = 48, col_blocks: int = 8) -> PaperGRU:
    """The paper's model pruned to a row's compression, in one shot."""
    module = paper_gru()
    if row.compression > 1:
        prune(
            module,
            column_rate=row.column_rate,
            row_rate=row.row_rate,
            row_stripes=row_stripes,
            col_blocks=col_blocks,
        )
    return module
