"""The tagger: features of words, a bidirectional encoder, and a head that chooses tags."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.crf import ConditionalRandomField
from nlp_rnn.layers.encoder import Cell, RecurrentEncoder
from nlp_rnn.layers.precision import of_scores
from nlp_rnn.layers.recurrent import Path
from nlp_rnn.layers.softmax import TokenSoftmax
from nlp_rnn.layers.words import WordEncoder

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

    Args:
        tags: int >= 1. Number of tags.
        constraints: What the tags allow; heeded by the CRF alone.
        word_vocabulary_size, vector_vocabulary_size, vector_size, character_vocabulary_size, shapes,
        subword_vocabulary_size: see `nlp_rnn.layers.words.WordEncoder`.
        head, cell, word_size, shape_size, character_encoder, character_embedding_size, character_size,
        encoder_size, encoder_layers, residual, dropout: see `nlp_rnn.model_config.TaggerConfig`.
        training_path: how recurrent layers train, see `LSTM`.

    Call arguments:
        inputs: dict, see `WordEncoder`.
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
        head: Head,
        cell: Cell,
        encoder_size: int,
        encoder_layers: int,
        residual: bool,
        dropout: float,
        training_path: Path = "portable",
        name: str | None = None,
        dtype: Any = None,
        **words: Any,
    ):
        super().__init__(name=name, dtype=dtype)
        self.supports_masking = True  # an argument like any other here: Keras need not warn
        self.arguments: dict[str, Any] = {
            "tags": tags, "constraints": constraints, "head": head, "cell": cell, "encoder_size": encoder_size,
            "encoder_layers": encoder_layers, "residual": residual, "dropout": dropout, **words,
        }  # fmt: skip
        policy = self.dtype_policy
        self.words = WordEncoder(**words, training_path=training_path, dtype=policy)
        self.encoder = RecurrentEncoder(
            units=encoder_size, layers=encoder_layers, cell=cell, residual=residual, dropout=dropout,
            training_path=training_path, dtype=policy,
        )  # fmt: skip
        # A tagger is complete before its first batch.
        self.encoder.build((None, None, self.words.width))
        self.emission = keras.layers.Dense(tags, name="emission", dtype=of_scores(policy))
        self.emission.build((None, None, 2 * encoder_size))
        self.head = ConditionalRandomField(tags=tags, **_named(constraints)) if head == "crf" else TokenSoftmax()
        self.head.build((None, None, tags))
        self.built = True

    def call(self, inputs: Inputs, *, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the emissions; see the class."""
        features = self.words(inputs, training=training)
        encoded, _ = self.encoder(features, mask=mask, training=training)
        return tf.cast(self.emission(encoded), tf.float32)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: Keras attaches no mask to the emissions."""

    def loss_sum(
        self, inputs: Inputs, tags: tf.Tensor, *, mask: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the negative log-likelihood of tags int32 (batch, time), and the number of tokens; float32 ()."""
        emissions = self(inputs, mask=mask, training=training)
        likelihood = self.head.log_likelihood(emissions, tags, mask=mask, training=training)
        return -tf.reduce_sum(likelihood), tf.reduce_sum(tf.cast(mask, tf.float32))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {"name": self.name, "dtype": keras.dtype_policies.serialize(self.dtype_policy), **self.arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Tagger":
        """Rebuilds the tagger, its weights new."""
        return cls(**{**config, "constraints": TagConstraints(*config["constraints"])})


def _named(constraints: TagConstraints) -> dict[str, Any]:
    return {f"allowed_{name}": value for name, value in constraints._asdict().items()}
