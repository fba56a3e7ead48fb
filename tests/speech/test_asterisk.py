"""The Asterisk corpus: from a small folder shaped like the unpacked packages, and from those."""

import gzip
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import InputError
from rtmobile_iree.speech import load_clips
from rtmobile_iree.speech.corpora import preparation, sources
from rtmobile_iree.speech.corpora.alignment import AlignmentError
from rtmobile_iree.speech.corpora.asterisk import Synthesis, recordings, syntheses
from rtmobile_iree.speech.corpora.preparation import Amounts, How, prepare_asterisk
from rtmobile_iree.speech.corpora.sounds import resampled
from rtmobile_iree.speech.corpora.transcripts import leaks, words_of
from rtmobile_iree.speech.corpora.voices import TRAINED, UNSEEN, Voice, speak
from rtmobile_iree.speech.corpus import open_corpus, read_manifest

CLIPS = load_clips()
EXAMPLES = {"noun": "night", "verb": "day", "adj": "week", "adv": "winter"}
PACKAGES = cache_folder() / sources.folder_name()
needs_packages = pytest.mark.skipif(
    not PACKAGES.is_dir(), reason=f"no {PACKAGES}: Debian's packages; `make speech` fetches them"
)


def write_g722(path, samples, rate):
    wide = (np.clip(resampled(samples, rate, 16000), -1, 0.999) * 32768).astype(np.int16)
    with av.open(str(path), "w", format="g722") as file:
        stream = file.add_stream("g722", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wide[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def debian(tmp_path):
    """The shipped clips as prompts, one of them said twice, and programs that all say the last."""
    folder = tmp_path / "debian"
    sounds = folder / sources.SOUNDS
    sounds.mkdir(parents=True)
    lines = ["; Core Asterisk Sounds in English", "", "gone: Nobody recorded this.", "beep: [tone]"]
    for clip in (*CLIPS, CLIPS[0]):
        prompt = clip.name.removesuffix(".wav")
        prompt = f"again/{prompt}" if (sounds / clip.name).exists() else prompt
        (sounds / prompt).parent.mkdir(exist_ok=True)
        soundfile.write(sounds / f"{prompt}.wav", clip.samples, 8000, subtype="PCM_16")
        write_g722(sounds / f"{prompt}.g722", clip.samples, 8000)
        lines.append(f"{prompt}: {clip.transcript}")
    (sounds / "beep.wav").write_bytes(b"")
    transcripts = folder / sources.TRANSCRIPTS
    transcripts.parent.mkdir(parents=True)
    transcripts.write_bytes(gzip.compress("\n".join(lines).encode()))
    wordnet = folder / sources.WORDNET
    wordnet.mkdir(parents=True)
    for kind, when in EXAMPLES.items():
        text = f'"the dog barked all {when}"; "please enter your agent number"; "8 of 9"'
        (wordnet / f"data.{kind}").write_text(text)
    said = sounds / CLIPS[-1].name
    for name in ("flite", "espeak-ng"):
        program(folder / "usr/bin" / name, f'cp "{said}" "$6"')
    # in Scheme, the path is the second string
    program(folder / "usr/bin/festival", f"""cp "{said}" "$(echo "$6" | cut -d'"' -f4)\"""")
    return folder


def test_prompts_become_tasks_or_are_named(debian):
    tasks, left_out = recordings(debian)
    assert left_out == [
        "allison/gone: the package has its words and no recording",
        "allison/beep: nobody speaks",
    ]
    # the shipped clips are scored by the demonstration, so what is alike is tested on as well
    assert {task.prompt: task.split for task in tasks} == {
        "agent-alreadyon": "test",
        "agent-incorrect": "test",
        "dir-instr": "test",
        "again/agent-alreadyon": "test",
    }


def test_a_corpus_is_made_and_made_again(debian, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "debian_folder", lambda: debian)
    lines, out = [], tmp_path / "out"
    prepare_asterisk(out, How(report=lines.append), Amounts(sentences=1, copies=1))
    corpus = open_corpus(out)
    assert [one.name for one in corpus.split("test")] == [
        "allison/agent-alreadyon",
        "allison/agent-incorrect",
        "allison/dir-instr",
        "allison/again/agent-alreadyon",
    ]
    # four sentences for six voices; programs that say something else are left out or aligned badly
    spoken = {one.name for one in corpus.utterances if one.split == "train" and "~" not in one.name}
    left_out = {line.split(":")[0] for line in lines if "does not fit" in line}
    assert len(left_out) > 1
    named = {name for name in left_out if not name.startswith(UNSEEN.name)}
    assert not spoken & named
    assert spoken | named == {f"{voice.name}/0000" for voice in TRAINED[:4]}
    copies = {one.name for one in corpus.utterances if "~" in one.name}
    assert copies == {f"{name}~1" for name in spoken}
    assert len(corpus.phones) == 40
    assert len(set(corpus.folding.values())) == 38
    unseen = open_corpus(out / "unseen-voice")
    assert {(one.speaker, one.split) for one in unseen.utterances} == {("flite-rms", "test")}
    said = " ".join(words_of(CLIPS[-1].transcript))
    assert said in {one.transcript for one in unseen.utterances}
    before = (out / "corpus.json").read_bytes()
    (out / "allison/dir-instr.wav").unlink()
    prepare_asterisk(out, How(), Amounts(sentences=1, copies=1))
    assert (out / "corpus.json").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.with_suffix(".wav").unlink(), "no such audio file"),
        (lambda path: path.with_suffix(".wav").write_bytes(b""), "not readable as audio"),
        (lambda path: path.with_suffix(".g722").unlink(), "no such audio file"),
        (lambda path: os.truncate(path.with_suffix(".g722"), 8000), "1.00 s as G.722"),
        (
            lambda path: soundfile.write(path.with_suffix(".wav"), np.ones(9000), 11025),
            "11025 samples a second, not 8000",
        ),
    ],
)
def test_a_bad_prompt_is_named(debian, tmp_path, damage, message):
    damage(debian / sources.SOUNDS / "dir-instr.wav")
    task = next(task for task in recordings(debian)[0] if task.prompt == "dir-instr")
    with pytest.raises(InputError, match=message):
        task.make(tmp_path)


