"""The classifier: a few small recurrent networks that vote, and a linear model of neighbouring words beside them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.encoder import Cell, RecurrentEncoder
from nlp_rnn.layers.ngrams import NGramScores
from nlp_rnn.layers.pooling import Pool, Pooling
from nlp_rnn.layers.precision import of_scores
from nlp_rnn.layers.recurrent import Path
from nlp_rnn.layers.tokens import TokenEmbedding
from nlp_rnn.layers.words import WordEncoder
from nlp_rnn.text import PAD

Inputs = dict[str, tf.Tensor]
"""What is read of a text, with its `mask`, bool (batch, time), True = real token."""


class Votes(NamedTuple):
    """What a classifier thinks of a batch.

    Attributes:
        scores: float32 (members, batch, classes). Unnormalised log-probabilities of each member.
        attention: float32 (batch, time) of each text, the mean of the members'
            attention to it; empty without attention pooling.
    """

    scores: tf.Tensor
    attention: tuple[tf.Tensor, ...]


@keras.saving.register_keras_serializable(package="nlp_rnn")
class ClassifierMember(keras.layers.Layer):
    """One recurrent network: embedding, bidirectional encoder, pooling, and a projection to the classes.

    A pair of texts u, v goes through the same network, and what is projected
    is [u, v, |u - v|, u * v].

    Args:
        classes: int >= 1. Number of scores.
        texts: int, 1 or 2. Texts of an example.
        embedding: arguments of `WordEncoder`, or of `TokenEmbedding`.
        cell, encoder_size, encoder_layers, residual, pools, attention_size, dropout: see
            `nlp_rnn.model_config.ClassifierConfig`.
        vectors: pre-trained vectors that members share, see `WordEncoder`.
        training_path: how recurrent layers train, see `LSTM`.

    Reference:
        Conneau et al. (2017), section 3.1, for the pair. arXiv:1705.02364
    """

    def __init__(
        self,
        *,
        classes: int,
        texts: int,
        embedding: dict[str, Any],
        cell: Cell,
        encoder_size: int,
        encoder_layers: int,
        residual: bool,
        pools: Sequence[Pool],
        attention_size: int,
        dropout: float,
        vectors: keras.layers.Embedding | None = None,
        training_path: Path = "portable",
        **options: Any,
    ):
        super().__init__(**options)
        policy = self.dtype_policy
        if "embedding_size" in embedding:
            self.embedding: Any = TokenEmbedding(**embedding, dtype=policy)
        else:
            self.embedding = WordEncoder(**embedding, vectors=vectors, training_path=training_path, dtype=policy)
        self.encoder = RecurrentEncoder(
            units=encoder_size, layers=encoder_layers, cell=cell, residual=residual, dropout=dropout,
            training_path=training_path, dtype=policy,
        )  # fmt: skip
        self.encoder.build((None, None, self.embedding.width))
        self.pooling = Pooling(pools=pools, attention_size=attention_size, dtype=policy)
        self.pooling.build((None, None, 2 * encoder_size))
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.projection = keras.layers.Dense(classes, name="projection", dtype=of_scores(policy))
        width = 2 * encoder_size * len(self.pooling.pools)
        self.projection.build((None, width if texts == 1 else 4 * width))
        self.built = True

    def call(self, texts: Sequence[Inputs], *, training: bool = False) -> Votes:
        """Returns `Votes` of one member: their scores are float32 (batch, classes)."""
        pooled, attentions = [], []
        for text in texts:
            embedded = self.embedding(text, training=training)
            outputs, summary = self.encoder(embedded, mask=text["mask"], training=training)
            vector, attention = self.pooling(outputs, summary, mask=text["mask"])
            pooled.append(vector)
            attentions.append(attention)
        if len(pooled) == 2:
            pooled += [tf.abs(pooled[0] - pooled[1]), pooled[0] * pooled[1]]
        joined = self.dropout(tf.concat(pooled, axis=-1), training=training)
        scores = tf.cast(self.projection(joined), tf.float32)
        return Votes(scores, tuple(weights for weights in attentions if weights is not None))


@keras.saving.register_keras_serializable(package="nlp_rnn")
class LinearMember(keras.layers.Layer):
    """A linear model of runs of tokens, and perhaps of runs of the characters of words; see `NGramScores`.

    Args:
        classes: int >= 1. Number of scores.
        texts: int, 1 or 2. Texts of an example; their scores are added.
        ngrams: int >= 1. Tokens of the longest run.
        character_ngrams: int >= 0. Characters of the longest run within a word; 0 does without.
        buckets: int >= 1. Rows of each table.
    """

    def __init__(self, *, classes: int, texts: int, ngrams: int, character_ngrams: int, buckets: int, **options: Any):
        super().__init__(**options)
        shared: dict[str, Any] = {"classes": classes, "buckets": buckets, "dtype": self.dtype_policy}
        self.tokens = [NGramScores(longest=ngrams, **shared) for _ in range(texts)]
        self.characters = [
            NGramScores(longest=character_ngrams, **shared) for _ in range(texts if character_ngrams else 0)
        ]
        for layer in (*self.tokens, *self.characters):
            layer.build((None, None))
        self.built = True

    def call(self, texts: Sequence[Inputs], numbers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns scores float32 (batch, classes) of texts, whose tokens have these numbers, int32 (batch, time)."""
        return tf.add_n([layer(tokens, **where) for layer, tokens, where in self._read(texts, numbers)])

    def weigh(self, batches: Iterable[tuple[Sequence[Inputs], Sequence[tf.Tensor], tf.Tensor]]) -> None:
        """Lets runs count as much as they tell of training texts' labels; see `NGramScores.weigh`.

        Args:
            batches: texts and their tokens' numbers, as in a call, and labels
                float32 (batch, classes), 1 where a label is right.
        """
        layers = (*self.tokens, *self.characters)
        totals = [tf.Variable(tf.zeros([layer.buckets, layer.classes + 1])) for layer in layers]

        @tf.function(autograph=False, reduce_retracing=True)
        def count(texts: Sequence[Inputs], numbers: Sequence[tf.Tensor], labels: tf.Tensor) -> None:
            counted = tf.concat([labels, tf.ones_like(labels[:, :1])], axis=1)
            for total, (layer, tokens, where) in zip(totals, self._read(texts, numbers), strict=True):
                layer.count(total, tokens, counted, **where)

        for batch in batches:
            count(*batch)
        for layer, total in zip(layers, totals, strict=True):
            counts = total.numpy()
            layer.weigh(counts[:, :-1], counts[:, -1])

    def settle(self, factor: float) -> None:
        """Ends the weighing, and multiplies all scores; see `NGramScores.settle`."""
        for layer in (*self.tokens, *self.characters):
            layer.settle(factor)

    def _read(
        self, texts: Sequence[Inputs], numbers: Sequence[tf.Tensor]
    ) -> Iterator[tuple[NGramScores, tf.Tensor, dict[str, tf.Tensor]]]:
        """Gives each layer with what it reads."""
        for layer, text, number in zip(self.tokens, texts, numbers, strict=True):
            yield layer, number, {"mask": text["mask"]}
        for layer, text in zip(self.characters, texts, strict=False):
            spelt = text["characters"]
            yield layer, spelt, {"mask": spelt != PAD, "positions": text["positions"], "words_mask": text["mask"]}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class Classifier(keras.Model):
    """Recurrent networks that differ in their random start alone, and perhaps a linear model, that vote.

    The vote is the mean of the recurrent members' scores, which is to say the
    geometric mean of their probabilities; the linear model counts as much as
    they do together, until `settle` is told its share.

    Args:
        classes: int >= 2, or 1 with `multi_label`. Number of labels.
        texts: int, 1 or 2. Texts of an example.
        multi_label: Whether each label is decided for itself.
        members: int >= 1. Recurrent networks.
        ngrams: int >= 0. Tokens of the longest run that the linear model sees; 0 does without it.
        character_ngrams, ngram_buckets: see `LinearMember`.
        training_path: how recurrent layers train, see `LSTM`.
        **member: arguments of `ClassifierMember`.

    Call arguments:
        texts: one or two texts, see `WordEncoder` or `TokenEmbedding`, each with its `mask`.
        training: bool. Whether dropout applies and gradients will be taken.

    Returns:
        `Votes`.

    Reference:
        Hansen and Salamon (1990) for the ensemble; Cheng et al. (2016),
        arXiv:1606.07792, for the linear model beside it; Mesnil et al. (2015),
        arXiv:1412.5335, for one that naive Bayes weighs.
    """

    def __init__(
        self,
        *,
        classes: int,
        texts: int,
        multi_label: bool,
        members: int,
        ngrams: int,
        character_ngrams: int,
        ngram_buckets: int,
        training_path: Path = "portable",
        name: str | None = None,
        dtype: Any = None,
        **member: Any,
    ):
        super().__init__(name=name, dtype=dtype)
        self.supports_masking = True  # masks are arguments like any others here: Keras need not warn
        self.arguments: dict[str, Any] = {
            "classes": classes, "texts": texts, "multi_label": multi_label, "members": members, "ngrams": ngrams,
            "character_ngrams": character_ngrams, "ngram_buckets": ngram_buckets, **member,
        }  # fmt: skip
        policy = self.dtype_policy
        self.multi_label = multi_label
        self.members: list[ClassifierMember] = []
        for _ in range(members):
            # They do not change, and are most of a classifier's size: one copy does for all members.
            vectors = getattr(self.members[0].embedding, "vectors", None) if self.members else None
            self.members.append(
                ClassifierMember(
                    classes=classes, texts=texts, vectors=vectors, training_path=training_path, dtype=policy, **member
                )
            )
        self.linear = None
        if ngrams:
            self.linear = LinearMember(
                classes=classes,
                texts=texts,
                ngrams=ngrams,
                character_ngrams=character_ngrams,
                buckets=ngram_buckets,
                dtype=policy,
            )
        self.built = True

    def call(self, texts: Sequence[Inputs], *, training: bool = False) -> Votes:
        """Classifies a batch; see the class."""
        answers = [member(texts, training=training) for member in self.members]
        scores = [answer.scores for answer in answers]
        if self.linear is not None:
            numbers = self.members[0].embedding.numbers
            scores.append(self.linear(texts, [numbers(text) for text in texts]))
        attention = zip(*(answer.attention for answer in answers), strict=True)
        return Votes(tf.stack(scores), tuple(tf.add_n(list(weights)) / len(answers) for weights in attention))

    def weigh_runs(self, batches: Iterable[tuple[Sequence[Inputs], tf.Tensor]]) -> None:
        """Lets the linear model, if there is one, read runs of tokens by how much they tell of training texts' labels.

        Args:
            batches: texts as in a call, and labels float32 (batch, classes), 1 where a label is right.
        """
        if self.linear is not None:
            numbers = self.members[0].embedding.numbers
            self.linear.weigh((texts, [numbers(text) for text in texts], labels) for texts, labels in batches)

    def settle(self, linear_share: float) -> None:
        """Makes a part of the weights what is known of the members once they are trained.

        Args:
            linear_share: float, 0 to 1. What the linear model counts in the vote, 0.5 so far; the recurrent
                members together count the rest. How its runs were weighed becomes a part of it, too.

        Raises:
            ValueError: there is no linear model.
        """
        if self.linear is None:
            raise ValueError("Only a classifier with a linear model has shares to settle.")
        self.linear.settle(2 * linear_share)
        for member in self.members:
            for weight in member.projection.weights:
                weight.assign(weight * 2 * (1 - linear_share))

    def vote(self, scores: tf.Tensor) -> tf.Tensor:
        """Returns the members' common scores, float32 (batch, classes), of theirs, (members, batch, classes)."""
        return tf.reduce_mean(self.sides(scores), axis=0)

    def sides(self, scores: tf.Tensor) -> tf.Tensor:
        """Returns the common scores of the recurrent members, and those of the linear model, if there is one.

        Args:
            scores: float32 (members, batch, classes), as in `Votes`.

        Returns:
            float32 (1 or 2, batch, classes).
        """
        if self.linear is None:
            return tf.reduce_mean(scores, axis=0, keepdims=True)
        return tf.stack([tf.reduce_mean(scores[:-1], axis=0), scores[-1]])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: Keras attaches no mask to the scores."""

    def loss_sum(
        self,
        texts: Sequence[Inputs],
        labels: tf.Tensor,
        *,
        weights: tf.Tensor,
        label_smoothing: float = 0.0,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the loss of a batch.

        Each member is told the truth for itself, as if the others were not
        there; the loss is the mean of the members' cross-entropies.

        Args:
            texts: see the class.
            labels: float32 (batch, classes). 1 where a label is right.
            weights: float32 (batch,). What an example counts; 0 for the empty ones at a batch's end.
            label_smoothing: Probability spread evenly over all classes.
            training: see the class.

        Returns:
            The loss summed over the examples, and the sum of `weights`; float32 ().
        """
        smooth = label_smoothing / 2 if self.multi_label else label_smoothing / labels.shape[1]
        labels = labels * (1 - label_smoothing) + smooth

        def cross_entropy(scores: tf.Tensor) -> tf.Tensor:
            if self.multi_label:
                each = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, scores), axis=-1)
            else:
                each = tf.nn.softmax_cross_entropy_with_logits(labels, scores)
            return tf.reduce_sum(weights * each)

        losses = [cross_entropy(member) for member in tf.unstack(self(texts, training=training).scores)]
        return tf.add_n(losses) / len(losses), tf.reduce_sum(weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {"name": self.name, "dtype": keras.dtype_policies.serialize(self.dtype_policy), **self.arguments}
