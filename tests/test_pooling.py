"""A sequence as one vector: against NumPy, and whatever the padding holds."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.pooling import POOLS, AttentionPooling, Pooling, masked_max, masked_mean

TIME, WIDTH = 5, 4
LENGTHS = [5, 2, 0, 1]
INPUTS = np.random.default_rng(1).normal(size=(4, TIME, WIDTH)).astype(np.float32) - 1
SUMMARY = np.random.default_rng(2).normal(size=(4, WIDTH)).astype(np.float32)
MASK = tf.sequence_mask(LENGTHS, TIME)
HALVES = ["mixed_bfloat16", "mixed_float16"]


def attention(**options: object) -> AttentionPooling:
    layer = AttentionPooling(units=3, **options)
    layer.build((None, None, WIDTH))
    generator = np.random.default_rng(3)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


def pooling(*pools: str, **options: object) -> Pooling:
    layer = Pooling(pools=pools or POOLS, attention_size=3, **options)
    layer.build((None, None, WIDTH))
    if layer.attention is not None:
        layer.attention.set_weights(attention().get_weights())
    return layer


def attended(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What attention makes of a row's real tokens, and how it weighs them, in float64."""
    kernel, bias, score = (weight.astype(np.float64) for weight in attention().get_weights())
    powers = np.exp(np.tanh(row.astype(np.float64) @ kernel + bias) @ score)[:, 0]
    return powers / powers.sum() @ row, powers / powers.sum()


