"""What training minimises."""

from collections.abc import Callable

import tensorflow as tf


def projected_cross_entropy(
    outputs: tf.Tensor, *, matrix: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Cross-entropy of a large vocabulary, the projection to it included.

    With logits = outputs @ matrix^T + bias, the target gives each class
    smoothing / classes, and the label 1 - smoothing on top.

    The logits are by far the largest tensor of a translator. Derived
    automatically, the gradient would pass over them again and again; written
    out, all that is needed of them is their softmax, and what belongs to the
    labels or to all classes alike is taken care of in the small tensors.

    Args:
        outputs: float (examples, size), in the dtype to multiply in.
        matrix: float32 (classes, size). Only the products see it rounded.
        bias: float32 (classes,).
        labels: int32 (examples,).
        smoothing: at least 0, below 1. Probability spread evenly over all classes.

    Returns:
        float32 (examples,), in nats; softmax and sums are float32.

    Reference:
        Szegedy et al. (2016), section 7, for the smoothing. arXiv:1512.00567
    """
    classes, dtype = matrix.shape[0], outputs.dtype
    truth = 1.0 - smoothing

    @tf.custom_gradient
    def loss(
        outputs: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
        factor = tf.cast(matrix, dtype)
        logits = tf.matmul(outputs, factor, transpose_b=True)
        logits = tf.cast(tf.nn.bias_add(logits, tf.cast(bias, dtype)), tf.float32)
        probabilities = tf.nn.softmax(logits)
        # The largest probability, unlike the others, never underflows.
        normalizer = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(probabilities, axis=-1))
        rows = tf.cast(outputs, tf.float32)
        label_vectors, mean_vector = tf.gather(matrix, labels), tf.reduce_mean(matrix, axis=0)
        label_logits = tf.reduce_sum(rows * label_vectors, axis=-1) + tf.gather(bias, labels)
        mean_logits = tf.linalg.matvec(rows, mean_vector) + tf.reduce_mean(bias)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            weights, weighted = upstream[:, tf.newaxis], rows * upstream[:, tf.newaxis]
            shares = tf.cast(probabilities, dtype)
            d_outputs = tf.cast(tf.matmul(shares, factor), tf.float32)
            d_outputs = weights * (d_outputs - truth * label_vectors - smoothing * mean_vector)
            d_matrix = tf.cast(tf.matmul(shares, tf.cast(weighted, dtype), transpose_a=True), tf.float32)
            d_matrix -= smoothing / classes * tf.reduce_sum(weighted, axis=0)
            d_matrix = tf.tensor_scatter_nd_sub(d_matrix, labels[:, tf.newaxis], truth * weighted)
            d_bias = tf.linalg.matvec(probabilities, upstream, transpose_a=True)
            d_bias -= smoothing / classes * tf.reduce_sum(upstream)
            d_bias = tf.tensor_scatter_nd_sub(d_bias, labels[:, tf.newaxis], truth * upstream)
            return tf.cast(d_outputs, dtype), d_matrix, d_bias

        return normalizer - truth * label_logits - smoothing * mean_logits, gradient

    return loss(outputs, matrix, bias)
