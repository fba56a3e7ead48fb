"""`make demo`: the whole flow once, on real speech, with its figures.

Trained models recognise phones of speech they have not heard, in PyTorch and compiled. Then the
paper's size:

Frames of recorded speech -> the evaluation model -> pruned to 1/10 -> compiled -> run chunk by
chunk and checked against PyTorch -> timed against three dense engines -> one table and a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.table import Table

import rtmobile_iree as rt
from rtmobile_iree.bench import BenchResults, Settings, run_bench
from rtmobile_iree.bench.runner import TOLERANCE
from rtmobile_iree.models import SpeechGRU, speech_gru
from rtmobile_iree.report.picture import write_picture
from rtmobile_iree.speech import clip_frames
from rtmobile_iree.speech.shipped import recognise_clips

if TYPE_CHECKING:
    from rtmobile_iree.program import Program
    from rtmobile_iree.report.encoding import Report
    from rtmobile_iree.speech.shipped import Recognised

MODEL = "rtmobile_iree.models:speech_gru"
RATE = "10x1"
# chunk lengths taken in turn, so that streaming and batches of frames are both checked
CHUNKS = (30, 1, 7, 30, 16)
# enough rounds for a median within a few percent, few enough for three minutes in all
BENCH = Settings(rates=(RATE,), rounds=5)
PEERS = (
    ("torch", "PyTorch dense"),
    ("onnxruntime", "ONNX Runtime dense"),
    ("iree-dense", "stock IREE dense"),
)
PICTURED = "gru.weight_hh_l0"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        frames: speech frames run.
        max_error: greatest absolute difference from PyTorch over all of them.
        report: of the compiled program.
        bench: the timings.
        recognised: what the trained models make of held-out speech.
        folder: where the files are.
    """

    frames: int
    max_error: float
    report: Report
    bench: BenchResults
    folder: Path
    recognised: tuple[Recognised, ...]

    @property
    def is_right(self) -> bool:
        return self.max_error <= TOLERANCE and all(
            one.pytorch == one.compiled for one in self.recognised
        )

    def table(self) -> Table:
        """Weights, bytes, times and ratios, a column a contender."""
        table = Table(title="RTMobile's GRU, 2 x 1024, batch 1, 1 thread, f32")
        table.add_column("")
        for _, heading in PEERS:
            table.add_column(heading, justify="right")
        table.add_column("rtmobile 1/10", justify="right", style="bold")
        self._add_sizes(table)
        table.add_section()
        for steps in BENCH.steps:
            self._add_times(table, steps)
        return table

    def _add_sizes(self, table: Table) -> None:
        ours = self.bench.find("rtmobile", BENCH.steps[0], RATE)
        assert ours is not None
        dense = [f"{ours.weights:,}"] * len(PEERS)
        table.add_row("GRU weights kept", *dense, f"{ours.kept:,}")
        sizes = packed_sizes(self.report)
        table.add_row("weight bytes, dense", *[f"{sizes.dense:,}"] * len(PEERS), "")
        table.add_row("weight bytes, CSR", *[""] * len(PEERS), f"{sizes.csr:,}")
        table.add_row("weight bytes, BSPC", *[""] * len(PEERS), f"{sizes.bspc:,}")

    def _add_times(self, table: Table, steps: int) -> None:
        what = "one step" if steps == 1 else f"{steps}-step chunk"
        cells, ratios = [], []
        faster = {r.peer: r.median for r in self.bench.ratios() if r.steps == steps}
        for peer, _ in PEERS:
            measured = self.bench.find(peer, steps)
            timed = measured is not None and measured.status == "ok"
            cells.append(f"{measured.median_us:,.0f} us" if measured and timed else "not timed")
            ratios.append(f"{faster[peer]:.1f} x" if peer in faster else "")
        ours = self.bench.find("rtmobile", steps, RATE)
        timed = ours is not None and ours.status == "ok"
        table.add_row(what, *cells, f"{ours.median_us:,.1f} us" if ours and timed else "not timed")
        table.add_row("  rtmobile is faster by", *ratios, "")

    def summary(self) -> str:
        """What was checked, and where the files are."""
        verdict = "equal to" if self.max_error <= TOLERANCE else "DIFFERENT from"
        problems = [
            f"{m.name} at {m.steps} steps: {m.detail}"
            for m in self.bench.measurements
            if m.status != "ok"
        ]
        dense = [f"stayed dense: {m.name} {list(m.shape)}: {m.reason}" for m in self.report.dense]
        lines = [
            f"{self.frames:,} frames of recorded speech: {verdict} PyTorch running the same pruned "
            f"model, greatest difference {self.max_error:.1e} (limit {TOLERANCE:g})",
            *dense,
            *problems,
            f"written: {self.folder}/reorder.png, model.vmfb, bench.json",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class PackedSizes:
    """Bytes of all weight matrices in three formats; a matrix that is not encoded stays dense."""

    dense: int
    csr: int
    bspc: int


def packed_sizes(report: Report) -> PackedSizes:
    """Adds up a report's matrices."""
    matrices = report.matrices
    return PackedSizes(
        dense=sum(m.dense_bytes for m in matrices),
        csr=sum(m.csr_bytes if m.encoded else m.dense_bytes for m in matrices),
        bspc=sum(m.stored_bytes for m in matrices),
    )


def run_demo(folder: Path, progress: Progress = lambda line: None) -> DemoResult:
    """Runs it and writes `reorder.png`, `model.vmfb` and `bench.json` into `folder`.

    Raises:
        OSError: the folder cannot be written.
        RTMobileError: anything the flow refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recognised = recognise_clips(progress)
    progress("computing log-mel frames of recorded speech")
    frames = clip_frames()
    progress("pruning the model to 1/10")
    module = speech_gru()
    rt.prune(module, column_rate=10, row_rate=1)
    program = rt.compile(module, module.example_inputs(), progress=progress)
    program.save(folder / "model.vmfb")
    progress(f"running {len(frames):,} frames and checking them against PyTorch")
    error = greatest_difference(program, module, frames)
    progress("drawing the reorder")
    write_picture(
        folder / "reorder.png", module.get_parameter(PICTURED).detach().numpy(), name=PICTURED
    )
    results = run_bench(MODEL, BENCH, progress=progress)
    results.save(folder / "bench.json")
    return DemoResult(len(frames), error, program.report, results, folder, recognised)


def greatest_difference(program: Program, module: SpeechGRU, frames: np.ndarray) -> float:
    """Runs the frames in chunks of many lengths, the state carried, and compares every output.

    PyTorch runs the whole recording at once, so this checks the chunking too.

    Args:
        frames: [T, 40] f32.
    """
    x = torch.from_numpy(frames)[None]
    with torch.inference_mode():
        expected, expected_state = module(x, module.initial_state())
    outputs: list[np.ndarray] = []
    state, start = module.initial_state().numpy(), 0
    while start < len(frames):
        steps = CHUNKS[len(outputs) % len(CHUNKS)]
        y, state = program(np.ascontiguousarray(frames[None, start : start + steps]), state)
        outputs.append(y)
        start += steps
    difference = np.abs(np.concatenate(outputs, axis=1) - expected.numpy()).max()
    return float(max(difference, np.abs(state - expected_state.numpy()).max()))
