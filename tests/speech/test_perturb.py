"""Copies at other speeds and in noise, and sounds between files and rates."""

from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.perturb import (
    Perturbed,
    add_noise,
    babble,
    colored,
    perturbations,
    scaled,
)
from rtmobile_iree.speech.corpora.sounds import read_g722, resampled, write_wav
from rtmobile_iree.speech.corpus import Entry
from rtmobile_iree.speech.features import read_audio

SEGMENTS = ((0.0, 0.25, "sil"), (0.25, 0.5, "aa"))


@pytest.fixture
def entries(tmp_path):
    """Three half-second tones."""
    made = []
    for number, pitch in enumerate((300, 700, 1100)):
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(4000) / 8000)
        sha256, count = write_wav(tmp_path / f"{number}.wav", tone)
        name, file = f"tone{number}", f"{number}.wav"
        made.append(Entry(name, "horn", "train", file, sha256, count, "ah", SEGMENTS))
    return made


def test_a_copy_depends_on_the_seed_and_its_name_alone(entries, tmp_path):
    tasks = perturbations(entries, {"horn": 4}, seed=1)
    assert len({task.name for task in tasks}) == len(tasks) == 12
    assert {task.noise for task in tasks} > {None, "babble"}
    first = [task.make(tmp_path).sha256 for task in tasks]
    assert first == [task.make(tmp_path).sha256 for task in tasks]
    others = perturbations(entries, {"horn": 4}, seed=2)
    assert first != [task.make(tmp_path).sha256 for task in others]
    assert all(task.noise or task.speed != 1 for task in (*tasks, *others))
    assert len(perturbations(entries, {}, seed=1)) == 3


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_a_faster_copy_is_shorter_and_higher(entries, tmp_path, speed):
    made = Perturbed(entries[1], 1, speed, None, 0.0, (), 0).make(tmp_path)
    samples, _ = read_audio(tmp_path / made.audio)
    assert made.samples == len(samples) == pytest.approx(4000 / speed, abs=2)
    pitch = np.abs(np.fft.rfft(samples, 8000)).argmax()
    assert pitch == pytest.approx(700 * speed, abs=2)
    (_, first_end, _), (_, last_end, _) = made.segments
    assert first_end == pytest.approx(0.25 / speed, abs=1e-4)
    assert last_end == pytest.approx(len(samples) / 8000, abs=1e-4)
    assert (made.split, made.speaker, made.transcript) == ("train", "horn", "ah")


def test_one_segment_scales_to_the_whole():
    assert scaled([(0.0, 1.0, "aa")], 1.1, 0.909) == ((0.0, 0.909, "aa"),)


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 20.0])
def test_noise_is_as_loud_as_asked(snr_db):
    generator = np.random.default_rng(0)
    speech, noise = generator.normal(0, 0.05, 8000), generator.normal(0, 3, 8000)
    added = add_noise(speech, noise, snr_db) - speech
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert ratio == pytest.approx(snr_db, abs=0.01)


def test_what_would_clip_is_scaled_down():
    loud = np.full(100, 0.9)
    assert np.abs(add_noise(loud, loud, 0.0)).max() == pytest.approx(1.0)


@pytest.mark.parametrize("silent", [0, 1])
def test_silence_has_no_ratio_to_noise(silent):
    both = [np.ones(100), np.ones(100)]
    both[silent] = np.zeros(100)
    with pytest.raises(InputError, match="silence"):
        add_noise(*both, 5.0)


@pytest.mark.parametrize(("exponent", "slope"), [(0.0, 0.0), (1.0, -1.0)])
def test_colors_of_noise(exponent, slope):
    noise = colored(np.random.default_rng(0), 80000, exponent)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[2**n : 2 ** (n + 1)].mean() for n in range(6, 15)]
    measured = np.polyfit(np.arange(len(octaves)), np.log2(octaves), 1)[0]
    assert measured == pytest.approx(slope, abs=0.1)


def test_babble_has_every_voice_equally_loud():
    turns = np.arange(500) / 500
    voices = [np.sin(2 * np.pi * 5 * turns), 100 * np.sin(2 * np.pi * 70 * turns)]
    spectrum = np.abs(np.fft.rfft(babble(voices, 5000)))
    assert sorted(spectrum.argsort()[-2:]) == [50, 700]
    assert spectrum[50] == pytest.approx(spectrum[700])


@pytest.mark.parametrize(("rate", "to"), [(16000, 8000), (22050, 8000), (8000, 16000)])
def test_resampling_keeps_a_tone(rate, to):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    changed = resampled(tone, rate, to)
    assert len(changed) == to
    assert np.abs(np.fft.rfft(changed)).argmax() == 440
    assert resampled(tone, rate, rate) is tone


@pytest.mark.parametrize(
    ("samples", "message"),
    [(np.zeros(199), "199 samples; 25 ms"), (np.full(800, np.nan), "not finite")],
)
def test_what_cannot_be_learned_from_is_not_written(tmp_path, samples, message):
    with pytest.raises(InputError, match=message):
        write_wav(tmp_path / "x.wav", samples)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("data", "message"), [(None, "no such"), (b"", "no sound|not readable")])
def test_bad_g722_is_refused(tmp_path, data, message):
    path = Path(tmp_path / "x.g722")
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_g722(path)
