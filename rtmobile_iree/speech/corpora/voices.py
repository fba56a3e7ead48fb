"""Synthetic voices: programs of Debian that speak a sentence into a WAV file."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.sources import environment
from rtmobile_iree.speech.corpora.transcripts import Words
from rtmobile_iree.speech.features import read_sound

SPEAK_S = 60


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesizer.

    Attributes:
        name: the speaker's in the manifest.
        program: `flite`, `espeak-ng` or `festival`.
        argument: the voice's name there.
        licence: of the voice.
    """

    name: str
    program: str
    argument: str
    licence: str


CMU_LICENCE = "Carnegie Mellon University's permissive licence"
TRAINED = (
    Voice("flite-slt", "flite", "slt", CMU_LICENCE),
    Voice("flite-awb", "flite", "awb", CMU_LICENCE),
    Voice("flite-kal16", "flite", "kal16", CMU_LICENCE),
    Voice("festival-ked", "festival", "ked_diphone", "CSTR Edinburgh's permissive licence"),
    Voice("espeak-en-us", "espeak-ng", "en-us", "GPL-3.0, what it speaks is free of it"),
    Voice("espeak-en-us-f3", "espeak-ng", "en-us+f3", "GPL-3.0, what it speaks is free of it"),
)
# never trained on
UNSEEN = Voice("flite-rms", "flite", "rms", CMU_LICENCE)


def speak(debian: Path, voice: Voice, words: Words) -> tuple[np.ndarray, int]:
    """The sentence in that voice: [S] f32, and samples a second.

    Args:
        debian: where the programs are unpacked.

    Raises:
        InputError: the program does not run or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        command = _command(debian, voice, " ".join(words) + ".", path)
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                env=_environment(debian),
                timeout=SPEAK_S,
                errors="replace",
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise InputError(f"{voice.program}: {said[-1] if said else error}") from error
        return read_sound(path)


_environment = functools.cache(environment)


def _command(debian: Path, voice: Voice, text: str, path: Path) -> list[str]:
    program = str(debian / "usr/bin" / voice.program)
    if voice.program == "flite":
        return [program, "-voice", voice.argument, "-t", text, "-o", str(path)]
    if voice.program == "espeak-ng":
        return [program, "-v", voice.argument, "-s", "150", "-w", str(path), text]
    data = str(debian / "usr/share/festival")
    spoken = f'(utt.synth (Utterance Text "{text}"))'
    scheme = f'(begin (voice_{voice.argument}) (utt.save.wave {spoken} "{path}" \'riff))'
    return [program, "--datadir", data, "--libdir", data, "-b", scheme]