def test_a_sentence_is_spoken_by_every_program(debian, tmp_path):
    words = words_of(CLIPS[-1].transcript)
    for voice in (TRAINED[0], TRAINED[3], TRAINED[4]):
        entry = Synthesis(voice, 7, words, "train", debian).make(tmp_path)
        assert entry.name == f"{voice.name}/0007"
        assert entry.samples == len(CLIPS[-1].samples)
        assert entry.segments[-1][1] == pytest.approx(entry.samples / 8000, abs=1e-4)


def test_a_program_that_fails_is_named(debian, tmp_path):
    program(debian / "usr/bin/flite", "echo no such voice >&2; exit 3")
    with pytest.raises(InputError, match="flite: no such voice"):
        speak(debian, TRAINED[0], ("hello",))
    (debian / "usr/bin/flite").unlink()
    with pytest.raises(InputError, match="flite: .*No such file"):
        speak(debian, TRAINED[0], ("hello",))


def test_sentences_are_dealt_to_voices():
    sentences = [(f"w{number}",) for number in range(10)]
    tasks = syntheses(Path(), TRAINED[:3], sentences, 3)
    assert len({task.words for task in tasks}) == len(tasks) == 9
    assert [task.voice for task in tasks] == [voice for voice in TRAINED[:3] for _ in range(3)]
    assert tasks == syntheses(Path(), TRAINED[:3], sentences, 3)
    assert tasks != syntheses(Path(), TRAINED[:3], sentences, 3, seed=1)


def test_a_training_sentence_like_one_held_out_stops_the_build(debian, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "debian_folder", lambda: debian)
    words = words_of(CLIPS[-1].transcript)
    monkeypatch.setattr(preparation, "spoken_sentences", lambda *given: [words])
    with pytest.raises(AssertionError):
        prepare_asterisk(tmp_path / "out", How(), Amounts(sentences=1, copies=0))


def test_what_voices_say_is_like_nothing_held_out(debian):
    held_out = [words_of("Please enter your agent number.")]
    chosen = preparation.spoken_sentences(debian, [], held_out, 10, seed=0)
    sentences = {f"the dog barked all {when}" for when in EXAMPLES.values()}
    assert {" ".join(words) for words in chosen} == sentences
    assert len(chosen) == 4


def test_packages_are_unpacked_once(tmp_path, monkeypatch):
    calls = []

    def unpack(folder):
        calls.append(folder)
        folder.mkdir()
        (folder / "usr").mkdir()

    monkeypatch.setattr(sources, "_unpack", unpack)
    first = sources.debian_folder(tmp_path)
    assert sources.debian_folder(tmp_path) == first
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_without_apt_get_it_says_what_would_work(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cksum", "tr", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(InputError, match="needs apt-get and dpkg-deb.*on Debian or Ubuntu"):
        sources.debian_folder(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@needs_packages
@pytest.mark.parametrize("voice", [*TRAINED, UNSEEN], ids=lambda voice: voice.name)
def test_real_voices_speak(voice: Voice, tmp_path):
    words = ("the", "people", "enjoyed", "a", "warm", "evening")
    entry = Synthesis(voice, 0, words, "train", PACKAGES).make(tmp_path)
    assert 0.8 < entry.samples / 8000 < 4
    said = [phone for _, _, phone in entry.segments if phone != "sil"]
    assert said[-3:] == ["n", "ih", "ng"]


@needs_packages
def test_the_real_prompts_leak_nothing():
    tasks, left_out = recordings(PACKAGES)
    assert len(tasks) == 549
    assert len(left_out) == 20
    said = {
        split: [task.words for task in tasks if task.split == split]
        for split in ("train", "valid", "test")
    }
    assert not leaks(said["train"], said["valid"] + said["test"])
    assert not leaks(said["valid"], said["test"])
    held_out = said["valid"] + said["test"]
    sentences = preparation.spoken_sentences(PACKAGES, said["train"], held_out, 200, seed=0)
    assert len(set(sentences)) == 200
    assert not leaks(sentences, held_out)
    shipped = {clip.name.removesuffix(".wav") for clip in CLIPS}
    assert shipped <= {task.prompt for task in tasks if task.split == "test"}


@needs_packages
def test_a_wrong_transcript_is_refused(tmp_path):
    tasks, _ = recordings(PACKAGES)
    one = next(task for task in tasks if task.prompt == "tt-weasels")
    swapped = type(one)(one.prompt, tasks[3].words, one.split, one.sounds)
    with pytest.raises(AlignmentError, match="does not fit"):
        swapped.make(tmp_path)
    made = one.make(tmp_path)
    assert made.transcript == "weasels have eaten our phone system"


def test_the_manifest_names_its_sources(debian, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "debian_folder", lambda: debian)
    prepare_asterisk(tmp_path / "out", How(), Amounts(sentences=0, copies=0))
    manifest = read_manifest(tmp_path / "out")
    assert any("CC-BY-SA-3.0" in line for line in manifest.sources)
    assert {v.name for v in TRAINED} <= {line.split(":")[0] for line in manifest.sources}
    fields = json.loads((tmp_path / "out/corpus.json").read_text())
    assert fields["left_out"] == list(manifest.left_out) != []
