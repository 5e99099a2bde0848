"""The translator: encoder, attention decoder, and what training minimises."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.attention import Memory
from nlp_rnn.layers.decoder import AttentionDecoder, DecoderState
from nlp_rnn.layers.encoder import Cell, RecurrentEncoder
from nlp_rnn.layers.precision import of_scores, of_tables
from nlp_rnn.layers.recurrent import Path
from nlp_rnn.losses import projected_cross_entropy
from nlp_rnn.scoring import SearchRules
from nlp_rnn.search import Hypotheses, beam_search, greedy_search
from nlp_rnn.text import BOS, EOS, PAD, UNK

Batch = dict[str, tf.Tensor]


class Encoded(NamedTuple):
    """A batch of source sentences, as the decoder needs them."""

    memory: Memory
    state: DecoderState
    mask: tf.Tensor  # bool (batch, source)


@keras.saving.register_keras_serializable(package="nlp_rnn")
class Translator(keras.Model):
    """A recurrent encoder-decoder with Bahdanau attention.

    Args:
        source_vocabulary_size: int. Tokens of the source language.
        target_vocabulary_size: int. Tokens of the target language.
        share_embeddings: One embedding for both sides, whose vocabularies must
            then be the same.
        tie_embeddings: Use the target embedding as the output projection too
            (Press and Wolf, 2017).
        embedding_size, cell, encoder_size, encoder_layers, decoder_size,
        decoder_layers, attention_size, residual, dropout: see
            `nlp_rnn.model_config.TranslatorConfig`.
        training_path: how the encoder's training computes, see `LSTM`.

    Call arguments:
        inputs: dict of `source` int32 (batch, source) and `source_mask` bool,
            `target` int32 (batch, target) and `target_mask` bool. Both sides
            end in EOS and are padded on the right.
        training: bool. Whether dropout applies and gradients will be taken.

    Returns:
        float32 (batch, target, target_vocabulary_size): the logits of each
        target token given the ones before it (teacher forcing).

    Raises:
        ValueError: shared embeddings of vocabularies that differ in size.

    Reference:
        Bahdanau et al. (2015), arXiv:1409.0473.
    """

    def __init__(
        self,
        *,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        share_embeddings: bool,
        tie_embeddings: bool,
        embedding_size: int,
        cell: Cell,
        encoder_size: int,
        encoder_layers: int,
        decoder_size: int,
        decoder_layers: int,
        attention_size: int,
        residual: bool,
        dropout: float,
        training_path: Path = "portable",
        **options: Any,
    ):
        super().__init__(**options)
        if share_embeddings and source_vocabulary_size != target_vocabulary_size:
            raise ValueError(
                "Shared embeddings need one vocabulary, but source_vocabulary_size is "
                f"{source_vocabulary_size} and target_vocabulary_size {target_vocabulary_size}."
            )
        self.arguments = {
            "source_vocabulary_size": source_vocabulary_size, "target_vocabulary_size": target_vocabulary_size,
            "share_embeddings": share_embeddings, "tie_embeddings": tie_embeddings, "embedding_size": embedding_size,
            "cell": cell, "encoder_size": encoder_size, "encoder_layers": encoder_layers,
            "decoder_size": decoder_size, "decoder_layers": decoder_layers, "attention_size": attention_size,
            "residual": residual, "dropout": dropout,
        }  # fmt: skip
        policy = self.dtype_policy
        self.source_embedding = _embedding(source_vocabulary_size, embedding_size, "source_embedding", policy)
        self.target_embedding = (
            self.source_embedding
            if share_embeddings
            else _embedding(target_vocabulary_size, embedding_size, "target_embedding", policy)
        )
        self.encoder = RecurrentEncoder(
            units=encoder_size, layers=encoder_layers, cell=cell, residual=residual, dropout=dropout,
            training_path=training_path, dtype=policy,
        )  # fmt: skip
        output_size = embedding_size if tie_embeddings else decoder_size
        self.decoder = AttentionDecoder(
            units=decoder_size, output_size=output_size, attention_units=attention_size, layers=decoder_layers,
            cell=cell, residual=residual, dropout=dropout, dtype=policy,
        )  # fmt: skip
        self.output_dropout = keras.layers.SpatialDropout1D(dropout, dtype=policy)
        self.output_embedding = (
            self.target_embedding
            if tie_embeddings
            else _embedding(target_vocabulary_size, output_size, "output_embedding", policy, norm=1.0)
        )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(target_vocabulary_size,), initializer="zeros", dtype="float32", autocast=False
        )
        self._build_parts(embedding_size, 2 * encoder_size, output_size)

    def _build_parts(self, embedding_size: int, memory_size: int, output_size: int) -> None:
        """Creates all weights at once: a translator is complete before its first batch."""
        for embedding in (self.source_embedding, self.target_embedding, self.output_embedding):
            if not embedding.built:
                embedding.build((None, None))
        self.encoder.build((None, None, embedding_size))
        self.decoder.build((None, None, embedding_size), (None, None, memory_size))
        self.built = True

    def call(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Returns the logits of every target token; see the class."""
        outputs = self._decode(inputs, _shifted(inputs["target"]), training)
        return self.logits(outputs)

    def loss_sum(
        self,
        batch: Batch,
        *,
        label_smoothing: float,
        truth_share: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the loss summed over the real target tokens, float32 (), and their number, float32 ().

        Args:
            batch: as the call's inputs.
            label_smoothing: probability spread over the vocabulary.
            truth_share: float (). If given, each previous token is the true one
                with this probability, else the model's own guess at it given
                the true tokens before: scheduled sampling in parallel
                (Duckworth et al., 2019, arXiv:1906.04331, with one pass).
            training: as in the call.
        """
        previous = _shifted(batch["target"])
        if truth_share is not None:
            previous = self._mixed(batch, previous, truth_share)
        outputs = self._decode(batch, previous, training)
        # Padding never reaches the largest product.
        outputs = tf.boolean_mask(outputs, batch["target_mask"])
        labels = tf.boolean_mask(batch["target"], batch["target_mask"])
        losses = projected_cross_entropy(
            tf.cast(outputs, self.compute_dtype),
            matrix=tf.cast(self.output_embedding.embeddings, tf.float32),
            bias=tf.convert_to_tensor(self.output_bias),
            labels=labels,
            smoothing=label_smoothing,
        )
        return tf.reduce_sum(losses), tf.cast(tf.size(labels), tf.float32)

    def encode(self, tokens: tf.Tensor, mask: tf.Tensor, *, training: bool = False) -> Encoded:
        """Reads source sentences.

        Args:
            tokens: int32 (batch, source), each row ended by EOS.
            mask: bool (batch, source). True = real token.
            training: whether dropout applies and gradients will be taken.
        """
        outputs, summary = self.encoder(self.source_embedding(tokens), mask=mask, training=training)
        return Encoded(self.decoder.prepare(outputs, mask=mask), self.decoder.initial_state(summary), mask)

    def search(
        self,
        encoded: Encoded,
        *,
        maximum_lengths: tf.Tensor,
        beam_size: int,
        n_best: int = 1,
        minimum_length: int = 0,
        length_penalty: float = 1.0,
        coverage_penalty: float = 0.0,
        with_attention: bool = False,
    ) -> Hypotheses:
        """Looks for the best translations; see `nlp_rnn.search`."""
        rules = SearchRules(
            beginning_token=BOS, end_token=EOS, padding_token=PAD, forbidden_tokens=(UNK,),
            minimum_length=minimum_length, length_penalty=length_penalty, coverage_penalty=coverage_penalty,
        )  # fmt: skip

        advance, project = self.decoder.step_for_loop(), self._projection()

        def step(tokens: tf.Tensor, state: DecoderState, memory: Memory) -> tuple[tf.Tensor, DecoderState, tf.Tensor]:
            output, state, attention = advance(self.target_embedding(tokens), state, memory)
            return project(output), state, attention

        start = tf.nest.map_structure(lambda tensor: tensor[:, 0], encoded.state)
        mask = encoded.mask if with_attention or coverage_penalty else None
        common = {"maximum_lengths": maximum_lengths, "rules": rules, "memory": encoded.memory, "source_mask": mask}
        if beam_size == 1 and n_best == 1:
            return greedy_search(step, start, **common)
        return beam_search(step, start, **common, beam_size=beam_size, n_best=n_best)

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """Projects decoder outputs (..., output_size) to float32 logits (..., target_vocabulary_size)."""
        return self._projection()(outputs)

    def _projection(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns `logits`, for a loop: weights are read and cast here, and not at every step."""
        matrix = tf.cast(self.output_embedding.embeddings, of_scores(self.dtype_policy).compute_dtype)
        bias = tf.convert_to_tensor(self.output_bias)

        def logits(outputs: tf.Tensor) -> tf.Tensor:
            flat = tf.cast(tf.reshape(outputs, [-1, outputs.shape[-1]]), matrix.dtype)
            scores = tf.cast(tf.matmul(flat, matrix, transpose_b=True), tf.float32) + bias
            shape = tf.concat([tf.shape(outputs)[:-1], [matrix.shape[0]]], axis=0)
            return tf.ensure_shape(tf.reshape(scores, shape), [*outputs.shape[:-1], matrix.shape[0]])

        return logits

    def _decode(self, batch: Batch, previous: tf.Tensor, training: bool) -> tf.Tensor:
        encoded = self.encode(batch["source"], batch["source_mask"], training=training)
        outputs = self.decoder(
            self.target_embedding(previous),
            mask=batch["target_mask"],
            memory=encoded.memory,
            state=encoded.state,
            training=training,
        )
        return self.output_dropout(outputs, training=training)

    def _mixed(self, batch: Batch, previous: tf.Tensor, truth_share: tf.Tensor) -> tf.Tensor:
        guesses = tf.argmax(self(batch, training=False), axis=-1, output_type=tf.int32)
        shape = tf.shape(previous)
        truth = keras.random.uniform(shape, seed=self.decoder.seed_generator) < truth_share
        return tf.where(truth, previous, _shifted(guesses))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {**super().get_config(), **self.arguments}


def _embedding(size: int, width: int, name: str, policy: Any, *, norm: float = 4.0) -> keras.layers.Embedding:
    """Returns an embedding whose vectors begin at about this norm.

    At the norm of 1 that an output projection wants, the encoder's first outputs are so small and alike that attention
    has nothing to choose between, and is found hundreds of steps later; at 10 the first logits of a tied output are too
    large.
    """
    spread = keras.initializers.RandomNormal(stddev=norm * width**-0.5)
    return keras.layers.Embedding(size, width, embeddings_initializer=spread, name=name, dtype=of_tables(policy))


def _shifted(tokens: tf.Tensor) -> tf.Tensor:
    """Returns the token before each one, BOS before the first."""
    return tf.pad(tokens[:, :-1], [[0, 0], [1, 0]], constant_values=BOS)
