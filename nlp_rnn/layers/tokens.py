"""Tokens as vectors."""

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer
from nlp_rnn.layers.precision import of_tables

_UNKNOWN = 1


@keras.saving.register_keras_serializable(package="nlp_rnn")
class TokenEmbedding(MaskedLayer):
    """An embedding of numbered tokens: subwords, characters, or words that have no other features.

    Args:
        vocabulary_size: int. Tokens, the special ones included.
        embedding_size: int. Width of the embedding.

    Call arguments:
        inputs: dict of
            `tokens` int32 (batch, time);
            `unknown` bool (batch, time): tokens read as unknown; optional.
        training: bool. Changes nothing.

    Returns:
        (batch, time, embedding_size) in the compute dtype.

    Attributes:
        width: int. The same as `embedding_size`.
    """

    def __init__(self, *, vocabulary_size: int, embedding_size: int, **options: Any):
        super().__init__(**options)
        self.vocabulary_size = vocabulary_size
        self.width = self.embedding_size = embedding_size
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding_size,
            embeddings_initializer=keras.initializers.RandomUniform(-0.1, 0.1),
            dtype=of_tables(self.dtype_policy),
        )
        self.embedding.build((None, None))
        self.built = True

    def call(self, inputs: dict[str, tf.Tensor], *, training: bool = False) -> tf.Tensor:
        """Embeds a batch; see the class."""
        del training
        return tf.cast(self.embedding(self.numbers(inputs)), self.compute_dtype)

    def numbers(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the tokens as they are read, int32 (batch, time)."""
        if "unknown" in inputs:
            return tf.where(inputs["unknown"], _UNKNOWN, inputs["tokens"])
        return inputs["tokens"]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {
            **super().get_config(), "vocabulary_size": self.vocabulary_size, "embedding_size": self.embedding_size,
        }  # fmt: skip
