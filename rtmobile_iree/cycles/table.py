"""`python -m rtmobile_iree.cycles.table`: an ESTIMATE of the paper's Table II on a Snapdragon 855.

Beside each of the table's ten rates, what one prime core would take for ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rtmobile_iree.bench.machine import versions
from rtmobile_iree.cli.common import console, err
from rtmobile_iree.cycles.estimate import Estimate, estimate
from rtmobile_iree.cycles.report import notes, summary_fields, where
from rtmobile_iree.files import write_atomically
from rtmobile_iree.options import Options
from rtmobile_iree.paper import FRAME_STEPS, TABLE_2, PaperRow, model_at
from rtmobile_iree.targets import get_cpu_target

# weights x inputs of a matrix product, as `--values` and `--activations` say it
FORMS = (("f32", "f32"), ("f16", "f16"), ("i8", "i8"), ("i4", "i8"))
# The paper tunes block sizes offline and tells none. Fewer stripes are taller panels, and a tighter
# constraint; the GPU's table has as many.
ROW_STRIPES, COL_BLOCKS = 16, 8


@dataclass(frozen=True)
class TableRow:
    """Ours at one rate and form, for one step and for a frame."""

    paper: PaperRow
    form: tuple[str, str]
    estimates: tuple[Estimate, ...]

    @property
    def frame(self) -> Estimate:
        return next(each for each in self.estimates if each.steps == FRAME_STEPS)

    @property
    def is_within(self) -> bool:
        """Not above the paper's CPU time."""
        return self.frame.us <= self.paper.cpu_us

    def to_fields(self) -> dict[str, Any]:
        return {
            "compression": self.paper.compression,
            "rate": self.paper.rate,
            "values": self.form[0],
            "activations": self.form[1],
            "paper_cpu_us": self.paper.cpu_us,
            "within_paper_cpu": self.is_within,
            "estimates": [summary_fields(each) for each in self.estimates],
        }


def make_rows(
    rows: Sequence[PaperRow],
    forms: Sequence[tuple[str, str]],
    cpu: str,
    target: str,
    row_stripes: int = ROW_STRIPES,
) -> list[TableRow]:
    """Estimates of the paper's model at these rates and forms, COL_BLOCKS column blocks."""
    machine = get_cpu_target(target, cpu)
    found = []
    with err.status("starting") as status:
        for paper in rows:
            for form in forms:
                status.update(f"{paper.rate}, {name(form)}")
                module = model_at(paper, row_stripes, COL_BLOCKS)
                made, _ = estimate(
                    module, module.example_inputs(), machine, (1, FRAME_STEPS), Options(*form)
                )
                found.append(TableRow(paper, form, made))
    return found


def name(form: tuple[str, str]) -> str:
    values, activations = form
    return values if activations == "f32" else f"{values} x {activations}"


def to_table(rows: Sequence[TableRow]) -> Table:
    """A line a rate: the paper's time, and ours in each form."""
    forms = list(dict.fromkeys(row.form for row in rows))
    first = rows[0].frame
    table = Table(
        title=f"ESTIMATE, not measured: us a frame of {FRAME_STEPS} steps (of 1 step) on "
        f"{where(first)}"
    )
    for heading in ("compression", "rate", "paper, CPU", *map(name, forms)):
        table.add_column(heading, justify="right")
    for paper in dict.fromkeys(row.paper for row in rows):
        ours = {row.form: row for row in rows if row.paper == paper}
        cells = [_cell(ours[form]) for form in forms]
        table.add_row(str(paper.compression), paper.rate, f"{paper.cpu_us:,.0f}", *cells)
    return table


def _cell(row: TableRow) -> str:
    one = next(each for each in row.estimates if each.steps == 1)
    text = f"{row.frame.us:,.0f} ({one.us:,.1f})"
    return text if row.is_within else f"[red]{text} above[/]"


def to_json(rows: Sequence[TableRow], row_stripes: int = ROW_STRIPES) -> str:
    first = rows[0].frame
    fields = {
        "schema": 1,
        "kind": "ESTIMATE",
        "model": "rtmobile_iree.models:paper_gru",
        "paper": "arXiv 2002.11474, Table II, CPU time of a frame (30 steps)",
        "row_stripes": row_stripes,
        "col_blocks": COL_BLOCKS,
        "core": first.core.name,
        "chip": first.core.chip,
        "clock_ghz": first.core.clock_hz / 1e9,
        "scheduling_model": first.model.cpu,
        "llvm": first.llvm,
        "notes": notes(first, ()),
        "versions": versions(),
        "rows": [row.to_fields() for row in rows],
    }
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write it here.")] = None,
    cpu: Annotated[str, typer.Option(help="Core.")] = "cortex-a76",
    target: Annotated[str, typer.Option(help="Target to compile for.")] = "arm64-android",
    rates: Annotated[str | None, typer.Option(help="Some of the ten, with commas.")] = None,
    row_stripes: Annotated[int, typer.Option(help="Of every matrix.")] = ROW_STRIPES,
) -> None:
    """Estimates the paper's ten rates on a phone's core."""
    chosen = [row for row in TABLE_2 if rates is None or row.rate in rates.split(",")]
    if not chosen:
        raise typer.BadParameter(f"--rates {rates}: use {', '.join(row.rate for row in TABLE_2)}")
    rows = make_rows(chosen, FORMS, cpu, target, row_stripes)
    console().print(to_table(rows))
    for line in notes(rows[0].frame, ()):
        console().print(line, highlight=False)
    if json_file is not None:
        write_atomically(json_file, to_json(rows, row_stripes).encode())


if __name__ == "__main__":
    typer.run(main)
