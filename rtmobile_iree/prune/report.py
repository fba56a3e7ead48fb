"""What a pruning did, matrix by matrix."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PruneReport", "PrunedMatrix"]


@dataclass(frozen=True)
class PrunedMatrix:
    """One weight matrix after pruning."""

    name: str
    """The parameter's name in the module; of a shared parameter the first."""
    also: tuple[str, ...]
    """The other names of a shared parameter."""
    shape: tuple[int, int]
    """Rows (outputs), columns (inputs)."""
    kept: int
    """Nonzero weights left."""
    kept_rows: int
    """Rows with a nonzero weight left."""

    @classmethod
    def of(cls, names: tuple[str, ...], values: NDArray[np.floating]) -> PrunedMatrix:
        """The entry of a matrix [M, N] with these names, as pruned."""
        kept = values != 0
        return cls(
            name=names[0],
            also=names[1:],
            shape=(values.shape[0], values.shape[1]),
            kept=int(kept.sum()),
            kept_rows=int(kept.any(axis=1).sum()),
        )

    @property
    def weights(self) -> int:
        """All weights, pruned or not."""
        return self.shape[0] * self.shape[1]

    @property
    def rate(self) -> float:
        """Weights over kept weights; inf when none is left."""
        return _rate(self.weights, self.kept)


@dataclass(frozen=True)
class PruneReport:
    """What a pruning did; `str()` is a table.

    The rates and block counts are those asked for; None where every matrix has its own.
    """

    matrices: tuple[PrunedMatrix, ...]
    column_rate: float | None = None
    row_rate: float | None = None
    row_stripes: int | None = None
    col_blocks: int | None = None

    @property
    def weights(self) -> int:
        """All weights of the pruned matrices."""
        return sum(matrix.weights for matrix in self.matrices)

    @property
    def kept(self) -> int:
        """Nonzero weights left in the pruned matrices."""
        return sum(matrix.kept for matrix in self.matrices)

    @property
    def rate(self) -> float:
        """Weights over kept weights, all pruned matrices together; inf when none is left."""
        return _rate(self.weights, self.kept)

    def to_json(self) -> str:
        """The report as a JSON object; a rate of inf is null."""
        matrices = [
            {
                "name": matrix.name,
                "also": list(matrix.also),
                "shape": list(matrix.shape),
                "weights": matrix.weights,
                "kept": matrix.kept,
                "kept_rows": matrix.kept_rows,
                "rate": _finite(matrix.rate),
            }
            for matrix in self.matrices
        ]
        report = {
            "column_rate": self.column_rate,
            "row_rate": self.row_rate,
            "row_stripes": self.row_stripes,
            "col_blocks": self.col_blocks,
            "weights": self.weights,
            "kept": self.kept,
            "rate": _finite(self.rate),
            "matrices": matrices,
        }
        return json.dumps(report, indent=2)

    def __str__(self) -> str:
        lines = [("matrix", "shape", "weights", "kept", "rate", "kept rows")]
        lines += [
            (
                " = ".join((matrix.name, *matrix.also)),
                str(list(matrix.shape)),
                f"{matrix.weights:,}",
                f"{matrix.kept:,}",
                f"{matrix.rate:.1f}x",
                f"{matrix.kept_rows:,}",
            )
            for matrix in self.matrices
        ]
        lines.append(("total", "", f"{self.weights:,}", f"{self.kept:,}", f"{self.rate:.1f}x", ""))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(_table_line(line, widths) for line in lines)


def _table_line(cells: tuple[str, ...], widths: list[int]) -> str:
    """One line of a table: names and shapes to the left, numbers to the right."""
    aligned = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _rate(weights: int, kept: int) -> float:
    return weights / kept if kept else math.inf


def _finite(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None
