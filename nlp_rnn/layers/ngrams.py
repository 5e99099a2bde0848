"""Runs of neighbouring tokens as features: what a bag of words would know."""

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer

# Odd, so that no bit of a token's number is lost; from Knuth's multiplicative hashing and its successors.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD)


@keras.saving.register_keras_serializable(package="nlp_rnn")
class NGramScores(MaskedLayer):
    """A linear model over all runs of one to `longest` tokens, hashed into a table.

    The scores of a text's runs are summed and divided by the square root of
    their number, which is what the unit length of a bag of words comes to.

    Args:
        classes: int >= 1. Number of scores.
        longest: int, 1 to 5. Tokens of the longest run.
        buckets: int >= 1. Rows of the table; runs that meet in one share it.

    Call arguments:
        tokens: int32 (batch, time). Numbers of tokens.
        mask: bool (batch, time). True = real token.

    Returns:
        float32 (batch, classes); the bias alone for a row without real tokens.

    Raises:
        ValueError: an argument out of its range.

    Reference:
        Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask
        Learning"; Joulin et al. (2017), "Bag of Tricks for Efficient Text
        Classification", section 2.2.
    """

    def __init__(self, *, classes: int, longest: int, buckets: int, **options: Any):
        super().__init__(**options)
        if classes < 1 or buckets < 1 or not 1 <= longest <= len(_MULTIPLIERS):
            raise ValueError(
                f"classes and buckets must be at least 1, and longest 1 to {len(_MULTIPLIERS)}, "
                f"not {classes}, {buckets} and {longest}."
            )
        self.classes = classes
        self.longest = longest
        self.buckets = buckets

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the table and the bias."""
        del input_shape
        shape = (self.buckets, self.classes)
        self.table = self.add_weight(name="table", shape=shape, initializer="zeros", autocast=False)
        self.bias = self.add_weight(name="bias", shape=(self.classes,), initializer="zeros", autocast=False)

    def call(self, tokens: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
        """Scores texts; see the class."""
        table = tf.convert_to_tensor(self.table)
        total, count = tf.zeros([tf.shape(tokens)[0], self.classes]), tf.zeros([tf.shape(tokens)[0], 1])
        for hashes, real in self._runs(tf.cast(tokens, tf.int64), mask):
            weights = tf.cast(real, tf.float32)
            rows = tf.gather(table, tf.where(real, tf.math.floormod(hashes, self.buckets), 0))
            total += tf.reduce_sum(rows * weights[:, :, tf.newaxis], axis=1)
            count += tf.reduce_sum(weights, axis=1, keepdims=True)
        return tf.math.divide_no_nan(total, tf.sqrt(count)) + self.bias

    def _runs(self, tokens: tf.Tensor, mask: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Returns for each length of a run: hashes int64 (batch, time), and which of them are of real tokens."""
        runs, hashes = [], tf.zeros_like(tokens)
        for length in range(1, self.longest + 1):
            # A run is told by its tokens and their places in it; the product wraps around.
            shifted = _shifted(tokens, length - 1)
            mixed = tf.bitwise.bitwise_xor(hashes, (shifted + 1) * _signed(_MULTIPLIERS[length - 1]))
            hashes = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, tf.constant(29, tf.int64)))
            runs.append((hashes, _shifted(mask, length - 1)))
        return runs

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "classes": self.classes, "longest": self.longest, "buckets": self.buckets}


def _shifted(values: tf.Tensor, places: int) -> tf.Tensor:
    """Moves what stands in a row to the left; zeros come in on the right."""
    return tf.pad(values[:, places:], [[0, 0], [0, tf.minimum(places, tf.shape(values)[1])]])


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
