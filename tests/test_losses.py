"""The projected cross-entropy: values in NumPy, gradients from autodiff of the plain formula."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.losses import projected_cross_entropy

EXAMPLES, SIZE, CLASSES = 6, 4, 7
Loss = Callable[..., tf.Tensor]


def draw(examples: int = EXAMPLES, spread: float = 1.0) -> dict[str, tf.Tensor]:
    normal = tf.random.stateless_normal
    return {
        "outputs": spread * normal([examples, SIZE], [0, 1]),
        "matrix": normal([CLASSES, SIZE], [0, 2]),
        "bias": normal([CLASSES], [0, 3]),
    }


def labels_of(examples: int = EXAMPLES) -> tf.Tensor:
    return tf.constant([6, 0, 3, 3, 1, 6][:examples], tf.int32)  # some classes twice, some never


def plain(outputs: tf.Tensor, *, matrix: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    targets = (1 - smoothing) * tf.one_hot(labels, CLASSES) + smoothing / CLASSES
    return -tf.reduce_sum(targets * tf.nn.log_softmax(tf.matmul(outputs, matrix, transpose_b=True) + bias), axis=-1)


def by_hand(given: dict[str, tf.Tensor], labels: tf.Tensor, smoothing: float) -> np.ndarray:
    outputs, matrix, bias = (given[name].numpy().astype(np.float64) for name in ("outputs", "matrix", "bias"))
    logits = outputs @ matrix.T + bias
    peak = logits.max(axis=1, keepdims=True)
    log_probabilities = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    targets = np.full(logits.shape, smoothing / CLASSES)
    targets[np.arange(len(targets)), labels.numpy()] += 1 - smoothing
    return -(targets * log_probabilities).sum(axis=1)


def gradients(loss: Loss, given: dict[str, tf.Tensor], labels: tf.Tensor, smoothing: float) -> dict[str, tf.Tensor]:
    """Gradients of a sum in which every example weighs differently."""
    with tf.GradientTape() as tape:
        tape.watch(given)
        losses = tf.cast(loss(**given, labels=labels, smoothing=smoothing), tf.float32)
        total = tf.reduce_sum(losses * tf.random.stateless_normal(tf.shape(losses), [1, 1]))
    return tape.gradient(total, given)


def test_two_classes_by_hand() -> None:
    # Logits 0 and log 3: probabilities 1/4 and 3/4.
    losses = projected_cross_entropy(
        tf.ones([2, 1]),
        matrix=tf.constant([[0.0], [np.log(3.0)]], tf.float32),
        bias=tf.zeros([2]),
        labels=tf.constant([0, 1]),
        smoothing=0.0,
    )
    np.testing.assert_allclose(losses, np.log([4, 4 / 3]), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_values_and_gradients(smoothing: float) -> None:
    given, labels = draw(), labels_of()
    losses = projected_cross_entropy(**given, labels=labels, smoothing=smoothing)
    np.testing.assert_allclose(losses, by_hand(given, labels, smoothing), atol=1e-5)
    ours = gradients(projected_cross_entropy, given, labels, smoothing)
    expected = gradients(plain, given, labels, smoothing)
    for name in given:
        assert np.abs(expected[name]).max() > 0.1
        np.testing.assert_allclose(ours[name], expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_whose_probability_underflows(smoothing: float) -> None:
    given, labels = draw(spread=500.0), labels_of()
    expected = by_hand(given, labels, smoothing)
    assert expected.max() > 200  # float32 has no number as small as exp(-200)
    losses = projected_cross_entropy(**given, labels=labels, smoothing=smoothing)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-3)
    ours = gradients(projected_cross_entropy, given, labels, smoothing)
    for name, gradient in gradients(plain, given, labels, smoothing).items():
        np.testing.assert_allclose(ours[name], gradient, rtol=1e-5, atol=1e-3, err_msg=name)


def test_no_example_costs_nothing() -> None:
    given, labels = draw(examples=0), labels_of(0)
    assert projected_cross_entropy(**given, labels=labels, smoothing=0.1).shape == (0,)
    for name, gradient in gradients(projected_cross_entropy, given, labels, 0.1).items():
        np.testing.assert_array_equal(gradient, np.zeros(given[name].shape))


def test_bfloat16_products_are_close_and_sums_are_float32() -> None:
    given, labels = draw(), labels_of()
    half = {**given, "outputs": tf.cast(given["outputs"], tf.bfloat16)}
    losses = projected_cross_entropy(**half, labels=labels, smoothing=0.1)
    assert losses.dtype == tf.float32
    np.testing.assert_allclose(losses, by_hand(given, labels, 0.1), atol=0.05)
    ours = gradients(projected_cross_entropy, half, labels, 0.1)
    expected = gradients(plain, given, labels, 0.1)
    assert (ours["outputs"].dtype, ours["matrix"].dtype, ours["bias"].dtype) == (tf.bfloat16, tf.float32, tf.float32)
    for name in given:
        np.testing.assert_allclose(tf.cast(ours[name], tf.float32), expected[name], atol=0.05, err_msg=name)
