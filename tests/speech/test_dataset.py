"""Frames and labels of a corpus, and their cache."""

import numpy as np
import pytest

from rtmobile_iree.speech.acoustic import ModelConfig, stack_frames
from rtmobile_iree.speech.batches import NO_LABEL, Batch, Example, augmented, epoch_batches
from rtmobile_iree.speech.corpus import Segment, Utterance
from rtmobile_iree.speech.dataset import CACHE, Item, open_dataset
from rtmobile_iree.speech.features import load_clips, raw_log_mel
from rtmobile_iree.speech.online import OnlineRawLogMel
from rtmobile_iree.speech.recipe import Augment


@pytest.mark.parametrize("block", [1, 79, 800])
def test_frames_of_a_stream_are_those_of_the_recording(block):
    samples = load_clips()[0].samples[:9000]
    bank = OnlineRawLogMel()
    parts = [bank.accept(samples[at : at + block]) for at in range(0, len(samples), block)]
    np.testing.assert_allclose(np.concatenate(parts), raw_log_mel(samples), rtol=0, atol=1e-4)


def item(frames, segments):
    made = tuple(Segment(*segment) for segment in segments)
    utterance = Utterance("u", "s", "train", None, "", made)
    return Item(np.arange(frames * 40, dtype="f4").reshape(frames, 40), utterance)


def test_a_step_has_the_phone_of_its_middle():
    # two frames of 25 ms, 10 ms apart: the middle of step n is at 20 n + 17.5 ms
    one = item(7, [(0, 0.0175, "sil"), (0.0175, 0.05, "aa"), (0.05, 0.08, "iy")])
    assert one.labels(("sil", "aa", "iy"), stack=2).tolist() == [1, 1, 2]
    assert one.labels(("sil", "aa", "iy"), stack=1).tolist() == [0, 1, 1, 1, 2, 2, 2]


def test_a_recording_that_ends_after_its_labels_keeps_the_last():
    assert item(4, [(0, 0.02, "sil"), (0.02, 0.03, "aa")]).labels(("sil", "aa"), 1)[-1] == 1


@pytest.mark.parametrize("delay", [0, 3])
def test_targets_come_late(delay):
    one = item(7, [(0, 0.04, "sil"), (0.04, 0.2, "aa")])
    config = ModelConfig(("sil", "aa"), delay=delay)
    example = Example.of(one, config)
    assert example.x.shape == (3 + delay, 80)
    assert example.labels.tolist() == [NO_LABEL] * delay + [0, 0, 1]
    stacked = stack_frames(one.frames, config)
    np.testing.assert_array_equal(stacked[0], one.frames[:2].ravel())
    np.testing.assert_array_equal(stacked[3:], np.repeat(stacked[2:3], delay, axis=0))


def test_batches_take_every_example_once_and_are_the_seeds(dataset):
    config = ModelConfig(dataset.corpus.phones)
    examples = [Example.of(one, config) for one in dataset.items]
    batches = epoch_batches(examples, 5, seed=1, epoch=2)
    assert sorted(n for batch in batches for n in batch) == list(range(len(examples)))
    assert max(map(len, batches)) == 5
    assert batches == epoch_batches(examples, 5, seed=1, epoch=2)
    assert batches != epoch_batches(examples, 5, seed=1, epoch=3)
    batch = Batch.of([examples[n] for n in batches[0]])
    assert batch.x.shape[:2] == batch.labels.shape == (len(batches[0]), batch.lengths.max())


def test_augmentation_leaves_the_batch_as_it_was(dataset, trained):
    config = trained.config
    batch = Batch.of([Example.of(one, config) for one in dataset.items[:4]])
    before = batch.x.clone()
    mean, scale = trained.module.mean, trained.module.scale
    none = Augment(time_masks=0, band_masks=0, loudness=0.0)
    rng = np.random.default_rng
    assert augmented(batch, none, mean, scale, rng(0)).x.equal(before)
    masked = augmented(batch, Augment(loudness=0.0), mean, scale, rng(0)).x
    changed = masked != before
    assert changed.any()
    assert masked[changed].equal(mean.expand_as(masked)[changed])
    assert batch.x.equal(before)


def test_the_cache_is_used_and_made_again_when_it_is_not_whole(tones, dataset):
    path = tones / CACHE
    good = path.read_bytes()
    changed = path.stat().st_mtime_ns
    open_dataset(tones)
    assert path.stat().st_mtime_ns == changed
    for bad in (good[:-40] + bytes(40), good[:100], b""):
        path.write_bytes(bad)
        again = open_dataset(tones)
        assert path.read_bytes() == good
        np.testing.assert_array_equal(again.items[-1].frames, dataset.items[-1].frames)


def test_frames_of_each_utterance(dataset):
    for one in dataset.items:
        assert one.frames.shape[1] == 40
        end_s = one.utterance.segments[-1].end_s
        assert len(one.frames) == 1 + (round(end_s * 8000) - 200) // 80
