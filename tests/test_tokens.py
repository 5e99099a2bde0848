"""Tokens as vectors: rows of a table, some of them read as unknown."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.tokens import TokenEmbedding

TOKENS = tf.constant([[4, 2, 4], [3, 0, 0]])
DROPPED = {"tokens": TOKENS, "unknown": tf.constant([[True, False, False], [False, False, False]])}


def built(**options: object) -> TokenEmbedding:
    return TokenEmbedding(vocabulary_size=5, embedding_size=3, **options)


def test_a_token_s_vector_is_its_row_of_the_table() -> None:
    layer = built()
    (table,) = layer.get_weights()
    assert table.shape == (5, layer.width) == (5, 3)
    np.testing.assert_array_equal(layer({"tokens": TOKENS}), table[[[4, 2, 4], [3, 0, 0]]])


def test_unknown_tokens_are_read_as_number_1() -> None:
    layer = built()
    np.testing.assert_array_equal(layer.numbers({"tokens": TOKENS}), TOKENS)
    np.testing.assert_array_equal(layer.numbers(DROPPED), [[1, 2, 4], [3, 0, 0]])
    np.testing.assert_array_equal(layer(DROPPED, training=True), layer({"tokens": layer.numbers(DROPPED)}))


def test_padding_and_other_rows_change_nothing() -> None:
    layer = built()
    together = layer({"tokens": TOKENS})
    longer = layer({"tokens": tf.pad(TOKENS, [[0, 0], [0, 2]], constant_values=2)})
    np.testing.assert_array_equal(longer[:, :3], together)
    np.testing.assert_array_equal(layer({"tokens": TOKENS[1:, :1]})[0], together[1, :1])
    assert layer({"tokens": tf.zeros([2, 0], tf.int32)}).shape == (2, 0, 3)


def test_gradients_reach_the_rows_that_are_read() -> None:
    layer, weights = built(), np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(DROPPED) * weights)
    (gradient,) = map(tf.convert_to_tensor, tape.gradient(total, layer.trainable_variables))
    expected = [weights[1, 1] + weights[1, 2], weights[0, 0], weights[0, 1], weights[1, 0], weights[0, 2]]
    np.testing.assert_allclose(gradient, expected)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_near_float32(precision: str) -> None:
    layer, half = built(), built(dtype=keras.DTypePolicy(precision))
    half.set_weights(layer.get_weights())
    found = half({"tokens": TOKENS})
    assert (found.dtype, half.weights[0].dtype) == (half.compute_dtype, "float32")
    np.testing.assert_allclose(tf.cast(found, tf.float32), layer({"tokens": TOKENS}), atol=1e-3)


def test_its_config_rebuilds_it() -> None:
    layer = built()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(DROPPED), layer(DROPPED))
