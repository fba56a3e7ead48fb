"""What the Asterisk corpus is made of: Debian packages, unpacked into the cache without root."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import InputError

PACKAGES = (
    "asterisk-core-sounds-en",
    "asterisk-core-sounds-en-wav",
    "asterisk-core-sounds-en-g722",
    "flite",
    "espeak-ng",
    "festival",
    "festvox-kdlpc16k",
    "wordnet-base",
)
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
TRANSCRIPTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
WORDNET = "usr/share/wordnet"
FETCH_S = 1800
EXAMPLE = re.compile(r'"([A-Za-z][A-Za-z ,\'-]*[.!?]?)"')


def debian_folder(cache: Path | None = None) -> Path:
    """The unpacked packages; fetched on the first call, about 45 MB.

    Args:
        cache: the user's cache of this package where not given.

    Raises:
        InputError: no apt-get here, or the packages cannot be had.
    """
    cache = cache or cache_folder()
    folder = cache / folder_name()
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".speech-") as work:
        unpacked = Path(work) / "unpacked"
        _unpack(unpacked)
        os.replace(unpacked, folder)
    return folder


def folder_name() -> str:
    """Another one in a version that needs other packages."""
    return f"speech-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:8]}"


def transcripts(folder: Path) -> dict[str, str]:
    """Name of each recording, as `digits/1`, and its words as the package writes them."""
    text = gzip.decompress((folder / TRANSCRIPTS).read_bytes()).decode()
    lines = (line.split(":", 1) for line in text.splitlines() if not line.startswith(";"))
    return {pair[0].strip(): pair[1].strip() for pair in lines if len(pair) == 2}


def example_sentences(folder: Path) -> list[str]:
    """WordNet's examples of how words are used: plain words and punctuation, in a fixed order."""
    files = [folder / WORDNET / f"data.{kind}" for kind in ("noun", "verb", "adj", "adv")]
    return [text for file in files for text in EXAMPLE.findall(file.read_text())]


def environment(folder: Path) -> dict[str, str]:
    """For programs that run from the unpacked folder."""
    libraries = sorted({str(file.parent) for file in folder.glob("**/lib/*/**/*.so*")})
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    espeak = next(folder.glob("usr/lib/*/espeak-ng-data"), folder)
    return os.environ | {
        "LD_LIBRARY_PATH": ":".join(filter(None, [*libraries, inherited])),
        "ESPEAK_DATA_PATH": str(espeak.parent),
    }


def _unpack(folder: Path) -> None:
    script = resources.files("rtmobile_iree.speech.corpora") / "unpack_debian.sh"
    with resources.as_file(script) as path:
        command = ["bash", str(path), "--even-installed", str(folder), *PACKAGES]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_S)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise InputError(
                f"Debian packages {', '.join(PACKAGES)}: {said[-1] if said else error}; they are "
                "fetched with apt-get on Debian or Ubuntu"
            ) from error
