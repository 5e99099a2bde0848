"""Embeddings that are read larger than they are stored."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="nlp_rnn")
class ScaledEmbedding(keras.layers.Embedding):
    """An embedding whose vectors are multiplied by the square root of their width as they are read.

    One table can so hold numbers of the order of 1 for who reads it, and
    vectors of norm 1 for an output projection tied to it. Read at norm 1,
    tokens leave the first outputs of an encoder so small and alike that
    attention has nothing to choose between, and is found hundreds of steps
    later.

    Args and call arguments are those of `keras.layers.Embedding`.

    Returns:
        float (..., output_dim) in the compute dtype.

    Reference:
        Vaswani et al. (2017), section 3.4, arXiv:1706.03762.
    """

    @property
    def scale(self) -> float:
        """What vectors are multiplied by."""
        return float(self.output_dim**0.5)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the scaled vectors of tokens, int (...)."""
        return super().call(inputs) * self.scale
