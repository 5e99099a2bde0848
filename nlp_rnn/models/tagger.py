"""The tagger: features of words, a bidirectional encoder, and a head that chooses tags."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.characters import ConvolutionalCharacterEncoder, RecurrentCharacterEncoder
from nlp_rnn.layers.crf import ConditionalRandomField
from nlp_rnn.layers.encoder import Cell, RecurrentEncoder
from nlp_rnn.layers.recurrent import Path
from nlp_rnn.layers.softmax import TokenSoftmax
from nlp_rnn.text import PAD, UNK

Inputs = dict[str, tf.Tensor]
Head = Literal["crf", "softmax"]


class TagConstraints(NamedTuple):
    """Which tags may begin a sentence, follow each other, and end one; nested lists of bool."""

    starts: Sequence[bool]
    transitions: Sequence[Sequence[bool]]  # [from][to]
    ends: Sequence[bool]


@keras.saving.register_keras_serializable(package="nlp_rnn")
class Tagger(keras.Model):
    """A recurrent tagger over words and their characters.

    Words come as the distinct ones of a batch, so that what depends on the
    word alone is computed once for all its occurrences, and as each token's
    place among them.

    Args:
        tags: int >= 1. Number of tags.
        constraints: What the tags allow; heeded by the CRF alone.
        word_vocabulary_size: int. Words with a trained embedding, the special ones included.
        vector_vocabulary_size: int. Words with a pre-trained vector or an embedding; at least as many.
        vector_size: int. Width of the pre-trained vectors; 0 if there are none.
        character_vocabulary_size: int.
        shapes: int. Number of word shapes, that of padding included.
        subword_vocabulary_size: int. Pieces whose mean joins a word's features; 0 if none do.
        head, cell, word_size, shape_size, character_encoder, character_embedding_size,
        character_size, encoder_size, encoder_layers, residual, dropout: see
            `nlp_rnn.config.TaggerConfig`.
        training_path: how recurrent layers train, see `LSTM`.

    Call arguments:
        inputs: dict of
            `words` int32 (words,): ids of distinct words, of 0 .. vector_vocabulary_size - 1;
            `shapes` int32 (words,);
            `characters` int32 (words, characters), padded on the right;
            `subwords` int32 (words, pieces), padded on the right; only with subwords;
            `positions` int32 (batch, time): each token's row in the above, any row at padding;
            `unknown` bool (batch, time): tokens whose word is read as unknown; optional.
        mask: bool (batch, time). True = real token.
        training: bool. Whether dropout applies and gradients will be taken.

    Returns:
        float32 (batch, time, tags): emissions, for the methods of `head`.

    Reference:
        Huang et al. (2015), arXiv:1508.01991; Lample et al. (2016), arXiv:1603.01360.
    """

    def __init__(
        self,
        *,
        tags: int,
        constraints: TagConstraints,
        word_vocabulary_size: int,
        vector_vocabulary_size: int,
        vector_size: int,
        character_vocabulary_size: int,
        shapes: int,
        subword_vocabulary_size: int,
        head: Head,
        cell: Cell,
        word_size: int,
        shape_size: int,
        character_encoder: Literal["none", "recurrent", "convolution"],
        character_embedding_size: int,
        character_size: int,
        encoder_size: int,
        encoder_layers: int,
        residual: bool,
        dropout: float,
        training_path: Path = "portable",
        **options: Any,
    ):
        super().__init__(**options)
        self.supports_masking = True  # an argument like any other here: Keras need not warn
        self.arguments: dict[str, Any] = {
            "tags": tags, "constraints": constraints, "word_vocabulary_size": word_vocabulary_size,
            "vector_vocabulary_size": vector_vocabulary_size, "vector_size": vector_size,
            "character_vocabulary_size": character_vocabulary_size, "shapes": shapes,
            "subword_vocabulary_size": subword_vocabulary_size, "head": head, "cell": cell, "word_size": word_size,
            "shape_size": shape_size, "character_encoder": character_encoder,
            "character_embedding_size": character_embedding_size, "character_size": character_size,
            "encoder_size": encoder_size, "encoder_layers": encoder_layers, "residual": residual, "dropout": dropout,
        }  # fmt: skip
        policy = self.dtype_policy
        self.word_embedding = _embedding(word_vocabulary_size, word_size, "word_embedding", policy)
        self.shape_embedding = _embedding(shapes, shape_size, "shape_embedding", policy)
        self.vectors = self.subword_embedding = self.character_encoder = None
        if vector_size:
            self.vectors = _embedding(vector_vocabulary_size, vector_size, "vectors", policy, trainable=False)
        if subword_vocabulary_size:
            self.subword_embedding = _embedding(subword_vocabulary_size, word_size, "subword_embedding", policy)
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
        self.encoder = RecurrentEncoder(
            units=encoder_size, layers=encoder_layers, cell=cell, residual=residual, dropout=dropout,
            training_path=training_path, dtype=policy,
        )  # fmt: skip
        # A tagger is complete before its first batch.
        self.encoder.build((None, None, self._input_size()))
        self.emission = keras.layers.Dense(tags, name="emission", dtype=policy)
        self.emission.build((None, None, 2 * encoder_size))
        self.head = ConditionalRandomField(tags=tags, **_named(constraints)) if head == "crf" else TokenSoftmax()
        self.head.build((None, None, tags))
        self.built = True

    def _input_size(self) -> int:
        given = self.arguments
        parts = [given["word_size"], given["shape_size"], given["vector_size"]]
        parts.append(given["word_size"] if self.subword_embedding else 0)
        parts.append(given["character_size"] if self.character_encoder else 0)
        return sum(parts)

    def call(self, inputs: Inputs, *, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the emissions; see the class."""
        positions = inputs["positions"]
        words = tf.gather(inputs["words"], positions)
        if "unknown" in inputs:
            words = tf.where(inputs["unknown"], UNK, words)
        trained = tf.where(words < self.arguments["word_vocabulary_size"], words, UNK)
        distinct = tf.concat(self._distinct_features(inputs, training), axis=-1)
        features = tf.concat([self.word_embedding(trained), tf.gather(distinct, positions)], axis=-1)
        encoded, _ = self.encoder(features, mask=mask, training=training)
        return tf.cast(self.emission(encoded), tf.float32)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: Keras attaches no mask to the emissions."""

    def _distinct_features(self, inputs: Inputs, training: bool) -> list[tf.Tensor]:
        """Returns what depends on a word alone: tensors of (words, features)."""
        features = [self.shape_embedding(inputs["shapes"])]
        if self.vectors is not None:
            features.append(self.vectors(inputs["words"]))
        if self.subword_embedding is not None:
            real = tf.cast(inputs["subwords"] != PAD, self.compute_dtype)[:, :, tf.newaxis]
            total = tf.reduce_sum(self.subword_embedding(inputs["subwords"]) * real, axis=1)
            features.append(tf.math.divide_no_nan(total, tf.reduce_sum(real, axis=1)))
        if self.character_encoder is not None:
            embedded = self.character_embedding(inputs["characters"])
            features.append(self.character_encoder(embedded, mask=inputs["characters"] != PAD, training=training))
        return features

    def loss_sum(
        self, inputs: Inputs, tags: tf.Tensor, *, mask: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the negative log-likelihood of tags int32 (batch, time), and the number of tokens; float32 ()."""
        emissions = self(inputs, mask=mask, training=training)
        likelihood = self.head.log_likelihood(emissions, tags, mask=mask, training=training)
        return -tf.reduce_sum(likelihood), tf.reduce_sum(tf.cast(mask, tf.float32))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {**super().get_config(), **self.arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Tagger":
        """Rebuilds the tagger, its weights new."""
        return cls(**{**config, "constraints": TagConstraints(*config["constraints"])})


def _named(constraints: TagConstraints) -> dict[str, Any]:
    return {f"allowed_{name}": value for name, value in constraints._asdict().items()}


def _embedding(
    size: int, width: int, name: str, policy: keras.DTypePolicy, *, trainable: bool = True
) -> keras.layers.Embedding:
    initializer = keras.initializers.RandomUniform(-0.1, 0.1) if trainable else "zeros"
    layer = keras.layers.Embedding(
        size, width, embeddings_initializer=initializer, name=name, dtype=policy, trainable=trainable
    )
    layer.build((None, None))
    return layer
