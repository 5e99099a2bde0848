"""The encoder, against Keras's layers run over each sentence alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.encoder import RecurrentEncoder

BATCH, TIME, UNITS = 4, 5, 3
FEATURES = 2 * UNITS  # so that the first layer has a residual connection too
LENGTHS = [5, 2, 1, 0]
MASK = tf.sequence_mask(LENGTHS, TIME)
INPUTS = tf.random.stateless_normal([BATCH, TIME, FEATURES], [0, 1])
KERAS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def encoder_of(dtype: str = "float32", **arguments: object) -> RecurrentEncoder:
    encoder = RecurrentEncoder(units=UNITS, dtype=keras.DTypePolicy(dtype), **arguments)
    encoder.build((None, None, FEATURES))
    generator = np.random.default_rng(2)
    for weight in encoder.trainable_variables:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    return encoder


def by_keras(encoder: RecurrentEncoder, sentence: tf.Tensor, *, cell: str, residual: bool) -> tuple:
    """Outputs and summary of one sentence, (time, features), without padding."""
    outputs, summary = sentence[tf.newaxis], None
    for layer in encoder.stack.layers:
        both, finals = [], []
        for ours, backwards in ((layer.forward_layer, False), (layer.backward_layer, True)):
            theirs = KERAS[cell](UNITS, return_sequences=True, return_state=True, go_backwards=backwards)
            theirs.build((1, None, outputs.shape[-1]))
            theirs.set_weights([ours.kernel, ours.recurrent_kernel, ours.bias])
            result, hidden, *_ = theirs(outputs)
            both.append(result[:, ::-1] if backwards else result)
            finals.append(hidden)
        result = tf.concat(both, axis=-1)
        outputs = outputs + result if residual else result
        summary = tf.concat(finals, axis=-1)
    return outputs[0], summary[0]


@pytest.mark.parametrize(
    ("cell", "layers", "residual"), [("lstm", 1, False), ("lstm", 2, True), ("gru", 2, False), ("gru", 1, True)]
)
@pytest.mark.parametrize("training", [False, True])
def test_each_sentence_is_read_as_keras_reads_it_alone(cell: str, layers: int, residual: bool, training: bool) -> None:
    encoder = encoder_of(cell=cell, layers=layers, residual=residual)
    outputs, summary = encoder(INPUTS, mask=MASK, training=training)
    assert outputs.shape == (BATCH, TIME, 2 * UNITS)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(outputs[row, length:], np.zeros([TIME - length, 2 * UNITS]))
        if length:
            expected, final = by_keras(encoder, INPUTS[row, :length], cell=cell, residual=residual)
            np.testing.assert_allclose(outputs[row, :length], expected, atol=1e-5)
            np.testing.assert_allclose(summary[row], final, atol=1e-5)
    np.testing.assert_array_equal(summary[3], np.zeros(2 * UNITS))  # no real token


def test_summary_is_each_direction_at_its_last_token() -> None:
    outputs, summary = encoder_of()(INPUTS, mask=MASK)
    for row, length in enumerate(LENGTHS[:3]):
        np.testing.assert_array_equal(summary[row, :UNITS], outputs[row, length - 1, :UNITS])
        np.testing.assert_array_equal(summary[row, UNITS:], outputs[row, 0, UNITS:])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_changes_nothing(cell: str) -> None:
    encoder = encoder_of(cell=cell, layers=2, residual=True)
    outputs, summary = encoder(INPUTS, mask=MASK)
    other = tf.where(MASK[:, :, tf.newaxis], INPUTS, 99.0)
    longer = tf.pad(other, [[0, 0], [0, 2], [0, 0]], constant_values=-99.0)
    again, summary_again = encoder(longer, mask=tf.pad(MASK, [[0, 0], [0, 2]]))
    np.testing.assert_allclose(again[:, :TIME], outputs, atol=1e-6)
    np.testing.assert_array_equal(again[:, TIME:], np.zeros([BATCH, 2, 2 * UNITS]))
    np.testing.assert_allclose(summary_again, summary, atol=1e-6)


def test_gradients_of_training_are_those_of_plain_autodiff() -> None:
    encoder = encoder_of(layers=2, residual=True)
    found = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(INPUTS)
            outputs, summary = encoder(INPUTS, mask=MASK, training=training)
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(tf.sin(summary))
        found.append(tape.gradient(loss, [INPUTS, *(weight.value for weight in encoder.trainable_variables)]))
    assert len(found[0]) == 1 + 2 * 2 * 3
    for ours, plain in zip(*found, strict=True):
        assert np.abs(plain).max() > 1e-3
        np.testing.assert_allclose(ours, plain, atol=1e-4, rtol=1e-4)


def test_dropout_holds_for_a_whole_sentence_and_only_in_training() -> None:
    encoder, without = encoder_of(dropout=0.5), encoder_of()
    mask = tf.ones_like(MASK)
    expected, expected_summary = without(INPUTS, mask=mask)
    outputs, summary = encoder(INPUTS, mask=mask)
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(summary, expected_summary)
    outputs, summary = encoder(INPUTS, mask=mask, training=True)
    dropped = outputs.numpy() == 0
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1], dropped.shape))
    assert 0 < dropped.mean() < 1
    # The summary is taken before the last dropout: it differs only through the inputs'.
    assert np.abs(summary - expected_summary).max(axis=1).min() > 1e-3


def test_half_precision_is_close_and_the_summary_float32() -> None:
    expected, expected_summary = encoder_of(layers=2)(INPUTS, mask=MASK)
    outputs, summary = encoder_of("mixed_bfloat16", layers=2)(INPUTS, mask=MASK, training=True)
    assert (outputs.dtype, summary.dtype) == (tf.bfloat16, tf.float32)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)
    np.testing.assert_allclose(summary, expected_summary, atol=0.05)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cell must be one of \['gru', 'lstm'\], not 'elman'"):
        RecurrentEncoder(units=1, cell="elman")


def test_comes_back_from_its_config() -> None:
    encoder = encoder_of(cell="gru", layers=2, residual=True, dropout=0.25, training_path="cudnn")
    config = encoder.get_config()
    assert "training_path" not in config  # a model trained on a GPU is loaded without one
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    assert again.arguments == {"units": UNITS, "layers": 2, "cell": "gru", "residual": True, "dropout": 0.25}
    again.set_weights(encoder.get_weights())
    np.testing.assert_array_equal(again(INPUTS, mask=MASK)[0], encoder(INPUTS, mask=MASK)[0])
