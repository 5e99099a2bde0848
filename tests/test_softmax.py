"""A softmax for each token: against a conditional random field without transitions, and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.crf import ConditionalRandomField
from nlp_rnn.layers.softmax import TokenSoftmax

EMISSIONS = tf.constant(np.random.default_rng(3).normal(0, 2, (4, 5, 3)), tf.float32)
MASK = tf.sequence_mask([5, 1, 0, 3], 5)
TAGS = tf.constant([[0, 2, 1, 1, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 2, 0, 0]])


@pytest.fixture(scope="module")
def field() -> ConditionalRandomField:
    """A field whose transitions are all zero: its tags do not depend on each other."""
    layer = ConditionalRandomField(tags=3)
    layer.build((None, None, 3))
    return layer


def test_it_is_a_conditional_random_field_without_transitions(field: ConditionalRandomField) -> None:
    head = TokenSoftmax()
    expected = field.log_likelihood(EMISSIONS, TAGS, mask=MASK)
    np.testing.assert_allclose(head.log_likelihood(EMISSIONS, TAGS, mask=MASK), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head.marginals(EMISSIONS, mask=MASK), field.marginals(EMISSIONS, mask=MASK), atol=1e-6)
    for mine, theirs in zip(head.decode(EMISSIONS, mask=MASK), field.decode(EMISSIONS, mask=MASK), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    spans = {
        "starts": tf.constant([[0, 2], [0, 0], [0, 0], [1, 2]]),
        "ends": tf.constant([[2, 5], [1, 0], [0, 0], [3, 3]]),
    }
    np.testing.assert_allclose(
        head.span_probabilities(EMISSIONS, TAGS, mask=MASK, **spans),
        field.span_probabilities(EMISSIONS, TAGS, mask=MASK, **spans),
        atol=1e-6,
    )


def test_values_by_hand() -> None:
    """Two tags with odds of 3 to 1, then of 1 to 4."""
    head = TokenSoftmax()
    emissions = tf.math.log(tf.constant([[[3.0, 1.0], [1.0, 4.0]]]))
    mask = tf.ones([1, 2], tf.bool)
    np.testing.assert_allclose(head.marginals(emissions, mask=mask), [[[0.75, 0.25], [0.2, 0.8]]], rtol=1e-6)
    assert head.decode(emissions, mask=mask)[0].numpy().tolist() == [[0, 1]]
    likelihood = head.log_likelihood(emissions, tf.constant([[0, 0]]), mask=mask)
    np.testing.assert_allclose(likelihood, [np.log(0.75 * 0.2)], rtol=1e-6)
    span = head.span_probabilities(
        emissions, tf.constant([[0, 1]]), mask=mask, starts=tf.constant([[0]]), ends=tf.constant([[2]])
    )
    np.testing.assert_allclose(span, [[0.75 * 0.8]], rtol=1e-6)


def test_the_gradient_leaves_padding_alone() -> None:
    head = TokenSoftmax()
    emissions = tf.Variable(EMISSIONS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(head.log_likelihood(emissions, TAGS, mask=MASK, training=True))
    expected = np.where(MASK[..., None], np.eye(3)[TAGS] - tf.nn.softmax(EMISSIONS), 0)
    np.testing.assert_allclose(tape.gradient(total, emissions), expected, atol=1e-6)


def test_half_precision_emissions_are_read_in_float32() -> None:
    head = TokenSoftmax(dtype="mixed_float16")
    emissions = tf.constant([[[60000.0, -60000.0]]], tf.float16)
    mask = tf.ones([1, 1], tf.bool)
    assert head.marginals(emissions, mask=mask).dtype == tf.float32
    likelihood = head.log_likelihood(emissions, tf.constant([[1]]), mask=mask)
    np.testing.assert_allclose(likelihood, [-120000.0], rtol=1e-3)  # beyond float16
