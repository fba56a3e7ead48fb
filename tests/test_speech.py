"""The shipped clips and their features, and what is refused as audio."""

import numpy as np
import pytest
import soundfile

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech import clip_frames, load_clips, log_mel, read_audio


def test_the_clips_supply_a_thousand_real_frames():
    frames = clip_frames()
    assert frames.dtype == np.float32
    assert frames.shape[0] >= 1000
    assert frames.shape[1] == 40
    assert np.isfinite(frames).all()
    # speech moves: no band is constant, and no two neighbouring frames are the same everywhere
    assert (frames.std(axis=0) > 0.5).all()
    assert (np.abs(np.diff(frames, axis=0)).max(axis=1) > 0).all()


def test_every_clip_has_a_transcript():
    for clip in load_clips():
        assert clip.transcript
        assert clip.rate_hz == 8000
        assert len(clip.samples) > clip.rate_hz


def test_bands_are_normalized():
    clip = load_clips()[0]
    frames = log_mel(clip.samples, clip.rate_hz)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-3)


def test_a_tone_lands_in_the_right_bands():
    seconds = np.arange(8000) / 8000
    noise = np.random.default_rng(0).normal(0, 1e-3, 8000)
    low = np.where(seconds < 0.5, np.sin(2 * np.pi * 300 * seconds), 0) + noise
    high = np.where(seconds >= 0.5, np.sin(2 * np.pi * 3000 * seconds), 0)
    frames = log_mel(low + high)
    first, second = frames[10:40].mean(axis=0), frames[60:90].mean(axis=0)
    assert (first - second).argmax() < 12
    assert (second - first).argmax() > 25


def test_equal_samples_give_equal_frames():
    samples = load_clips()[1].samples
    np.testing.assert_array_equal(log_mel(samples), log_mel(samples))


@pytest.mark.parametrize(("samples", "frames"), [(200, 1), (279, 1), (280, 2), (8000, 98)])
def test_frame_count(samples, frames):
    sound = np.random.default_rng(1).uniform(-1, 1, samples)
    assert log_mel(sound).shape == (frames, 40)


def test_silence_stays_finite():
    assert np.isfinite(log_mel(np.zeros(800))).all()


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), 8000, "0 samples"),
        (np.zeros(199), 8000, "199 samples; one 25 ms window takes 200"),
        (np.zeros((800, 2)), 8000, r"\[800, 2\]"),
        (np.zeros(800), 16000, "resample it to 8000"),
        (np.full(800, np.nan), 8000, "sample 0 is nan"),
    ],
)
def test_samples_that_cannot_be_used(samples, rate, message):
    with pytest.raises(InputError, match=message):
        log_mel(samples, rate)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such audio file"):
        read_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is no sound"])
def test_a_file_that_is_no_audio(tmp_path, content):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not readable as audio"):
        read_audio(path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.zeros(8000), 8000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(InputError, match="cut short, .* of 8000 samples"):
        read_audio(path)


def test_stereo_and_other_rates_are_refused(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.zeros((800, 2)), 8000)
    with pytest.raises(InputError, match="2 channels"):
        read_audio(tmp_path / "stereo.wav")
    soundfile.write(tmp_path / "fast.wav", np.zeros(800), 44100)
    with pytest.raises(InputError, match="44100 samples a second; resample it to 8000"):
        read_audio(tmp_path / "fast.wav")


def test_other_formats_are_read(tmp_path):
    samples = np.random.default_rng(2).uniform(-0.5, 0.5, 1000).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", samples, 8000, subtype="PCM_24")
    read, rate = read_audio(tmp_path / "a.flac")
    assert rate == 8000
    np.testing.assert_allclose(read, samples, atol=1e-6)
