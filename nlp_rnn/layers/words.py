"""Words as vectors: what is trained of a word, what is known of it beforehand, and how it is spelt."""

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.layers.characters import ConvolutionalCharacterEncoder, RecurrentCharacterEncoder
from nlp_rnn.layers.masked import MaskedLayer
from nlp_rnn.layers.precision import of_tables
from nlp_rnn.layers.recurrent import Path

CharacterEncoder = Literal["none", "recurrent", "convolution"]

_PAD, _UNKNOWN = 0, 1


class WordEncoder(MaskedLayer):
    """Embeddings, shapes, pre-trained vectors, subwords and characters of words, side by side.

    Words come as the distinct ones of a batch, so that what depends on the
    word alone is computed once for all its occurrences, and as each token's
    place among them.

    Args:
        word_vocabulary_size: int. Words with a trained embedding, the special ones included.
        vector_vocabulary_size: int. Words with a pre-trained vector or an embedding; at least as many.
        vector_size: int. Width of the pre-trained vectors, which are not trained further; 0 if there are none.
        character_vocabulary_size: int.
        shapes: int. Number of word shapes, that of padding included.
        subword_vocabulary_size: int. Pieces whose mean joins a word's features; 0 if none do.
        word_size, shape_size, character_encoder, character_embedding_size, character_size: see
            `nlp_rnn.model_config.TaggerConfig`.
        vectors: the pre-trained vectors of another one, to share.
        training_path: how a recurrent character encoder trains, see `LSTM`.

    Call arguments:
        inputs: dict of
            `words` int32 (words,): ids of distinct words, of 0 .. vector_vocabulary_size - 1;
            `shapes` int32 (words,); only with `shape_size`;
            `characters` int32 (words, characters), padded on the right with 0; only with a character encoder;
            `subwords` int32 (words, pieces), padded on the right with 0; only with subwords;
            `positions` int32 (batch, time): each token's row in the above, any row at padding;
            `unknown` bool (batch, time): tokens whose word is read as unknown; optional.
        training: bool. Whether gradients will be taken.

    Returns:
        (batch, time, width) in the compute dtype; anything at padding.

    Attributes:
        width: int. Size of a word's features.
    """

    def __init__(
        self,
        *,
        word_vocabulary_size: int,
        vector_vocabulary_size: int,
        vector_size: int,
        character_vocabulary_size: int,
        shapes: int,
        subword_vocabulary_size: int,
        word_size: int,
        shape_size: int,
        character_encoder: CharacterEncoder,
        character_embedding_size: int,
        character_size: int,
        vectors: keras.layers.Embedding | None = None,
        training_path: Path = "portable",
        **options: Any,
    ):
        super().__init__(**options)
        policy = self.dtype_policy
        self.word_vocabulary_size = word_vocabulary_size
        self.width = word_size + shape_size + vector_size
        self.word_embedding = _embedding(word_vocabulary_size, word_size, "word_embedding", policy)
        self.shape_embedding = self.vectors = self.subword_embedding = self.character_encoder = None
        if shape_size:
            self.shape_embedding = _embedding(shapes, shape_size, "shape_embedding", policy)
        if vector_size:
            self.vectors = vectors or _embedding(
                vector_vocabulary_size, vector_size, "vectors", policy, trainable=False
            )
        if subword_vocabulary_size:
            self.subword_embedding = _embedding(subword_vocabulary_size, word_size, "subword_embedding", policy)
            self.width += word_size
        if character_encoder != "none":
            self.character_embedding = _embedding(
                character_vocabulary_size, character_embedding_size, "character_embedding", policy
            )
            self.character_encoder = (
                RecurrentCharacterEncoder(units=character_size, training_path=training_path, dtype=policy)
                if character_encoder == "recurrent"
                else ConvolutionalCharacterEncoder(units=character_size, dtype=policy)
            )
            self.character_encoder.build((None, None, character_embedding_size))
            self.width += character_size
        self.built = True

    def call(self, inputs: dict[str, tf.Tensor], *, training: bool = False) -> tf.Tensor:
        """Reads a batch; see the class."""
        features = [self._found(self.word_embedding, self.numbers(inputs))]
        if distinct := self._distinct_features(inputs, training):
            features.append(tf.gather(tf.concat(distinct, axis=-1), inputs["positions"]))
        return tf.concat(features, axis=-1)

    def begin_with(self, vectors: np.ndarray) -> None:
        """Gives the trained embeddings of words their pre-trained vectors to begin with.

        Args:
            vectors: float32 (vector_vocabulary_size, word_size). Words whose
                row is 0 keep what they have.
        """
        (table,) = self.word_embedding.get_weights()
        own = vectors[: self.word_vocabulary_size]
        self.word_embedding.set_weights([np.where(np.any(own, axis=1, keepdims=True), own, table)])

    def numbers(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the words that have a trained embedding by their numbers, int32 (batch, time); others are unknown."""
        words = tf.gather(inputs["words"], inputs["positions"])
        if "unknown" in inputs:
            words = tf.where(inputs["unknown"], _UNKNOWN, words)
        return tf.where(words < self.word_vocabulary_size, words, _UNKNOWN)

    def _distinct_features(self, inputs: dict[str, tf.Tensor], training: bool) -> list[tf.Tensor]:
        """Returns what depends on a word alone: tensors of (words, features)."""
        features = []
        if self.shape_embedding is not None:
            features.append(self._found(self.shape_embedding, inputs["shapes"]))
        if self.vectors is not None:
            features.append(self._found(self.vectors, inputs["words"]))
        if self.subword_embedding is not None:
            real = tf.cast(inputs["subwords"] != _PAD, self.compute_dtype)[:, :, tf.newaxis]
            total = tf.reduce_sum(self._found(self.subword_embedding, inputs["subwords"]) * real, axis=1)
            features.append(tf.math.divide_no_nan(total, tf.reduce_sum(real, axis=1)))
        if self.character_encoder is not None:
            embedded = self._found(self.character_embedding, inputs["characters"])
            features.append(self.character_encoder(embedded, mask=inputs["characters"] != _PAD, training=training))
        return features

    def _found(self, table: keras.layers.Embedding, numbers: tf.Tensor) -> tf.Tensor:
        return tf.cast(table(numbers), self.compute_dtype)


def _embedding(
    size: int, width: int, name: str, policy: keras.DTypePolicy, *, trainable: bool = True
) -> keras.layers.Embedding:
    initializer = keras.initializers.RandomUniform(-0.1, 0.1) if trainable else "zeros"
    layer = keras.layers.Embedding(
        size, width, embeddings_initializer=initializer, name=name, dtype=of_tables(policy), trainable=trainable
    )
    layer.build((None, None))
    return layer
