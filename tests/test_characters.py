"""Words read by their characters: against Keras's layers and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.characters import ConvolutionalCharacterEncoder, RecurrentCharacterEncoder

WORDS, LENGTH, WIDTH = 4, 6, 5
LENGTHS = [6, 3, 0, 1]
INPUTS = np.random.default_rng(1).normal(size=(WORDS, LENGTH, WIDTH)).astype(np.float32)
MASK = tf.sequence_mask(LENGTHS, LENGTH)
ENCODERS = [RecurrentCharacterEncoder, ConvolutionalCharacterEncoder]


def built(kind: type, units: int = 8, **options: object) -> keras.layers.Layer:
    keras.utils.set_random_seed(4)
    layer = kind(units=units, **options)
    layer.build((None, None, WIDTH))
    return layer


def test_the_recurrent_one_is_both_last_states_of_keras_lstm() -> None:
    layer = built(RecurrentCharacterEncoder)
    reference = keras.layers.Bidirectional(keras.layers.LSTM(4))
    reference.build((None, None, WIDTH))
    reference.set_weights(layer.get_weights())
    found = layer(INPUTS, mask=MASK)
    for word, length in enumerate(LENGTHS):
        if length:
            expected = reference(INPUTS[word : word + 1, :length])[0]
            np.testing.assert_allclose(found[word], expected, atol=1e-5)
    np.testing.assert_array_equal(found[2], np.zeros(8))


def test_the_convolution_by_hand() -> None:
    """Filters of one character that pass on its only feature: the maximum's tanh is left."""
    layer = ConvolutionalCharacterEncoder(units=1, window=1)
    layer.build((None, None, 1))
    layer.set_weights([np.ones((1, 1, 1)), np.zeros(1)])
    inputs = np.array([[[0.5], [2.0], [9.0]], [[-0.5], [9.0], [9.0]], [[9.0]] * 3], np.float32)
    found = layer(inputs, mask=tf.sequence_mask([2, 1, 0], 3))
    np.testing.assert_allclose(found[:, 0], [np.tanh(2.0), np.tanh(-0.5), 0.0], rtol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_changes_nothing(kind: type) -> None:
    layer = built(kind)
    expected = layer(INPUTS, mask=MASK)
    garbage = np.where(MASK[..., None], INPUTS, 1e3).astype(np.float32)
    longer = np.pad(garbage, [[0, 0], [0, 3], [0, 0]], constant_values=7)
    np.testing.assert_allclose(layer(longer, mask=tf.sequence_mask(LENGTHS, LENGTH + 3)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_are_those_of_finite_differences(kind: type) -> None:
    layer = built(kind, units=4)
    weights = np.random.default_rng(2).normal(size=(WORDS, 4)).astype(np.float32)
    inputs = tf.Variable(INPUTS)

    def total() -> tf.Tensor:
        return tf.reduce_sum(layer(inputs, mask=MASK, training=True) * weights)

    with tf.GradientTape() as tape:
        value = total()
    gradient = tape.gradient(value, inputs).numpy()
    assert not gradient[~MASK.numpy()].any()
    for place in [(0, 0, 0), (0, 5, 4), (1, 2, 1), (3, 0, 3)]:
        changed = INPUTS.copy()
        sides = []
        for step in (1e-2, -1e-2):
            changed[place] = INPUTS[place] + step
            inputs.assign(changed)
            sides.append(float(total()))
        inputs.assign(INPUTS)
        assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-2, abs=2e-3)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_near_float32(kind: type, precision: str) -> None:
    layer, half = built(kind), built(kind, dtype=keras.DTypePolicy(precision))
    half.set_weights(layer.get_weights())
    found = half(tf.cast(INPUTS, half.compute_dtype), mask=MASK)
    assert found.dtype == half.compute_dtype
    np.testing.assert_allclose(tf.cast(found, tf.float32), layer(INPUTS, mask=MASK), atol=3e-2)


@pytest.mark.parametrize("kind", ENCODERS)
def test_its_config_rebuilds_it(kind: type) -> None:
    layer = built(kind)
    copy = kind.from_config(layer.get_config())
    copy.build((None, None, WIDTH))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(INPUTS, mask=MASK), layer(INPUTS, mask=MASK))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="units must be even and at least 2, not 3"):
        RecurrentCharacterEncoder(units=3)
    with pytest.raises(ValueError, match="units and window must be at least 1, not 4 and 0"):
        ConvolutionalCharacterEncoder(units=4, window=0)
