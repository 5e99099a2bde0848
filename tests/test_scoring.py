"""Scores and continuations, by hand and by sorting in float64."""

import numpy as np
import pytest
import tensorflow as tf
from search_reference import BOS, EOS, PAD, UNK, rules

from nlp_rnn.scoring import IMPOSSIBLE, continuations, length_penalty, top_k


@pytest.mark.parametrize("size", [9, 31, 999, 1024])
def test_continuations_are_the_most_probable_tokens(size):
    """As sorting gives them, whether a vocabulary is sorted or searched in blocks, whole ones or not."""
    logits = np.random.default_rng(0).normal(size=(3, 2, size)).astype(np.float32) * 3
    logits[1, 0, -1] = 20
    logits[2, 1, [PAD, UNK, BOS, EOS]] = 30
    tokens, gains, ends = (found.numpy() for found in continuations(tf.constant(logits), 3, rules()))
    wide = logits.astype(np.float64)
    log_probabilities = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    np.testing.assert_allclose(ends, log_probabilities[..., EOS], atol=4e-6)
    for row, slot in np.ndindex(3, 2):
        best = 4 + np.argsort(-logits[row, slot, 4:])[:3]
        allowed = gains[row, slot] > IMPOSSIBLE
        assert tokens[row, slot, allowed][:3].tolist() == best.tolist()
        np.testing.assert_allclose(gains[row, slot, allowed][:3], log_probabilities[row, slot, best], atol=4e-6)
        assert not set(tokens[row, slot, allowed]) & {PAD, UNK, BOS, EOS}


def test_fewer_tokens_than_asked_for_are_all_there_are():
    tokens, gains, _ = continuations(tf.zeros([1, 1, 6]), 10, rules())
    assert sorted(tokens[0, 0].numpy()[gains[0, 0] > IMPOSSIBLE]) == [4, 5]


@pytest.mark.parametrize("size", [127, 128, 640, 4001])
def test_top_k_is_tensorflow_s(size):
    values = tf.random.stateless_normal([2, 3, size], seed=(1, size))
    for count in (1, 5):
        for found, expected in zip(top_k(values, count), tf.math.top_k(values, count), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_length_penalty_by_hand():
    """Two tokens and the end: (5 + 3) / 6, to the power of alpha."""
    lengths = tf.constant([0, 2])
    np.testing.assert_allclose(length_penalty(lengths, rules(length_penalty=2.0)), [1.0, (8 / 6) ** 2], rtol=1e-6)
    np.testing.assert_array_equal(length_penalty(lengths, rules()), [1.0, 1.0])


def test_rules_that_make_no_sense_are_refused():
    for settings, message in (
        ({"length_penalty": -1.0}, "length_penalty must be at least 0"),
        ({"coverage_penalty": -0.1}, "coverage_penalty must be at least 0"),
        ({"coverage_penalty": float("nan")}, "coverage_penalty must be at least 0"),
        ({"minimum_length": -1}, "minimum_length must be at least 0"),
        ({"end_token": PAD}, "end_token 0 must differ"),
    ):
        with pytest.raises(ValueError, match=message):
            rules(**settings)


def test_excluded_tokens_are_sorted_and_named_once():
    assert rules(forbidden_tokens=(7, UNK, PAD)).excluded_tokens == (PAD, UNK, BOS, 7)
