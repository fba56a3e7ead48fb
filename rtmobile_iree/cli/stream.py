"""`rtmobile stream`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtmobile_iree.cli.common import app, console, err
from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from rtmobile_iree.speech.live import Tally

# where no terminal shows a moving line: one line for so many seconds of sound
REPORT_S = 5.0
REFRESH_S = 0.1


@app.command()
def stream(
    program: Annotated[Path, typer.Argument(metavar="FILE.vmfb")],
    audio: Annotated[
        str, typer.Argument(metavar="AUDIO", help="A mono 8 kHz file; - for raw s16le from stdin.")
    ],
    chunk: Annotated[int, typer.Option(help="Frames of 10 ms a step.")] = 1,
    rate: Annotated[int, typer.Option(help="Samples a second of raw PCM.")] = 8000,
) -> None:
    """Runs sound through a program frame by frame, and says how fast as it goes."""
    from rtmobile_iree.speech.live import Tally, run_live
    from rtmobile_iree.speech.online import file_blocks, pcm_blocks
    from rtmobile_iree.streaming import stream as open_stream

    if chunk < 1:
        raise InputError(f"--chunk {chunk}: use 1 or more")
    opened, tally = open_stream(program), Tally()
    blocks = pcm_blocks(sys.stdin.buffer, rate) if audio == "-" else file_blocks(audio)
    results = run_live(opened, blocks, tally, chunk)
    try:
        _show(results, tally) if err.is_terminal else _report(results, tally)
    finally:  # after Ctrl-C too
        if tally.frames:
            console().print(summary(tally, chunk), highlight=False)
    if not tally.frames:
        raise InputError(f"{audio}: {tally.audio_s:.3f} s of sound, not enough for {chunk} frames")


def progress(tally: Tally) -> str:
    """How far and how fast, in a line."""
    return (
        f"{tally.audio_s:8.1f} s of sound, {tally.frames:,} frames, "
        f"{tally.frames_per_s:,.0f} frames/s, real-time factor {tally.real_time_factor:.5f}"
    )


def summary(tally: Tally, chunk: int) -> str:
    """What was run, and its times on this machine."""
    lines = [
        f"{tally.frames:,} frames, {tally.audio_s:.2f} s of sound; on this machine:",
        f"{tally.frames_per_s:,.0f} frames/s, real-time factor {tally.real_time_factor:.5f} "
        "(features and program; below 1 keeps up)",
    ]
    if tally.steps_s:  # else there was but one chunk, a short one
        frames = f"{chunk} frame" + "s" * (chunk > 1)
        lines.append(
            f"a step of {frames}: median {tally.step_us(50):,.1f} us, 99th percentile "
            f"{tally.step_us(99):,.1f} us"
        )
    return "\n".join(lines)


def _show(results: Iterator[np.ndarray], tally: Tally) -> None:
    """Runs it with a line that moves on a terminal."""
    due = 0.0
    with err.status("starting") as status:
        for _ in results:
            if (now := time.monotonic()) >= due:
                status.update(progress(tally))
                due = now + REFRESH_S


def _report(results: Iterator[np.ndarray], tally: Tally) -> None:
    """Runs it with a line every few seconds of sound."""
    due_s = REPORT_S
    for _ in results:
        if tally.audio_s >= due_s:
            err.print(progress(tally), highlight=False, soft_wrap=True)
            due_s += REPORT_S
