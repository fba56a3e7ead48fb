"""`rtmobile eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmobile_iree.cli.common import app, console, err
from rtmobile_iree.errors import InputError


@app.command(name="eval")
def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Checkpoint, or .vmfb compiled from one.")
    ],
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="What a .vmfb was compiled from; default: its name, .safetensors."),
    ] = None,
    decoder: Annotated[
        str, typer.Option(help="beam (Viterbi or prefix beam), or greedy.")
    ] = "beam",
) -> None:
    """PER of a model in PyTorch and compiled, which must be equal."""
    import rtmobile_iree as rt
    from rtmobile_iree.speech.checkpoint import load_checkpoint
    from rtmobile_iree.speech.corpus import SPLITS
    from rtmobile_iree.speech.dataset import open_dataset
    from rtmobile_iree.speech.scoring import check_phones, module_scores, program_scores, score
    from rtmobile_iree.speech.transcribe import check_program

    if split not in SPLITS:
        raise InputError(f"--split {split!r}: use one of {', '.join(SPLITS)}")
    if decoder not in ("beam", "greedy"):
        raise InputError(f"--decoder {decoder!r}: use beam or greedy")
    compiled = model.suffix == ".vmfb"
    if checkpoint is not None and not compiled:
        raise InputError(f"--checkpoint goes with a .vmfb; {model} is a checkpoint itself")
    trained = load_checkpoint(checkpoint or model.with_suffix(".safetensors"))
    config, module = trained.config, trained.module
    dataset = open_dataset(corpus)
    check_phones(dataset, config)
    with err.status("compiling"):
        program = rt.load(model) if compiled else rt.compile(module, module.example_inputs())
    check_program(program, config)
    items = dataset.split(split)  # type: ignore[arg-type]
    pers = [
        score(dataset, scores, config, trained.decoding, decoder)  # type: ignore[arg-type]
        for scores in (module_scores(module, items), program_scores(program, config, items))
    ]
    where = f"{dataset.corpus.name}, {split}, {len(items):,} utterances"
    console().print(f"{where}\nPyTorch:  {pers[0]}\ncompiled: {pers[1]}", highlight=False)
    if pers[0] != pers[1]:
        raise InputError(
            f"{model}: compiled {pers[1].errors:,} errors, PyTorch {pers[0].errors:,}; compile it "
            "again from this checkpoint; if they still differ, its weights are stored too narrowly"
        )
