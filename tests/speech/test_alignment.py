"""Forced alignment of the shipped clips."""

import re
from itertools import pairwise

import numpy as np
import pytest

from rtmobile_iree.speech import load_clips
from rtmobile_iree.speech.corpora.alignment import AlignmentError, align, unknown_words
from rtmobile_iree.speech.corpora.phones import CMU, CMU_FOLDING, timit_table
from rtmobile_iree.speech.corpora.segments import ended
from rtmobile_iree.speech.corpora.sounds import resampled
from rtmobile_iree.speech.corpora.transcripts import words_of

CLIPS = {clip.name.removesuffix(".wav"): clip for clip in load_clips()}
# the dictionary's pronunciations; a bracket where it has several
SAID = {
    "agent-incorrect": "l ao g ih n  ih n k er eh k t  p l iy z  eh n t? er  y (uh|ao|er) r? "
    "ey jh ah n t  n ah m b er  f aa l ow d  b ay  dh (ah|iy)  p aw n d  k iy",
    "dir-instr": "ih f  dh ih s  ih z  dh (ah|iy)  p er s ah n  y uw  (aa|er) r?  l uh k ih ng  "
    "f (ao|er|r er) r?  p r eh s  w ah n  n aw  (ah|aa) dh er w ay z  p l iy z  p r eh s  s t aa r "
    "n aw",
}


def wide(clip):
    return resampled(clip.samples, clip.rate_hz, 16000)


def loudness(samples, start_s, end_s):
    return float(np.sqrt(np.mean(samples[int(start_s * 16000) : int(end_s * 16000)] ** 2)))


@pytest.mark.parametrize("name", SAID)
def test_a_clip_is_aligned(name):
    sound = wide(CLIPS[name])
    times = align(sound, words_of(CLIPS[name].transcript))
    assert times[0][0] == 0
    assert times[-1][1] == pytest.approx(len(sound) / 16000, abs=1e-4)
    assert all(one[1] == other[0] for one, other in pairwise(times))
    said = " ".join(phone for _, _, phone in times if phone != "sil")
    assert re.fullmatch(re.sub(r" +", " *", SAID[name]), said)
    assert {phone for _, _, phone in times} <= {*CMU, "sil"}
    # it is quiet where it says so, and the vowels are loud
    silent = [loudness(sound, start, end) for start, end, phone in times if phone == "sil"]
    vowels = [loudness(sound, start, end) for start, end, phone in times if phone in ("aw", "iy")]
    assert np.median(silent) < 0.1 * np.median(vowels)


def test_what_was_aligned_before_changes_nothing():
    sounds = [(wide(clip), words_of(clip.transcript)) for clip in CLIPS.values()]
    forwards = [align(*sound) for sound in sounds]
    assert forwards == [align(*sound) for sound in reversed(sounds)][::-1]


def test_silence_around_speech_is_found():
    clip = CLIPS["agent-incorrect"]
    quiet = np.random.default_rng(0).normal(0, 1e-4, 8000).astype(np.float32)
    times = align(np.concatenate([quiet, wide(clip), quiet]), words_of(clip.transcript))
    assert times[0][2] == times[-1][2] == "sil"
    assert 0.4 < times[0][1] < 0.7
    assert 0.4 < times[-1][1] - times[-1][0] < 0.8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("weasels have eaten our phone system and many other things besides", "does not fit"),
        ("zyxwv agent qqq zyxwv", "no pronunciation of zyxwv, qqq"),
    ],
)
def test_other_words_are_refused(words, message):
    with pytest.raises(AlignmentError, match=message):
        align(wide(CLIPS["agent-incorrect"]), tuple(words.split()))


@pytest.mark.parametrize("samples", [np.zeros(400), np.zeros(16000)])
def test_no_speech_is_refused(samples):
    with pytest.raises(AlignmentError, match="does not fit"):
        align(samples, ("please", "enter", "your", "number"))


def test_words_the_dictionary_lacks_are_added():
    assert unknown_words(("unmute", "lowercase", "pbx", "flurb", "the", "flurb")) == ["flurb"]


def test_labels_end_with_the_sound():
    times = ((0.0, 0.5, "sil"), (0.5, 0.9, "aa"), (0.9, 1.0, "sil"))
    assert ended(times, 1.01) == (*times[:2], (0.9, 1.01, "sil"))
    assert ended(times, 0.9) == times[:2]
    assert ended(times[:1], 0.001) == ((0.0, 0.001, "sil"),)


def test_phones_fold_to_lee_and_hons_39():
    trained, scored = timit_table()
    assert (len(trained), len(scored), len(set(scored.values()))) == (60, 48, 39)
    assert set(trained.values()) == set(scored)
    assert {scored[trained[label]] for label in ("pcl", "gcl", "epi", "pau", "h#")} == {"sil"}
    assert (trained["ax-h"], scored["ax"]) == ("ax", "ah")
    assert len(CMU) == 39
    # CMU's phones are TIMIT's of the same name, so both are scored alike
    assert all(scored[phone] == CMU_FOLDING[phone] for phone in CMU)
