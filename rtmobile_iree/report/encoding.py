"""What was encoded, how well it fits, and what stayed dense and why. Plain data."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MatrixReport:
    """One constant matrix of the module.

    Attributes:
        name: the parameter's, where known.
        shape: (M, N), rows = outputs.
        kept: nonzero weights.
        encoded: whether it runs from BSPC; a dense recurrent matrix runs on our kernel too.
        reason: why it stayed dense; empty when encoded.
        groups: row groups with one pattern each.
        values_bytes, padding_bytes, index_bytes: what BSPC stores: kept weights, zeros among them,
            row order and columns.
        dense_bytes, csr_bytes: the same matrix stored dense, and in CSR.
        loads_before, loads_after: loads of x in one matvec, row by row and as laid out.
        dead_units: hidden units whose rows were dropped because nobody reads them.
        value_type: how its weights are stored, one of `values.VALUE_TYPES`.
        value_error: what rounding to that lost, relative to the matrix (see `relative_error`).
    """

    name: str
    shape: tuple[int, int]
    kept: int
    encoded: bool
    reason: str
    groups: int
    values_bytes: int
    padding_bytes: int
    index_bytes: int
    dense_bytes: int
    csr_bytes: int
    loads_before: int
    loads_after: int
    dead_units: int = 0
    value_type: str = "f32"
    value_error: float = 0.0

    @property
    def stored_bytes(self) -> int:
        """Bytes the matrix takes as compiled."""
        if not self.encoded and self.value_type == "f32":
            return self.dense_bytes
        return self.values_bytes + self.padding_bytes + self.index_bytes


@dataclass(frozen=True)
class Report:
    """All constant matrices of a module, in program order."""

    matrices: tuple[MatrixReport, ...]

    @property
    def kept(self) -> int:
        """Nonzero weights in all."""
        return sum(m.kept for m in self.matrices)

    @property
    def weights(self) -> int:
        """Weights before pruning, in all."""
        return sum(m.shape[0] * m.shape[1] for m in self.matrices)

    @property
    def dense(self) -> tuple[MatrixReport, ...]:
        """The matrices that stayed dense."""
        return tuple(m for m in self.matrices if not m.encoded)

    def to_json(self) -> str:
        """The report as JSON, one object a matrix."""
        return json.dumps({"matrices": [asdict(m) for m in self.matrices]})

    @staticmethod
    def from_json(text: str) -> Report:
        """Reads what `to_json` wrote."""
        entries = json.loads(text)["matrices"]
        return Report(tuple(MatrixReport(**{**e, "shape": tuple(e["shape"])}) for e in entries))

    def __str__(self) -> str:
        """A table, then a line for each matrix that stayed dense."""
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("matrix")
        for title in ("shape", "kept", "rate", "groups", "type", "error", "bytes", "dense", "CSR",
                      "x loads"):  # fmt: skip
            table.add_column(title, justify="right")
        for m in self.matrices:
            rate = f"{m.shape[0] * m.shape[1] / m.kept:.1f}x" if m.kept else "all"
            table.add_row(
                m.name,
                f"{m.shape[0]} x {m.shape[1]}",
                f"{m.kept:,}",
                rate,
                f"{m.groups:,}" if m.encoded else "dense",
                m.value_type,
                f"{m.value_error:.1e}" if m.value_error else "0",
                f"{m.stored_bytes:,}",
                f"{m.dense_bytes:,}",
                f"{m.csr_bytes:,}",
                f"{m.loads_before:,} -> {m.loads_after:,}",
            )
        text = io.StringIO()
        Console(file=text, width=120).print(table)
        lines = [line.rstrip() for line in text.getvalue().strip("\n").splitlines()]
        dead = [
            f"dead units: {m.name}: nobody reads {m.dead_units:,}; their rows are gone"
            for m in self.matrices
            if m.dead_units
        ]
        return "\n".join([*lines, *(f"dense: {m.name}: {m.reason}" for m in self.dense), *dead])
