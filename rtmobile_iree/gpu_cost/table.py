"""`python -m rtmobile_iree.gpu_cost.table`: an ESTIMATE of Table II's GPU column, on Adreno 640."""

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
from rtmobile_iree.errors import CompileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.gpu_cost.estimate import Estimate, estimate
from rtmobile_iree.gpu_cost.report import notes, summary_fields
from rtmobile_iree.options import Options
from rtmobile_iree.paper import FRAME_STEPS, TABLE_2, PaperRow, model_at
from rtmobile_iree.passes.vulkan import halves
from rtmobile_iree.schedule import PER_STEP, PERSISTENT, WAVEFRONT
from rtmobile_iree.targets import GpuTarget, get_target

TARGET = "adreno-640"
VALUES, KERNELS = ("f32", "f16", "i8", "i4"), (PERSISTENT, WAVEFRONT, PER_STEP)
# The paper tunes block sizes offline and tells none; fewer stripes are larger panels, and a tighter
# constraint.
ROW_STRIPES, COL_BLOCKS = 16, 8
# what the table needs where it does not go to a terminal
TABLE_COLUMNS = 280
# type of values, kernel, activations
Form = tuple[str, str, str]
ACTIVATIONS = ("f32", "f16")


@dataclass(frozen=True)
class TableRow:
    """Ours at one rate and form, for one step and for a frame."""

    paper: PaperRow
    form: Form
    estimates: tuple[Estimate, ...]

    @property
    def frame(self) -> Estimate:
        return next(each for each in self.estimates if each.steps == FRAME_STEPS)

    @property
    def is_within(self) -> bool:
        """Not above the paper's GPU time."""
        return self.frame.us <= self.paper.gpu_us

    def to_fields(self) -> dict[str, Any]:
        return {
            "compression": self.paper.compression,
            "rate": self.paper.rate,
            "values": self.form[0],
            "kernel": self.form[1],
            "activations": self.form[2],
            "paper_gpu_us": self.paper.gpu_us,
            "within_paper_gpu": self.is_within,
            "estimates": [summary_fields(each) for each in self.estimates],
        }


def make_rows(
    rows: Sequence[PaperRow], forms: Sequence[Form], row_stripes: int = ROW_STRIPES
) -> list[TableRow]:
    """Estimates of the paper's model at these rates and forms, COL_BLOCKS column blocks; without
    those that a kernel refuses: it has too many weights for a wavefront, or i4."""
    target = get_target(TARGET)
    assert isinstance(target, GpuTarget)
    found = []
    with err.status("starting") as status:
        for paper in rows:
            for form in forms:
                status.update(f"{paper.rate}, {name(form)}")
                module = model_at(paper, row_stripes, COL_BLOCKS)
                values, kernel, activations = form
                options = Options(values, activations, gpu_kernel=kernel)
                inputs = module.example_inputs()
                try:
                    made, _ = estimate(module, inputs, target, (1, FRAME_STEPS), options)
                except CompileError as error:
                    err.print(f"left out: {paper.rate}, {name(form)}: {error}", highlight=False)
                    continue
                found.append(TableRow(paper, form, made))
    return found


def name(form: Form) -> str:
    values, kernel, activations = form
    return f"{values} {kernel}" + (f" {activations} products" if activations != "f32" else "")


def forms_of(values: str, kernels: str, activations: str) -> list[Form]:
    """All of the lists, but those that cannot be: f16 activations are f16, i8 or i4 weights'."""
    return [
        (kind, kernel, each)
        for each in activations.split(",")
        for kernel in kernels.split(",")
        for kind in values.split(",")
        if each == "f32" or kind in halves.VALUES
    ]


def to_table(rows: Sequence[TableRow]) -> Table:
    """A line a rate: the paper's time, and ours in each form."""
    forms = list(dict.fromkeys(row.form for row in rows))
    table = Table(
        title=f"ESTIMATE, not measured: us a frame of {FRAME_STEPS} steps (bytes alone) on {TARGET}"
    )
    for heading in ("compression", "rate", "paper, GPU", "least of ours", *map(name, forms)):
        table.add_column(heading, justify="right")
    for paper in dict.fromkeys(row.paper for row in rows):
        ours = {row.form: row for row in rows if row.paper == paper}
        cells = [_cell(ours[form]) if form in ours else "" for form in forms]
        least = min(ours.values(), key=lambda row: row.frame.us)
        own = (str(paper.compression), paper.rate, f"{paper.gpu_us:,.0f}", _cell(least))
        table.add_row(*own, *cells)
    return table


def _cell(row: TableRow) -> str:
    text = f"{row.frame.us:,.0f} ({row.frame.least_us:,.0f})"
    return text if row.is_within else f"[red]{text} above[/]"


def to_json(rows: Sequence[TableRow], row_stripes: int = ROW_STRIPES) -> str:
    fields = {
        "schema": 1,
        "kind": "ESTIMATE",
        "model": "rtmobile_iree.models:paper_gru",
        "paper": "arXiv 2002.11474, Table II, GPU time of a frame (30 steps)",
        "row_stripes": row_stripes,
        "col_blocks": COL_BLOCKS,
        "gpu": TARGET,
        "notes": notes(rows[0].frame, ()),
        "versions": versions(),
        "rows": [row.to_fields() for row in rows],
    }
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write it here.")] = None,
    rates: Annotated[str | None, typer.Option(help="Some of the ten, with commas.")] = None,
    values: Annotated[str, typer.Option(help="Types of values, with commas.")] = ",".join(VALUES),
    kernels: Annotated[str, typer.Option(help="Kernels, with commas.")] = ",".join(KERNELS),
    row_stripes: Annotated[int, typer.Option(help="Of every matrix.")] = ROW_STRIPES,
    activations: Annotated[str, typer.Option(help="With commas.")] = ",".join(ACTIVATIONS),
) -> None:
    """Estimates the paper's ten rates on an Adreno 640."""
    chosen = [row for row in TABLE_2 if rates is None or row.rate in rates.split(",")]
    if not chosen:
        raise typer.BadParameter(f"--rates {rates}: use {', '.join(row.rate for row in TABLE_2)}")
    rows = make_rows(chosen, forms_of(values, kernels, activations), row_stripes)
    if not rows:
        raise typer.BadParameter(f"--values {values} --kernels {kernels}: no kernel takes these")
    console(TABLE_COLUMNS).print(to_table(rows))
    for line in notes(rows[0].frame, ()):
        console().print(line, highlight=False)
    if json_file is not None:
        write_atomically(json_file, to_json(rows, row_stripes).encode())


if __name__ == "__main__":
    typer.run(main)
