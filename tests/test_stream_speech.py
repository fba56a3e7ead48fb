"""Sound as it comes: its frames, and `rtmobile stream`."""

import io
import sys

import numpy as np
import pytest
import soundfile

import rtmobile_iree as rt
from rtmobile_iree import cli
from rtmobile_iree.errors import InputError
from rtmobile_iree.models import tiny_speech_gru
from rtmobile_iree.speech import load_clips, log_mel
from rtmobile_iree.speech.live import Tally, run_live
from rtmobile_iree.speech.online import BLOCK_SAMPLES, OnlineLogMel, file_blocks, pcm_blocks


@pytest.fixture(scope="module")
def vmfb(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "tiny.vmfb"
    model = tiny_speech_gru()
    rt.compile(model, model.example_inputs()).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of speech in a file."""
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    soundfile.write(path, load_clips()[0].samples[:8000], 8000, subtype="PCM_16")
    return path


def run(capsys, *arguments):
    """Runs the command line: its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["stream", *map(str, arguments)])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def in_blocks(samples, size, bands=40):
    mel = OnlineLogMel(bands)
    return np.concatenate([mel.accept(samples[i : i + size]) for i in range(0, len(samples), size)])


def test_frames_do_not_depend_on_the_blocks():
    samples = load_clips()[0].samples[:16000]
    whole = in_blocks(samples, len(samples))
    assert whole.dtype == np.float32
    for size in (1, 79, 200, 800):
        np.testing.assert_allclose(in_blocks(samples, size), whole, rtol=0, atol=1e-4)


def test_frames_are_the_recordings_but_for_the_normalization():
    samples = load_clips()[0].samples
    online, offline = in_blocks(samples, BLOCK_SAMPLES), log_mel(samples)
    assert online.shape == offline.shape
    # the last frame is normalized over the whole recording in both
    np.testing.assert_allclose(online[-1], offline[-1], rtol=0, atol=1e-3)
    assert not online[0].any()


@pytest.mark.parametrize("bands", [2, 200])
def test_bands_that_no_filter_bank_has(bands):
    with pytest.raises(InputError, match=f"frames of {bands} mel bands: .*use about 3 to 80"):
        OnlineLogMel(bands)


def test_raw_samples_in_pieces_of_any_size():
    samples = np.arange(-2000, 2000, dtype="<i2")

    class Pipe(io.BytesIO):
        def read1(self, size=-1):
            return self.read(min(size, 333))  # odd: samples are torn apart

    blocks = list(pcm_blocks(Pipe(samples.tobytes()), 8000))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks) * 32768, samples)
    with pytest.raises(InputError, match="middle of a sample"):
        list(pcm_blocks(io.BytesIO(b"abc"), 8000))
    with pytest.raises(InputError, match="--rate 16000: resample it to 8000"):
        list(pcm_blocks(io.BytesIO(), 16000))


def test_outputs_are_those_of_the_frames_at_once(vmfb, clip):
    frames = np.concatenate([*map(OnlineLogMel(8).accept, file_blocks(clip))])
    whole = rt.stream(vmfb).step(frames)
    for chunk in (1, 7, 30):
        tally = Tally()
        parts = run_live(rt.stream(vmfb), file_blocks(clip), tally, chunk)
        got = np.concatenate([part.copy() for part in parts])
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-6)
        assert tally.frames == len(whole) == 98
        assert tally.audio_s == 1.0
        assert len(tally.steps_s) == 98 // chunk


def test_the_command_says_how_fast_it_goes(vmfb, clip, capsys):
    code, out, errors = run(capsys, vmfb, clip, "--chunk", "7")
    assert (code, errors) == (0, "")
    assert "98 frames, 1.00 s of sound; on this machine" in out
    assert "a step of 7 frames: median " in out
    assert "real-time factor 0.0" in out


def test_plain_lines_as_it_goes(vmfb, tmp_path, capsys):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000 * 11), 8000)
    code, _, errors = run(capsys, vmfb, path)
    assert code == 0
    assert [line.split()[0] for line in errors.splitlines()] == ["5.0", "10.0"]
    assert all("frames/s, real-time factor" in line for line in errors.splitlines())


def test_raw_samples_from_a_pipe(vmfb, clip, capsys, monkeypatch):
    samples, _ = soundfile.read(clip, dtype="int16")

    class Stdin:
        buffer = io.BytesIO(samples.tobytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, out, _ = run(capsys, vmfb, "-")
    assert code == 0
    assert "98 frames, 1.00 s of sound" in out


def test_sound_and_programs_that_cannot_be_streamed(vmfb, clip, tmp_path, capsys):
    bad, fast, short = tmp_path / "bad.wav", tmp_path / "fast.wav", tmp_path / "short.wav"
    bad.write_bytes(b"RIFF")
    soundfile.write(fast, np.zeros(800), 16000)
    soundfile.write(short, np.zeros(100), 8000)
    for arguments, message in (
        ((vmfb, bad), "not readable as audio"),
        ((vmfb, fast), "16000 samples a second; resample it to 8000"),
        ((vmfb, short), "0.013 s of sound, not enough for 1 frame"),
        ((vmfb, tmp_path / "none.wav"), "no such audio file"),
        ((tmp_path / "none.vmfb", clip), "cannot be read"),
        ((vmfb, clip, "--chunk", "0"), "--chunk 0: use 1 or more"),
    ):
        code, _, errors = run(capsys, *arguments)
        assert code == 1
        assert message in errors
        assert len(errors.strip().splitlines()) == 1
