"""Decoders against brute force on sizes where all paths can be counted, and PER by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.ctc import GreedyDecoder, beam_search, greedy
from rtmobile_iree.speech.dataset import fold
from rtmobile_iree.speech.decode import (
    ViterbiDecoder,
    collapse,
    estimate_decoding,
    log_softmax,
    viterbi,
)
from rtmobile_iree.speech.scoring import PER, count_errors


def decoding(rng, classes, prior_scale=0.4, acoustic_scale=0.8):
    labels = [rng.integers(0, classes, 30) for _ in range(4)]
    found = estimate_decoding(labels, classes)
    return replace(found, prior_scale=prior_scale, acoustic_scale=acoustic_scale)


def best_path(scores, settings):
    """Viterbi's path by trying all."""
    likelihood = log_softmax(scores) - settings.prior_scale * settings.log_prior

    def total(path):
        moves = sum(settings.log_transition[a, b] for a, b in itertools.pairwise(path))
        heard = sum(likelihood[t, n] for t, n in enumerate(path))
        return settings.log_prior[path[0]] + moves + settings.acoustic_scale * heard

    return max(itertools.product(range(scores.shape[1]), repeat=len(scores)), key=total)


@pytest.mark.parametrize("steps", [1, 2, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_viterbi_finds_the_best_of_all_paths(steps, seed):
    rng = np.random.default_rng(seed)
    settings = decoding(rng, 3)
    scores = rng.normal(0, 3, (steps, 3)).astype("f4")
    assert viterbi(scores, settings) == collapse(best_path(scores, settings))


@pytest.mark.parametrize("block", [1, 3, 100])
def test_phones_as_they_come_are_those_of_the_whole(block):
    rng = np.random.default_rng(5)
    settings = decoding(rng, 6)
    scores = rng.normal(0, 4, (100, 6)).astype("f4")
    decoder = ViterbiDecoder(settings)
    early = [n for at in range(0, 100, block) for n in decoder.accept(scores[at : at + block])]
    assert len(early) > 10, "most phones are certain before the end"
    assert early + decoder.finish() == viterbi(scores, settings)
    assert decoder.accept(scores) + decoder.finish() == viterbi(scores, settings), "used again"


def test_nothing_heard_is_nothing_said():
    assert ViterbiDecoder(decoding(np.random.default_rng(0), 3)).finish() == []


def test_counts_of_the_training_set():
    found = estimate_decoding([np.array([0, 0, 1]), np.array([1])], 2)
    np.testing.assert_allclose(np.exp(found.log_prior), [3 / 6, 3 / 6])
    np.testing.assert_allclose(np.exp(found.log_transition), [[2 / 4, 2 / 4], [1 / 2, 1 / 2]])


def phones_of(path, blank):
    return tuple(n for n in collapse(path) if n != blank)


def most_probable(scores):
    """CTC's best phones by adding up all paths."""
    steps, classes = scores.shape
    log = log_softmax(scores.astype(np.float64))
    totals = {}
    for path in itertools.product(range(classes), repeat=steps):
        phones = phones_of(path, classes - 1)
        value = sum(log[t, n] for t, n in enumerate(path))
        totals[phones] = np.logaddexp(totals.get(phones, -np.inf), value)
    return list(max(totals, key=totals.__getitem__))


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_most_probable_phones(steps, seed):
    scores = np.random.default_rng(seed).normal(0, 1.5, (steps, 3))
    assert beam_search(scores, beam=1000, floor=-np.inf) == most_probable(scores)


def test_the_beam_adds_up_what_greedy_does_not():
    # blank is the best class of each step, yet "0" is likelier than nothing: three paths of 0.24
    scores = np.log([[0.4, 0.6], [0.4, 0.6]])
    assert greedy(scores) == []
    assert beam_search(scores) == [0]


def test_greedy_in_blocks():
    scores = np.random.default_rng(1).normal(0, 1, (50, 4))
    decoder = GreedyDecoder(blank=3)
    assert [n for row in scores for n in decoder.accept(row[None])] == greedy(scores)
    assert greedy(scores) == list(phones_of(scores.argmax(axis=1), 3))


def test_a_phone_twice_needs_a_blank_between():
    path = np.eye(3)[[0, 0, 2, 0, 1, 1]] * 9
    assert greedy(path) == [0, 0, 1]


@pytest.mark.parametrize(
    ("reference", "found", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a b c", "a b b c", 1),
        ("a b c", "", 3),
        ("a b", "x y z", 3),
        ("ih n", "i hn", 2),  # phones are compared, not letters
    ],
)
def test_errors_by_hand(reference, found, errors):
    assert count_errors([(reference.split(), found.split())]).errors == errors


def test_per_is_of_all_utterances_together():
    per = count_errors([(["a"], ["b"]), (["a"] * 9, ["a"] * 9)])
    assert per == PER(1, 10)
    assert per.percent == 10
    assert str(per) == "PER 10.00 % (1 errors in 10 phones)"


def test_no_reference_has_no_per():
    with pytest.raises(InputError, match="no phones"):
        count_errors([([], ["a"])])


def test_folding_drops_silence(dataset):
    assert fold(dataset.corpus, ["sil", "ux", "sil", "aa"]) == ["ow", "aa"]