def test_maximum_and_mean_by_hand() -> None:
    sequence = tf.constant([[[-3.0, 1.0], [-1.0, 3.0], [9.0, 9.0]], [[-5.0, 2.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = tf.sequence_mask([2, 1], 3)
    np.testing.assert_array_equal(masked_max(sequence, mask=mask), [[-1.0, 3.0], [-5.0, 2.0]])
    np.testing.assert_array_equal(masked_mean(sequence, mask=mask), [[-2.0, 2.0], [-5.0, 2.0]])


def test_attention_is_that_of_the_paper() -> None:
    pooled, weights = attention()(INPUTS, mask=MASK)
    for row, length in enumerate(LENGTHS):
        if length:
            expected, shares = attended(INPUTS[row, :length])
            np.testing.assert_allclose(pooled[row], expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(weights[row, :length], shares, rtol=1e-5)
        np.testing.assert_array_equal(weights[row, length:], np.zeros(TIME - length))
    np.testing.assert_array_equal(pooled[2], np.zeros(WIDTH))


def test_pools_stand_side_by_side_in_the_order_asked_for() -> None:
    pooled, weights = pooling("attention", "last", "mean", "max")(INPUTS, SUMMARY, mask=MASK)
    assert weights is not None
    expected = np.concatenate([attended(INPUTS[1, :2])[0], SUMMARY[1], INPUTS[1, :2].mean(0), INPUTS[1, :2].max(0)])
    np.testing.assert_allclose(pooled[1], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights[1, :2], attended(INPUTS[1, :2])[1], rtol=1e-5)


def test_without_attention_there_are_no_weights() -> None:
    pooled, weights = pooling("last")(INPUTS, SUMMARY, mask=MASK)
    assert weights is None
    np.testing.assert_array_equal(pooled, SUMMARY)
    assert pooling("max", "mean").weights == []


def test_padding_changes_nothing() -> None:
    layer = pooling()
    pooled, weights = layer(INPUTS, SUMMARY, mask=MASK)
    garbage = np.where(MASK[..., None], INPUTS, 1e3).astype(np.float32)
    longer = np.pad(garbage, [[0, 0], [0, 3], [0, 0]], constant_values=-7)
    again, shares = layer(longer, SUMMARY, mask=tf.sequence_mask(LENGTHS, TIME + 3))
    np.testing.assert_allclose(again, pooled, atol=1e-6)
    np.testing.assert_allclose(shares[:, :TIME], weights, atol=1e-6)
    assert not shares[:, TIME:].numpy().any()


def test_a_row_is_pooled_alike_alone_and_beside_others() -> None:
    layer = pooling()
    together, _ = layer(INPUTS, SUMMARY, mask=MASK)
    for row, length in enumerate(LENGTHS):
        alone, _ = layer(
            INPUTS[row : row + 1, :length], SUMMARY[row : row + 1], mask=tf.ones([1, length], tf.bool)
        )  # fmt: skip
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (2, 0), (0, 3)])
@pytest.mark.parametrize("precision", ["float32", *HALVES])
def test_rows_without_tokens_give_zeros(shape: tuple[int, int], precision: str) -> None:
    pooled, weights = pooling("max", "mean", "attention", dtype=keras.DTypePolicy(precision))(
        tf.fill([*shape, WIDTH], 5.0), tf.zeros([shape[0], WIDTH]), mask=tf.zeros(shape, tf.bool)
    )
    np.testing.assert_array_equal(tf.cast(pooled, tf.float32), np.zeros((shape[0], 3 * WIDTH)))
    np.testing.assert_array_equal(weights, np.zeros(shape))


def test_gradients_are_those_of_finite_differences_and_0_at_padding() -> None:
    layer, inputs, summary = pooling(), tf.Variable(INPUTS), tf.Variable(SUMMARY)
    weights = np.random.default_rng(4).normal(size=(4, 4 * WIDTH)).astype(np.float32)

    def total() -> tf.Tensor:
        return tf.reduce_sum(layer(inputs, summary, mask=MASK)[0] * weights)

    with tf.GradientTape() as tape:
        value = total()
    gradient, of_summary, *of_weights = tape.gradient(value, [inputs, summary, *layer.trainable_variables])
    np.testing.assert_allclose(of_summary, weights[:, :WIDTH])
    assert len(of_weights) == 3
    for found in of_weights:
        assert np.isfinite(found).all() and found.numpy().any()
    assert not gradient.numpy()[~MASK.numpy()].any()
    for place in [(0, 0, 0), (0, 4, 3), (1, 1, 2), (3, 0, 1)]:
        sides = []
        for step in (1e-3, -1e-3):
            changed = INPUTS.copy()
            changed[place] += step
            inputs.assign(changed)
            sides.append(float(total()))
        assert gradient.numpy()[place] == pytest.approx((sides[0] - sides[1]) / 2e-3, abs=5e-3)


def test_gradients_of_a_batch_without_tokens_are_0_not_nan() -> None:
    layer, inputs = pooling("max", "mean", "attention"), tf.Variable(INPUTS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs, SUMMARY, mask=tf.zeros_like(MASK))[0])
    for gradient in tape.gradient(total, [inputs, *layer.trainable_variables]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("given", ["float32", "half"])
def test_half_precision_is_near_float32(precision: str, given: str) -> None:
    """An encoder's outputs come in half precision, its final states in float32; others may come otherwise."""
    half = pooling(dtype=keras.DTypePolicy(precision))
    inputs = tf.constant(INPUTS) if given == "float32" else tf.cast(INPUTS, half.compute_dtype)
    pooled, weights = half(inputs, SUMMARY, mask=MASK)
    expected, shares = pooling()(INPUTS, SUMMARY, mask=MASK)
    assert (pooled.dtype, weights.dtype) == (half.compute_dtype, tf.float32)
    assert {weight.dtype for weight in half.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(pooled, tf.float32), expected, atol=4e-2)
    np.testing.assert_allclose(weights, shares, atol=1e-2)
    np.testing.assert_allclose(tf.reduce_sum(weights, axis=1), [1, 1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_long_mean_is_exact_in_half_precision(dtype: str) -> None:
    """A sum in bfloat16 stops growing at 256 ones, one in float16 overflows at 65504."""
    sequence = tf.cast(tf.fill([1, 1000, 1], 100.0), dtype)
    np.testing.assert_array_equal(tf.cast(masked_mean(sequence, mask=tf.ones([1, 1000], tf.bool)), tf.float32), [[100]])


def test_a_graph_knows_the_width_of_any_batch() -> None:
    layer = pooling()
    specs = [
        tf.TensorSpec([None, None, WIDTH], tf.float32), tf.TensorSpec([None, WIDTH], tf.float32),
        tf.TensorSpec([None, None], tf.bool),
    ]  # fmt: skip
    graph = tf.function(lambda outputs, summary, mask: layer(outputs, summary, mask=mask), input_signature=specs)
    pooled, weights = graph(INPUTS, SUMMARY, MASK)
    expected, shares = layer(INPUTS, SUMMARY, mask=MASK)
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    np.testing.assert_allclose(weights, shares, atol=1e-6)
    assert graph.get_concrete_function().structured_outputs[0].shape.as_list() == [None, 4 * WIDTH]


@pytest.mark.parametrize("layer", [attention(), pooling(), pooling("last", "mean")], ids=["attention", "all", "two"])
def test_its_config_rebuilds_it(layer: keras.layers.Layer) -> None:
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    copy.set_weights(layer.get_weights())
    arguments = (INPUTS,) if isinstance(layer, AttentionPooling) else (INPUTS, SUMMARY)
    np.testing.assert_array_equal(copy(*arguments, mask=MASK)[0], layer(*arguments, mask=MASK)[0])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="units must be at least 1, not 0"):
        AttentionPooling(units=0)
    for pools in ([], ["max", "max"], ["max", "median"]):
        with pytest.raises(
            ValueError, match="pools must be some of last, max, mean, attention, none of them twice, no"
        ):
            Pooling(pools=pools)
    with pytest.raises(ValueError, match="mask must be bool"):
        attention()(INPUTS, mask=tf.ones([4, 3], tf.bool))
