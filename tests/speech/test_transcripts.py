"""Words of transcripts, and splits that share no sentence."""

import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.transcripts import (
    are_alike,
    groups,
    leaks,
    split_groups,
    unlike,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Goodbye!", "goodbye"),
        ("If this is correct, press...", "if this is correct press"),
        ("Press 1 for, or 9; * and #", "press one for or nine star and pound"),
        ("Please. (simple tone sound plays)", "please"),
        ("dash [-] <beep>", "dash"),
        ("De-activated: A.M.", "de activated a m"),
        ("o'clock 'tis 'quoted'", "o'clock tis quoted"),
    ],
)
def test_words(text, words):
    assert words_of(text) == tuple(words.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [("[ascending tones]", "nobody speaks"), ("...", "nobody"), ("dial 500", "'500' can be read")],
)
def test_text_without_certain_words_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        words_of(text)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("goodbye", "goodbye", True),
        ("goodbye", "hello", False),
        # one word may be part of any sentence
        ("press", "press the pound key", False),
        ("pound key", "then press the pound key", True),
        ("the last caller", "the last caller was", True),
        # a run of four
        ("now you must enter a new number", "please do not enter a new number today", True),
        ("enter a new code now", "please enter a new code", True),
        ("enter a new code", "please enter a new number", False),
        # three of four words in order
        ("you are now muted", "you are now unmuted", True),
        ("you are now muted", "they are now unmuted", False),
    ],
)
def test_alike(one, other, alike):
    one, other = tuple(one.split()), tuple(other.split())
    assert are_alike(one, other) == are_alike(other, one) == alike


def numbered(count):
    """Sentences of which each is like the next in its block of three, and no other."""
    return [
        tuple(f"w{block}-{place}" for place in range(start, start + 6))
        for block in range(count)
        for start in (0, 2, 4)
    ]


def test_what_is_alike_through_others_is_one_group():
    assert groups(numbered(3)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert groups([]) == []
    assert groups([("a",), ("b",), ("a",)]) == [[0, 2], [1]]


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_sentence_and_keep_to_their_shares(seed):
    sentences = numbered(60)
    forced = {4, 100}
    splits = split_groups(groups(sentences), [1.0] * 180, forced, 0.1, 0.2, seed)
    by_split = {
        name: [words for words, split in zip(sentences, splits, strict=True) if split == name]
        for name in ("train", "valid", "test")
    }
    assert not leaks(by_split["train"], by_split["valid"] + by_split["test"])
    assert not leaks(by_split["valid"], by_split["test"])
    assert [splits[number] for number in forced] == ["test", "test"]
    assert {name: len(part) for name, part in by_split.items()} == {
        "train": 126,
        "valid": 18,
        "test": 36,
    }


def test_a_large_group_is_left_to_training():
    splits = split_groups([[0], [1], [2], [3]], [50.0, 1.0, 1.0, 1.0])
    assert splits[0] == "train"


def test_leaks_and_unlike():
    held_out = [("press", "the", "pound", "key")]
    said = [("now", "press", "the", "pound", "key"), ("goodbye",), ("goodbye",)]
    assert leaks(said, held_out) == [(said[0], held_out[0])]
    assert unlike(said, held_out) == [("goodbye",)]
