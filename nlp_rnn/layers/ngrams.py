"""Runs of neighbouring tokens, or of the characters of words, as features: what a bag of words would know."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer

_BEGIN, _END = 2, 3  # no token of a text has these numbers
# Odd, so that no bit of a token's number is lost; from Knuth's multiplicative hashing and its successors.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD)
LONGEST = len(_MULTIPLIERS)
# A table learns as fast as other weights do; sums of its rows want more.
_SCALE = 8.0


@keras.saving.register_keras_serializable(package="nlp_rnn")
class NGramScores(MaskedLayer):
    """A linear model over all runs of one to `longest` tokens, hashed into a table.

    A text's first and last token know that they are: a run may include what
    stands for the beginning or for the end. The scores of a text's runs are
    summed and divided by the square root of their number, which is what the
    unit length of a bag of words comes to.

    Before training, `weigh` can be told in which classes' texts each run stands:
    runs then count, and are learned, the more the better they tell classes
    apart. `settle` afterwards makes that a part of the table.

    Args:
        classes: int >= 1. Number of scores.
        longest: int, 1 to 5. Tokens of the longest run.
        buckets: int >= 1. Rows of the table; runs that meet in one share it.

    Call arguments:
        tokens: int32 (batch, time). Numbers of tokens.
        mask: bool (batch, time). True = real token.
        positions: int32 (texts, words), optional. Rows of `tokens` are then
            words, and a text is scored as the runs of all its words.
        words_mask: bool (texts, words). True = real word; with `positions`.

    Returns:
        float32 (batch or texts, classes); the bias alone for a row without real tokens.

    Raises:
        ValueError: an argument out of its range.

    Reference:
        Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask
        Learning"; Joulin et al. (2017), "Bag of Tricks for Efficient Text
        Classification", section 2.2; Bojanowski et al. (2017), section 3.2,
        for the characters of words. arXiv:1607.04606. Wang and Manning (2012),
        "Baselines and Bigrams", for runs that are weighed by naive Bayes.
    """

    def __init__(self, *, classes: int, longest: int, buckets: int, **options: Any):
        super().__init__(**options)
        if classes < 1 or buckets < 1 or not 1 <= longest <= LONGEST:
            raise ValueError(
                f"classes and buckets must be at least 1, and longest 1 to {LONGEST}, "
                f"not {classes}, {buckets} and {longest}."
            )
        self.classes = classes
        self.longest = longest
        self.buckets = buckets
        self._weighing: tf.Variable | None = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the table and the bias."""
        del input_shape
        shape = (self.buckets, self.classes)
        self.table = self.add_weight(name="table", shape=shape, initializer="zeros", autocast=False)
        self.bias = self.add_weight(
            name="bias", shape=(self.classes,), initializer="zeros", dtype="float32", autocast=False
        )

    def call(
        self,
        tokens: tf.Tensor,
        *,
        mask: tf.Tensor,
        positions: tf.Tensor | None = None,
        words_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Scores texts; see the class."""
        table, rows = tf.convert_to_tensor(self.table), tf.shape(tokens)[0]
        total, count = tf.zeros([rows, self.classes]), tf.zeros([rows, 1])
        for places, real in self._places(tokens, mask):
            weights = tf.cast(real, tf.float32)
            count += tf.reduce_sum(weights, axis=1, keepdims=True)
            if self._weighing is not None:
                weights *= tf.gather(self._weighing, places)
            found = tf.cast(tf.gather(table, places), tf.float32)
            total += tf.einsum("btc,bt->bc", found, weights)
        if positions is not None:
            there = tf.cast(words_mask, tf.float32)
            total, count = (tf.einsum("btc,bt->bc", tf.gather(sums, positions), there) for sums in (total, count))
        return _SCALE * tf.math.divide_no_nan(total, tf.sqrt(count)) + self.bias

    def count(
        self,
        totals: tf.Variable,
        tokens: tf.Tensor,
        labels: tf.Tensor,
        *,
        mask: tf.Tensor,
        positions: tf.Tensor | None = None,
        words_mask: tf.Tensor | None = None,
    ) -> None:
        """Counts the runs of labelled texts.

        Args:
            totals: float32 (buckets, any). What is added to.
            tokens: see the class.
            labels: float32 (texts, any). What an occurrence in each text adds.
            mask: see the class.
            positions: see the class.
            words_mask: see the class.
        """
        if positions is not None:
            words = tf.boolean_mask(positions, words_mask)
            each = tf.repeat(labels, tf.math.count_nonzero(words_mask, axis=1), axis=0)
            labels = tf.math.unsorted_segment_sum(each, words, tf.shape(tokens)[0])
        for places, real in self._places(tokens, mask):
            each = tf.repeat(labels, tf.math.count_nonzero(real, axis=1), axis=0)
            totals.scatter_add(tf.IndexedSlices(each, tf.boolean_mask(places, real)))

    def weigh(self, within: np.ndarray, altogether: np.ndarray) -> None:
        """Lets runs count as much as they tell.

        That is how far they move the log-odds of a class against all others,
        up or down: the mean over classes by their size. Each run is taken to
        have occurred twice more than it did, in texts of an average mixture,
        of which it tells nothing. Runs without occurrence, as there are in
        later rows of a stream, weigh what others do in the mean.

        Args:
            within: float (buckets, classes). Occurrences in the texts of each class.
            altogether: float (buckets,). Occurrences in all texts.
        """
        seen = altogether > 0
        weights = np.zeros(int(seen.sum()))
        sizes = within.sum(axis=0) / max(altogether.sum(), 1.0)
        # Of a class that all texts have, or none, nothing can be told.
        told = [number for number, size in enumerate(sizes) if 0 < size < 1]
        for number in told:
            size, inside = sizes[number], within[seen, number].astype(np.float64)
            odds = (inside + 2 * size) / (altogether[seen] - inside + 2 * (1 - size))
            weights += size * np.abs(np.log(odds * (1 - size) / size))
        weighing: np.ndarray = np.ones(self.buckets, np.float32)
        if told:
            weights /= sizes[told].sum()
            weighing[:] = weights.mean()
            weighing[seen] = weights
        if self._weighing is None:
            # No weight: it is computed from the data anew where a training goes on, and of a trained model it is 1.
            self._weighing = tf.Variable(weighing, trainable=False)
        else:
            self._weighing.assign(weighing)

    def settle(self, factor: float) -> None:
        """Takes what runs were weighed by into the table, and multiplies all scores."""
        if self._weighing is not None:
            self.table.assign(self.table * self._weighing[:, tf.newaxis])
            self._weighing.assign(tf.ones_like(self._weighing))
        for weight in (self.table, self.bias):
            weight.assign(weight * factor)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "classes": self.classes, "longest": self.longest, "buckets": self.buckets}

    def _places(self, tokens: tf.Tensor, mask: tf.Tensor) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Gives for each length of a run the rows of the table, int64 (batch, places), and which of them are real."""
        for hashes, real in _runs(tf.cast(tokens, tf.int64), mask, self.longest):
            yield tf.where(real, tf.math.floormod(hashes, self.buckets), 0), real


def _runs(tokens: tf.Tensor, mask: tf.Tensor, longest: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Gives for each length of a run its hashes, int64 (batch, places), and which of them are real.

    A row without real tokens has no runs.
    """
    tokens, mask = _bounded(tokens, mask)
    hashes = tf.zeros_like(tokens)
    for length in range(1, longest + 1):
        # A run is told by its tokens and their places in it; the product wraps around.
        mixed = tf.bitwise.bitwise_xor(hashes, (_shifted(tokens, length - 1) + 1) * _signed(_MULTIPLIERS[length - 1]))
        hashes = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, tf.constant(29, tf.int64)))
        yield hashes, mask & _shifted(mask, length - 1)


def _bounded(tokens: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts a beginning before each row and an end after it, unless it is empty."""
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    tokens = tf.pad(tokens, [[0, 0], [1, 1]], constant_values=_BEGIN)
    places = tf.range(tf.shape(tokens)[1])[tf.newaxis]
    tokens = tf.where(places == lengths[:, tf.newaxis] + 1, tf.constant(_END, tokens.dtype), tokens)
    bounded = tf.where(lengths > 0, lengths + 2, 0)
    return tokens, tf.sequence_mask(bounded, tf.shape(tokens)[1])


def _shifted(values: tf.Tensor, places: int) -> tf.Tensor:
    """Moves what stands in a row to the left; zeros come in on the right."""
    return tf.pad(values[:, places:], [[0, 0], [0, tf.minimum(places, tf.shape(values)[1])]])


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
