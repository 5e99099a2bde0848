"""A sequence as one vector."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from nlp_rnn.layers.attention import masked_softmax
from nlp_rnn.layers.masked import MaskedLayer, check_mask
from nlp_rnn.layers.scan import product

Pool = Literal["last", "max", "mean", "attention"]
POOLS = ("last", "max", "mean", "attention")


def masked_max(sequence: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
    """Returns the highest value of each feature, (batch, features); 0 for a row without real tokens.

    Args:
        sequence: float (batch, time, features).
        mask: bool (batch, time). True = real token.
    """
    lowest = tf.constant(sequence.dtype.min, sequence.dtype)
    highest = tf.reduce_max(tf.where(mask[:, :, tf.newaxis], sequence, lowest), axis=1)
    return tf.where(tf.reduce_any(mask, axis=1)[:, tf.newaxis], highest, tf.zeros([], sequence.dtype))


def masked_mean(sequence: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of each feature, summed in float32; arguments and empty rows as of `masked_max`."""
    real = tf.cast(mask, tf.float32)[:, :, tf.newaxis]
    total = tf.reduce_sum(tf.cast(sequence, tf.float32) * real, axis=1)
    return tf.cast(tf.math.divide_no_nan(total, tf.reduce_sum(real, axis=1)), sequence.dtype)


@keras.saving.register_keras_serializable(package="nlp_rnn")
class AttentionPooling(MaskedLayer):
    """The mean of a sequence, weighted by softmax(v . tanh(W token + b)).

    Args:
        units: int >= 1. Width of the score space.

    Call arguments:
        inputs: float (batch, time, features).
        mask: bool (batch, time). True = real token.

    Returns:
        pooled (batch, features) in the compute dtype, and weights float32
        (batch, time); the softmax runs in float32.

    Masking:
        Padding weighs exactly 0. A row without real tokens gives zeros,
        never NaN.

    Raises:
        ValueError: `units` < 1.

    Reference:
        Yang et al. (2016), "Hierarchical Attention Networks for Document
        Classification", section 2.2.
    """

    def __init__(self, *, units: int, **options: Any):
        super().__init__(**options)
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units}.")
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates W, b and v."""
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform", autocast=False)
        exact = {"dtype": "float32", "autocast": False}
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros", **exact)
        self.score = self.add_weight(name="score", shape=(self.units, 1), initializer="glorot_uniform", **exact)

    def call(self, inputs: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Pools sequences; see the class."""
        check_mask(inputs, mask)
        hidden = tf.tanh(product(inputs, tf.cast(self.kernel, self.compute_dtype)) + self.bias)
        energies = tf.matmul(hidden, tf.convert_to_tensor(self.score))[:, :, 0]
        weights = masked_softmax(energies, tf.cast(mask, tf.float32))
        values = tf.cast(inputs, tf.float32)
        pooled = tf.matmul(weights[:, tf.newaxis], values)[:, 0]
        return tf.cast(pooled, self.compute_dtype), weights

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class Pooling(MaskedLayer):
    """One or several ways to pool an encoder's outputs, side by side.

    Args:
        pools: Of `"last"`, the encoder's final states; `"max"`, `"mean"` and
            `"attention"` of its outputs; at least one, none twice.
        attention_size: int >= 1. Width of the attention's score space.

    Call arguments:
        outputs: float (batch, time, features). The encoder's outputs.
        summary: float (batch, features). The encoder's final states.
        mask: bool (batch, time). True = real token.

    Returns:
        pooled (batch, len(pools) * features) in the compute dtype, and the
        attention's weights float32 (batch, time), or None without one.

    Masking:
        A row without real tokens gives zeros, but for its final states.

    Raises:
        ValueError: no pools, an unknown one, or one twice.
    """

    def __init__(self, *, pools: Sequence[Pool], attention_size: int = 128, **options: Any):
        super().__init__(**options)
        if not pools or len(set(pools)) < len(pools) or not set(pools) <= set(POOLS):
            raise ValueError(f"pools must be some of {', '.join(POOLS)}, none of them twice, not {list(pools)}.")
        self.pools = tuple(pools)
        self.attention_size = attention_size
        self.attention: AttentionPooling | None = None
        if "attention" in self.pools:
            self.attention = AttentionPooling(units=attention_size, dtype=self.dtype_policy)

    def build(self, outputs_shape: tuple[int | None, ...], summary_shape: Any = None) -> None:
        """Builds the attention."""
        del summary_shape
        if self.attention is not None:
            self.attention.build(outputs_shape)

    def call(self, outputs: tf.Tensor, summary: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Pools a batch; see the class."""
        pooled, weights = [], None
        for pool in self.pools:
            if pool == "last":
                pooled.append(summary)
            elif pool == "max":
                pooled.append(masked_max(outputs, mask=mask))
            elif pool == "mean":
                pooled.append(masked_mean(outputs, mask=mask))
            elif self.attention is not None:
                attended, weights = self.attention(outputs, mask=mask)
                pooled.append(attended)
        return tf.concat([tf.cast(part, self.compute_dtype) for part in pooled], axis=-1), weights

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "pools": list(self.pools), "attention_size": self.attention_size}
