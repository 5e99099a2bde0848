"""A softmax for each token: what a conditional random field is without transitions."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer


class Independent(NamedTuple):
    """What is known of a batch's tags.

    Attributes:
        marginals: float32 (batch, time, tags). Probabilities; 0 at padding.
        log_probabilities: float32 (batch, time, tags). Their logarithms, anything at padding.
    """

    marginals: tf.Tensor
    log_probabilities: tf.Tensor


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

    def decode_and_infer(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, Independent]:
        """Returns the tags that `decode` finds, and what `infer` returns."""
        return self.decode(emissions, mask=mask)[0], self.infer(emissions, mask=mask)

    def infer(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> Independent:
        """Returns what marginals and spans need; arguments as `decode`."""
        logits = tf.cast(emissions, tf.float32)
        return Independent(tf.where(mask[:, :, tf.newaxis], tf.nn.softmax(logits), 0.0), tf.nn.log_softmax(logits))

    def marginals(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
        """Returns each tag's probability, float32 (batch, time, tags), 0 at padding."""
        return self.infer(emissions, mask=mask).marginals

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
        return self.lattice_span_probabilities(self.infer(emissions, mask=mask), tags, starts=starts, ends=ends)

    def lattice_span_probabilities(
        self, lattice: Independent, tags: tf.Tensor, *, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns what `span_probabilities` does, from what `infer` returned."""
        chosen = tf.gather(lattice.log_probabilities, tags, batch_dims=2)
        sums = tf.pad(tf.cumsum(chosen, axis=1), [[0, 0], [1, 0]])
        totals = tf.gather(sums, ends, batch_dims=1) - tf.gather(sums, starts, batch_dims=1)
        return tf.where(ends > starts, tf.exp(totals), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the base's arguments: there are no others."""
        return super().get_config()
