"""The trained models that come with the package, and what they make of held-out speech.

The clips are prompts of the corpus' test part: nobody trained on them. `rtmobile demo` shows this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.table import Table

import rtmobile_iree as rt
from rtmobile_iree.speech.checkpoint import Checkpoint, load_checkpoint
from rtmobile_iree.speech.dataset import Dataset, open_dataset
from rtmobile_iree.speech.features import read_audio
from rtmobile_iree.speech.online import BLOCK_SAMPLES
from rtmobile_iree.speech.runs import kept_weights
from rtmobile_iree.speech.scoring import PER, module_scores, program_scores, score
from rtmobile_iree.speech.transcribe import transcribe

# dense, and pruned to one part in so many
SHIPPED = ("dense", "pruned-10x")
DEFAULT = SHIPPED[-1]
Progress = Callable[[str], None]


def shipped_checkpoint(name: str) -> Path:
    """The file of one of `SHIPPED`. Trained on recordings under CC-BY-SA 3.0; see its README.md."""
    path = resources.files("rtmobile_iree.speech") / "checkpoints" / f"{name}.safetensors"
    return Path(str(path))


def held_out_clips() -> Dataset:
    """The shipped clips with their phones."""
    folder = resources.files("rtmobile_iree.speech") / "clips"
    return open_dataset(Path(str(folder)), cache=False)


@dataclass(frozen=True)
class Recognised:
    """What one model makes of the clips.

    Attributes:
        name: of the model.
        kept, weights: recurrent weights that are not 0, and all.
        vmfb_bytes: of the compiled module.
        pytorch, compiled: PER.
        phones: of the first clip, as they came out of the stream.
    """

    name: str
    kept: int
    weights: int
    vmfb_bytes: int
    pytorch: PER
    compiled: PER
    phones: tuple[str, ...]


def recognise(
    dataset: Dataset, name: str, checkpoint: Checkpoint, progress: Progress = lambda line: None
) -> Recognised:
    """Scores a model on a dataset's test part, in PyTorch and compiled."""
    progress(f"compiling the trained model {name}")
    module, config, decoding = checkpoint.module, checkpoint.config, checkpoint.decoding
    program = rt.compile(module, module.example_inputs())
    progress(f"recognising phones with {name}")
    items = dataset.split("test")
    pytorch = score(dataset, module_scores(module, items), config, decoding)
    compiled = score(dataset, program_scores(program, config, items), config, decoding)
    samples, _ = read_audio(items[0].utterance.audio)
    blocks = (samples[at : at + BLOCK_SAMPLES] for at in range(0, len(samples), BLOCK_SAMPLES))
    phones = [p for found in transcribe(rt.stream(program), checkpoint, blocks) for p in found]
    size_bytes = len(program.vmfb)
    return Recognised(name, *kept_weights(module), size_bytes, pytorch, compiled, tuple(phones))


def recognise_clips(progress: Progress = lambda line: None) -> tuple[Recognised, ...]:
    """What each shipped model makes of the shipped clips."""
    dataset = held_out_clips()
    return tuple(
        recognise(dataset, name, load_checkpoint(shipped_checkpoint(name)), progress)
        for name in SHIPPED
    )


def table(found: tuple[Recognised, ...]) -> Table:
    """A row a model."""
    made = Table(title="Phones of held-out speech, trained GRU")
    headings = ("weights kept", ".vmfb bytes", "PER, PyTorch", "PER, compiled")
    made.add_column("")
    for heading in headings:
        made.add_column(heading, justify="right")
    for one in found:
        pers = [f"{per.percent:.1f} %" for per in (one.pytorch, one.compiled)]
        made.add_row(one.name, f"{one.kept:,}", f"{one.vmfb_bytes:,}", *pers)
    return made


def summary(found: tuple[Recognised, ...]) -> str:
    """What was said in the first clip, and what the models heard."""
    dataset = held_out_clips()
    item = dataset.split("test")[0]
    lines = [
        f'"{item.utterance.transcript}"',
        f"  {'labels':<12}{' '.join(dataset.reference(item))}",
    ]
    return "\n".join(lines + [f"  {one.name:<12}{' '.join(one.phones)}" for one in found])
