"""Manifests and the files they name: round trip, and what is refused."""

import json

import numpy as np
import pytest
import soundfile

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpus import (
    Entry,
    Manifest,
    Segment,
    file_sha256,
    open_corpus,
    read_manifest,
    write_manifest,
)

SEGMENTS = ((0.0, 0.05, "sil"), (0.05, 0.1, "aa"))


def write_entry(folder, name, split):
    """A tenth of a second of noise."""
    path = folder / f"{name}.wav"
    samples = np.random.default_rng(len(name)).uniform(-0.5, 0.5, 800)
    soundfile.write(path, samples, 8000, subtype="PCM_16")
    return Entry(name, "someone", split, path.name, file_sha256(path), 800, "ah", SEGMENTS)


@pytest.fixture
def manifest(tmp_path):
    splits = {"a": "train", "bb": "train", "ccc": "test"}
    entries = tuple(write_entry(tmp_path, name, split) for name, split in splits.items())
    folding = {"sil": "sil", "aa": "aa"}
    made = Manifest(1, "noise", ("sil", "aa"), folding, ("made here",), ("x: why",), entries)
    write_manifest(tmp_path, made)
    return made


def test_a_manifest_comes_back_as_it_was_written(manifest, tmp_path):
    assert read_manifest(tmp_path) == manifest


def test_an_opened_corpus_has_its_utterances_in_their_splits(manifest, tmp_path):
    corpus = open_corpus(tmp_path)
    assert (corpus.name, corpus.phones, corpus.left_out) == ("noise", ("sil", "aa"), ())
    assert [one.name for one in corpus.split("train")] == ["a", "bb"]
    (test,) = corpus.split("test")
    assert test.audio == tmp_path / "ccc.wav"
    assert test.segments == (Segment(0.0, 0.05, "sil"), Segment(0.05, 0.1, "aa"))


def test_a_split_without_utterances_is_refused(manifest, tmp_path):
    with pytest.raises(InputError, match=r"nothing in split 'valid'; it has \['train', 'test'\]"):
        open_corpus(tmp_path).split("valid")


def truncate(path):
    path.write_bytes(path.read_bytes()[:900])


def shorten(path):
    soundfile.write(path, np.zeros(700), 8000, subtype="PCM_16")


def change(path):
    soundfile.write(path, np.zeros(800), 8000, subtype="PCM_16")


def resample(path):
    soundfile.write(path, np.zeros(800), 16000, subtype="PCM_16")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such audio file"),
        (lambda path: path.write_bytes(b""), "not readable as audio"),
        (truncate, "cut short, 428 of 800 samples"),
        (shorten, "700 samples, 800 in corpus.json"),
        (change, "SHA-256"),
        (resample, "16000 samples a second"),
    ],
)
def test_a_bad_file_is_named_and_left_out_or_stops(manifest, tmp_path, damage, message):
    damage(tmp_path / "bb.wav")
    corpus = open_corpus(tmp_path, on_bad="skip")
    assert [one.name for one in corpus.utterances] == ["a", "ccc"]
    (line,) = corpus.left_out
    assert line.startswith(str(tmp_path / "bb.wav"))
    assert message in line
    with pytest.raises(InputError, match=message):
        open_corpus(tmp_path)


def test_a_corpus_without_a_good_file_stops_in_any_case(manifest, tmp_path):
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    with pytest.raises(InputError, match=r"a\.wav: no such audio file, and 2 more files like it"):
        open_corpus(tmp_path, on_bad="skip")


def edit(folder, change):
    path = folder / "corpus.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.update(schema_version=7), "schema 7, this version reads 1"),
        (lambda it: it["utterances"][0].update(split="dev"), "utterances.0.split"),
        (lambda it: it["folding"].pop("aa"), "no label to score 'aa' as"),
        (lambda it: it["utterances"][1].update(name="a"), "utterance a is there twice"),
        (lambda it: it["utterances"][0]["segments"][1].__setitem__(2, "qq"), "unknown phone 'qq'"),
        (lambda it: it["utterances"][0]["segments"][1].__setitem__(0, 0.06), "does not follow"),
        (lambda it: it["utterances"][0]["segments"][1].__setitem__(1, 0.05), "does not follow"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(manifest, tmp_path, change, message):
    edit(tmp_path, change)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "schema None")])
def test_a_manifest_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "corpus.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"corpus\.json: no such file; make the corpus"):
        open_corpus(tmp_path)
