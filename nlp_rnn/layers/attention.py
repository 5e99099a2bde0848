"""Additive attention."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer, check_mask
from nlp_rnn.layers.scan import product


class Memory(NamedTuple):
    """What a decoder attends to, prepared once a batch.

    Attributes:
        keys: float32 (batch, source, units). U value.
        values: float32 (batch, source, value_size). The encoder's outputs.
        mask: float32 (batch, source). 1 = real token, 0 = padding.
    """

    keys: tf.Tensor
    values: tf.Tensor
    mask: tf.Tensor


@keras.saving.register_keras_serializable(package="nlp_rnn")
class BahdanauAttention(MaskedLayer):
    """Additive attention: score = v . tanh(W query + U value).

    Its methods are called before the layer itself, so `build` it first.

    Args:
        units: int >= 1. Width of the score space.

    Call arguments:
        query: float (batch, queries, query_size). Decoder states: one in
            training, one a hypothesis in beam search. All attend to the same
            memory, which is thus never repeated.
        memory: what `prepare` returns for the encoder's outputs.

    Returns:
        context (batch, queries, value_size) and weights (batch, queries,
        source), float32.

    Masking:
        Padding weighs exactly 0. A row without real tokens gives zeros,
        never NaN.

    Raises:
        ValueError: `units` < 1.

    Reference:
        Bahdanau et al. (2015), appendix A.1.2. arXiv:1409.0473
    """

    def __init__(self, *, units: int, **options: Any):
        super().__init__(**options)
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units}.")
        self.units = units

    def build(self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...]) -> None:
        """Creates W, U and v."""
        for name, size in (("query_kernel", query_shape[-1]), ("key_kernel", value_shape[-1])):
            weight = self.add_weight(name=name, shape=(size, self.units), initializer="glorot_uniform", autocast=False)
            setattr(self, name, weight)
        self.score = self.add_weight(
            name="score", shape=(self.units,), initializer=self._uniform, dtype="float32", autocast=False
        )

    def _uniform(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """Glorot's range for a matrix of one column."""
        return keras.initializers.GlorotUniform()((shape[0], 1), dtype)[:, 0]

    def prepare(self, values: tf.Tensor, *, mask: tf.Tensor) -> Memory:
        """Projects the keys, once for all queries.

        Args:
            values: float (batch, source, value_size). The encoder's outputs.
            mask: bool (batch, source). True = real token.
        """
        check_mask(values, mask)
        keys = product(values, tf.cast(self.key_kernel, self.compute_dtype))
        return Memory(keys, tf.cast(values, tf.float32), tf.cast(mask, tf.float32))

    def call(self, query: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends to the memory; see the class."""
        projected = product(query, tf.cast(self.query_kernel, self.compute_dtype))
        return attend(projected, memory, tf.convert_to_tensor(self.score))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "units": self.units}


def attend(query: tf.Tensor, memory: Memory, score: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Attends with queries that are projected already, all in float32.

    Args:
        query: float32 (batch, queries, units). W query.
        memory: keys, values and mask.
        score: float32 (units,). The vector v.

    Returns:
        context (batch, queries, value_size) and weights (batch, queries, source).
    """
    hidden = tf.tanh(memory.keys[:, tf.newaxis] + query[:, :, tf.newaxis])  # (batch, queries, source, units)
    energies = tf.einsum("bqsu,u->bqs", hidden, score)
    weights = masked_softmax(energies, memory.mask[:, tf.newaxis])
    return tf.matmul(weights, memory.values), weights


def masked_softmax(energies: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the softmax over the last axis among the real positions, 0 elsewhere.

    Args:
        energies: float32 (..., positions).
        mask: float32, broadcastable to energies. 1 = real, 0 = padding.
    """
    masked = tf.where(mask > 0, energies, energies.dtype.min)
    # The maximum cancels in the quotient; left out of the gradient, it costs none.
    peak = tf.stop_gradient(tf.reduce_max(masked, axis=-1, keepdims=True))
    powers = tf.exp(masked - peak) * mask
    return tf.math.divide_no_nan(powers, tf.reduce_sum(powers, axis=-1, keepdims=True))
