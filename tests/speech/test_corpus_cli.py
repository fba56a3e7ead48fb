"""`rtmobile corpus`."""

import sys

import numpy as np
import pytest
import soundfile

from rtmobile_iree.cli import main
from rtmobile_iree.speech.corpora import preparation
from rtmobile_iree.speech.corpus import open_corpus


def run(*arguments):
    try:
        main(list(arguments))
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def tree(tmp_path):
    """One sentence of TIMIT's layout, and one that is empty."""
    folder = tmp_path / "ldc/TRAIN/DR1/FCJF0"
    folder.mkdir(parents=True)
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, 8000)
    soundfile.write(folder / "SI1027.WAV", sound, 16000, format="NIST", subtype="PCM_16")
    (folder / "SX37.WAV").write_bytes(b"")
    for sentence in ("SI1027", "SX37"):
        (folder / f"{sentence}.PHN").write_text("0 4000 h#\n4000 8000 iy\n")
        (folder / f"{sentence}.TXT").write_text("0 8000 E.\n")
    return tmp_path / "ldc"


def test_timit(tree, tmp_path, capsys):
    assert run("corpus", "timit", str(tree), "--output", str(tmp_path / "out"), "--jobs", "1") == 0
    assert len(open_corpus(tmp_path / "out").utterances) == 1
    printed = capsys.readouterr()
    assert "left out: train/dr1/fcjf0/sx37" in printed.err
    assert "mdab0: no recordings of this speaker" in printed.err
    assert "train" in printed.out
    assert "1 recordings left out" in printed.out


def test_strict_stops(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("corpus", "timit", str(tree), "--output", str(out), "--jobs", "1", "--strict") == 1
    assert "SX37.WAV: not readable as audio" in capsys.readouterr().err
    assert not (out / "corpus.json").exists()


def test_asterisk_in_the_cache(tmp_path, monkeypatch, capsys):
    asked = []

    def prepare(folder, how, amounts):
        asked.append((folder, how.jobs, how.strict, amounts))
        tree = tmp_path / "none"
        tree.mkdir()
        raise preparation.InputError("no packages here")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(preparation, "prepare_asterisk", prepare)
    options = ("--sentences", "5", "--copies", "0", "--seed", "3", "--jobs", "4")
    assert run("corpus", "asterisk", *options) == 1
    assert "no packages here" in capsys.readouterr().err
    amounts = preparation.Amounts(5, 0, 3)
    assert asked == [(tmp_path / "rtmobile-iree/corpora/asterisk", 4, False, amounts)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--jobs", "-1"), "--jobs -1"),
        (("--sentences", "-1"), "--sentences -1"),
        (("--copies", "-2"), "--copies -2"),
    ],
)
def test_wrong_numbers(options, message, tmp_path, capsys):
    assert run("corpus", "asterisk", "--output", str(tmp_path), *options) == 1
    assert message in capsys.readouterr().err


def test_without_the_extra(monkeypatch, tmp_path, capsys):
    for name in [name for name in sys.modules if name.startswith("rtmobile_iree.speech.corpora")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    monkeypatch.delattr("rtmobile_iree.speech.corpora", raising=False)
    assert run("corpus", "timit", str(tmp_path), "--output", str(tmp_path / "out")) == 1
    assert "pip install 'rtmobile-iree[speech]'" in capsys.readouterr().err
