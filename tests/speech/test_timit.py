"""TIMIT's layout, on a tiny tree made up here; what is in it is noise."""

import shutil

import numpy as np
import pytest
import soundfile

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.preparation import How, prepare_timit
from rtmobile_iree.speech.corpora.timit import missing_speakers, readings, split_speakers
from rtmobile_iree.speech.corpus import open_corpus, read_manifest

# a q in the middle, and one after the first label
LABELS = "0 1600 h#\n1600 2400 q\n2400 4000 iy\n4000 4800 q\n4800 7000 tcl\n7000 8000 h#\n"
SENTENCES = {
    "TRAIN/DR1/FCJF0": ("SA1", "SI1027", "SX37"),
    "TRAIN/DR8/MBCG0": ("SA2", "SI486"),
    "TEST/DR1/MDAB0": ("SA1", "SI1039", "SX49"),
    "TEST/DR1/FAKS0": ("SI943",),
    # in TEST, and neither in the core test set nor for validation
    "TEST/DR1/MREB1": ("SI1375",),
}


def write_tree(folder, change=str):
    for speaker, sentences in SENTENCES.items():
        for sentence in sentences:
            stem = folder / change(speaker) / change(sentence)
            stem.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(len(sentence)).uniform(-0.1, 0.1, 8000)
            path = stem.with_suffix(change(".WAV"))
            soundfile.write(path, noise, 16000, format="NIST", subtype="PCM_16")
            stem.with_suffix(change(".PHN")).write_text(LABELS)
            stem.with_suffix(change(".TXT")).write_text("0 8000 She had your dark suit.\n")
            stem.with_suffix(change(".WRD")).write_text("0 8000 she\n")
    return folder


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "TIMIT")


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_a_tree_becomes_a_corpus(tmp_path, change):
    tree, lines = write_tree(tmp_path / "ldc", change), []
    prepare_timit(tree, tmp_path / "out", How(report=lines.append))
    corpus = open_corpus(tmp_path / "out")
    assert {one.name: one.split for one in corpus.utterances} == {
        "train/dr1/fcjf0/si1027": "train",
        "train/dr1/fcjf0/sx37": "train",
        "train/dr8/mbcg0/si486": "train",
        "test/dr1/mdab0/si1039": "test",
        "test/dr1/mdab0/sx49": "test",
        "valid/dr1/faks0/si943": "valid",
    }
    one = corpus.split("test")[0]
    assert (one.speaker, one.transcript) == ("mdab0", "She had your dark suit.")
    assert [(part.start_s, part.end_s, part.phone) for part in one.segments] == [
        (0.0, 0.15, "sil"),
        (0.15, 0.3, "iy"),
        (0.3, 0.4375, "cl"),
        (0.4375, 0.5, "sil"),
    ]
    assert len(corpus.phones) == 48
    assert len(set(corpus.folding.values())) == 39
    # 72 of 74 speakers of TEST are not in the tree, and are named
    assert len(lines) == 72
    assert not {"mdab0", "faks0"} & {line.split(":")[0] for line in lines}


def test_sound_is_resampled(tree, tmp_path):
    prepare_timit(tree, tmp_path / "out", How())
    assert {entry.samples for entry in read_manifest(tmp_path / "out").utterances} == {4000}


def test_the_usual_speakers():
    splits = list(split_speakers().values())
    assert (splits.count("test"), splits.count("valid")) == (24, 50)


def cut_short(folder):
    path = folder / "SI1027.WAV"
    path.write_bytes(path.read_bytes()[:5000])


def wrong_rate(folder):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 8000)
    soundfile.write(folder / "SI1027.WAV", noise, 8000, format="NIST", subtype="PCM_16")


def label(text):
    return lambda folder: (folder / "SI1027.PHN").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "SI1027.WAV").unlink(), r"SI1027\.wav: no such file"),
        (lambda folder: (folder / "SI1027.PHN").unlink(), r"SI1027\.phn: no such file"),
        (lambda folder: (folder / "SI1027.TXT").unlink(), r"SI1027\.txt: no such file"),
        (lambda folder: (folder / "SI1027.WAV").write_bytes(b""), "not readable as audio"),
        (cut_short, "cut short, 1988 of 8000 samples"),
        (wrong_rate, "8000 samples a second, not 16000"),
        (label(""), "no labels"),
        (label("0 10 h#\n10 x iy\n"), r"PHN:2: '10 x iy' is no"),
        (label("0 10 h#\n10 20 zz\n"), r"PHN:2: '10 20 zz' is no"),
        (label("0 10 h#\n12 20 iy\n"), r"PHN:2: '12 20 iy' does not follow sample 10"),
        (label("0 10 h#\n10 10 iy\n"), r"PHN:2: '10 10 iy' does not follow"),
        (label("0 20000 h#\n"), r"0\.50 s, labels up to 1\.25 s"),
    ],
)
def test_a_bad_file_is_named_and_left_out_or_stops(tree, tmp_path, damage, message):
    damage(tree / "TRAIN/DR1/FCJF0")
    lines = []
    prepare_timit(tree, tmp_path / "out", How(report=lines.append))
    (line,) = read_manifest(tmp_path / "out").left_out
    assert line in lines
    assert line.startswith("train/dr1/fcjf0/si1027: ")
    assert len(open_corpus(tmp_path / "out").utterances) == 5
    with pytest.raises(InputError, match=message):
        prepare_timit(tree, tmp_path / "strict", How(strict=True))
    assert not (tmp_path / "strict/corpus.json").exists()


def test_a_repaired_file_is_taken_in(tree, tmp_path):
    whole = (tree / "TRAIN/DR1/FCJF0/SI1027.WAV").read_bytes()
    cut_short(tree / "TRAIN/DR1/FCJF0")
    prepare_timit(tree, tmp_path / "out", How())
    (tree / "TRAIN/DR1/FCJF0/SI1027.WAV").write_bytes(whole)
    prepare_timit(tree, tmp_path / "out", How())
    assert len(open_corpus(tmp_path / "out").utterances) == 6


def test_what_is_not_timit_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        readings(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no TRAIN/DR1/FCJF0/SI1027\.WAV"):
        readings(tmp_path)


def test_a_tree_without_test_speakers_names_them(tree):
    shutil.rmtree(tree / "TEST")
    assert len(missing_speakers(readings(tree))) == 74
