"""A softmax for each token: what a conditional random field is without transitions."""

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer


@keras.saving.register_keras_serializable(package="nlp_rnn")
class TokenSoftmax(MaskedLayer):
    """Chooses each token's tag by itself; used like `ConditionalRandomField`.

    All is computed in float32, whatever the precision of the emissions.

    Call arguments, of every method:
        emissions: float (batch, time, tags). Unnormalised log-probabilities.
        mask: bool (batch, time). True = real token; padding on the right.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Has no weights."""

    def call(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `decode`."""
        return self.decode(emissions, mask=mask)

    def log_likelihood(
        self, emissions: tf.Tensor, tags: tf.Tensor, *, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns the log-probability of tags int32 (batch, time), float32 (batch,); 0 for a row without tokens."""
        del training
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, tf.cast(emissions, tf.float32))
        return -tf.reduce_sum(tf.where(mask, losses, 0.0), axis=1)

    def decode(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the most probable tags, int32 (batch, time), 0 at padding, and their summed emissions (batch,)."""
        emissions = tf.cast(emissions, tf.float32)
        tags = tf.where(mask, tf.argmax(emissions, axis=-1, output_type=tf.int32), 0)
        return tags, tf.reduce_sum(tf.where(mask, tf.reduce_max(emissions, axis=-1), 0.0), axis=1)

    def marginals(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
        """Returns each tag's probability, float32 (batch, time, tags), 0 at padding."""
        return tf.where(mask[:, :, tf.newaxis], tf.nn.softmax(tf.cast(emissions, tf.float32)), 0.0)

    def span_probabilities(
        self, emissions: tf.Tensor, tags: tf.Tensor, *, mask: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns the probability of all tags in [start, end), float32 (batch, spans); 0 for an empty span.

        Args:
            emissions: see the class.
            tags: int32 (batch, time).
            mask: see the class.
            starts: int32 (batch, spans).
            ends: int32 (batch, spans), exclusive.
        """
        chosen = tf.gather(tf.nn.log_softmax(tf.cast(emissions, tf.float32)), tags, batch_dims=2)
        sums = tf.pad(tf.cumsum(tf.where(mask, chosen, 0.0), axis=1), [[0, 0], [1, 0]])
        totals = tf.gather(sums, ends, batch_dims=1) - tf.gather(sums, starts, batch_dims=1)
        return tf.where(ends > starts, tf.exp(totals), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the base's arguments: there are no others."""
        return super().get_config()
