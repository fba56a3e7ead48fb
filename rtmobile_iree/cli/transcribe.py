"""`rtmobile transcribe`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import app, err


@app.command()
def transcribe(
    audio: Annotated[
        str, typer.Argument(metavar="AUDIO", help="A mono 8 kHz file; - for raw s16le from stdin.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A trained model; default: the shipped one, pruned 10x.")
    ] = None,
    program: Annotated[
        Path | None, typer.Option(help="The same model compiled, FILE.vmfb; else it is done now.")
    ] = None,
    rate: Annotated[int, typer.Option(help="Samples a second of raw PCM.")] = 8000,
) -> None:
    """Writes the phones of sound as they come, through the compiled model."""
    import rtmobile_iree as rt
    from rtmobile_iree.speech.checkpoint import load_checkpoint
    from rtmobile_iree.speech.online import file_blocks, pcm_blocks
    from rtmobile_iree.speech.shipped import DEFAULT, shipped_checkpoint
    from rtmobile_iree.speech.transcribe import transcribe as phones_of

    trained = load_checkpoint(checkpoint or shipped_checkpoint(DEFAULT))
    module = trained.module
    with err.status("compiling"):
        compiled = rt.load(program) if program else rt.compile(module, module.example_inputs())
    blocks = pcm_blocks(sys.stdin.buffer, rate) if audio == "-" else file_blocks(audio)
    for phones in phones_of(rt.stream(compiled), trained, blocks):
        if phones:
            typer.echo(" ".join(phones) + " ", nl=False)
            sys.stdout.flush()
    typer.echo()
