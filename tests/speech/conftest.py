"""A made-up corpus: two tones a phone, quiet noise for silence."""

import numpy as np
import pytest
import soundfile

from rtmobile_iree.speech.corpus import Entry, Manifest, file_sha256, write_manifest
from rtmobile_iree.speech.dataset import open_dataset
from rtmobile_iree.speech.recipe import TrainRecipe

PHONES = ("sil", "aa", "iy", "ow", "ux")
TONES = {"aa": (700, 1100), "iy": (300, 2300), "ow": (500, 900), "ux": (350, 1500)}
# two labels are scored as one
FOLDING = {"sil": "sil", "aa": "aa", "iy": "iy", "ow": "ow", "ux": "ow"}
SPLITS = ("train",) * 16 + ("valid",) * 3 + ("test",) * 4


def write_tones(folder, splits=SPLITS, seed=0):
    """Writes the corpus into `folder`."""
    rng = np.random.default_rng(seed)
    entries = [_utterance(folder, f"u{n}", split, rng) for n, split in enumerate(splits)]
    write_manifest(folder, Manifest(1, "tones", PHONES, FOLDING, ("made up",), (), tuple(entries)))
    return folder


def _utterance(folder, name, split, rng):
    spoken = [PHONES[i] for i in rng.integers(1, len(PHONES), rng.integers(3, 7))]
    phones = ["sil", *(p for i, p in enumerate(spoken) if i == 0 or p != spoken[i - 1]), "sil"]
    segments, sounds, at = [], [], 0
    for phone in phones:
        samples = int(rng.integers(9, 18)) * 80
        seconds = np.arange(samples) / 8000
        tones = [0.2 * np.sin(2 * np.pi * hz * seconds) for hz in TONES.get(phone, ())]
        sounds.append(0.01 * rng.standard_normal(samples) + sum(tones))
        segments.append((at / 8000, (at + samples) / 8000, phone))
        at += samples
    path = folder / f"{name}.wav"
    soundfile.write(path, np.concatenate(sounds), 8000, subtype="PCM_16")
    return Entry(name, "tones", split, path.name, file_sha256(path), at, "beep", tuple(segments))


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """The corpus' folder."""
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def make_tones():
    """Writes another such corpus into a folder."""
    return write_tones


@pytest.fixture(scope="session")
def dataset(tones):
    return open_dataset(tones)


@pytest.fixture(scope="session")
def recipe():
    """A dense run of a second or two."""
    return TrainRecipe(
        model={"hidden": 24, "delay": 2, "dropout": 0.1},
        epochs=24,
        batch=4,
        learning_rate=5e-3,
        patience=24,
    )


@pytest.fixture(scope="session")
def trained(dataset, recipe, tmp_path_factory):
    """A dense checkpoint that has learned the tones."""
    from rtmobile_iree.speech.runs import train_dense

    return train_dense(dataset, recipe, 0, tmp_path_factory.mktemp("dense"))
