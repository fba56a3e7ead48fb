"""The trained models that come with the package."""

import pytest

from rtmobile_iree.speech import load_clips
from rtmobile_iree.speech.checkpoint import load_checkpoint
from rtmobile_iree.speech.runs import kept_weights
from rtmobile_iree.speech.shipped import (
    SHIPPED,
    held_out_clips,
    recognise,
    shipped_checkpoint,
    summary,
    table,
)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_models_know_what_they_are(name):
    checkpoint = load_checkpoint(shipped_checkpoint(name))
    kept, weights = kept_weights(checkpoint.module)
    assert checkpoint.notes["kept"] == kept, "as stored: the smallest weights are 0 in f16"
    rate = 1 if name == "dense" else float(name.removeprefix("pruned-").removesuffix("x"))
    assert weights / kept == pytest.approx(rate, rel=0.05)
    assert shipped_checkpoint(name).stat().st_size < 6_000_000


def test_the_clips_are_held_out_and_whole():
    dataset = held_out_clips()
    assert {item.utterance.audio.name for item in dataset.items} == {c.name for c in load_clips()}
    assert {item.utterance.split for item in dataset.items} == {"test"}
    for item in dataset.items:
        assert len(dataset.reference(item)) > 20


def test_pruned_and_compiled_it_still_recognises_the_clips():
    dataset = held_out_clips()
    found = recognise(dataset, SHIPPED[1], load_checkpoint(shipped_checkpoint(SHIPPED[1])))
    assert found.compiled == found.pytorch
    assert found.pytorch.percent < 40
    assert len(found.phones) > 20
    assert table((found,)).row_count == 1
    assert " ".join(found.phones) in summary((found,))
