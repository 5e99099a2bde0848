"""Words read by their characters."""

from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.bidirectional import Bidirectional
from nlp_rnn.layers.masked import MaskedLayer
from nlp_rnn.layers.recurrent import LSTM, Path


@keras.saving.register_keras_serializable(package="nlp_rnn")
class RecurrentCharacterEncoder(MaskedLayer):
    """The two final states of a bidirectional LSTM over a word's characters.

    Args:
        units: int >= 2, even. Width of the result: half for each direction.
        training_path: see `LSTM`.

    Call arguments:
        inputs: float (words, characters, features). Embedded characters.
        mask: bool (words, characters). True = real character; padding on the right.
        training: bool.

    Returns:
        (words, units) in the compute dtype; zeros for a word without characters.

    Raises:
        ValueError: `units` is odd or below 2.

    Reference:
        Lample et al. (2016), section 4.1. arXiv:1603.01360
    """

    def __init__(self, *, units: int, training_path: Path = "portable", **options: Any):
        super().__init__(**options)
        if units < 2 or units % 2:
            raise ValueError(f"units must be even and at least 2, not {units}: half are for each direction.")
        self.units = units
        cell = LSTM(units=units // 2, training_path=training_path, dtype=self.dtype_policy)
        self.reader = Bidirectional(cell, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the LSTM."""
        self.reader.build(input_shape)

    def call(self, inputs: tf.Tensor, *, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Reads words; see the class."""
        _, (forward, backward) = self.reader(inputs, mask=mask, training=training)
        return tf.cast(tf.concat([forward[0], backward[0]], axis=-1), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class ConvolutionalCharacterEncoder(MaskedLayer):
    """The maximum over a word of a convolution's responses to its characters.

    Args:
        units: int >= 1. Number of filters, the width of the result.
        window: int >= 1. Characters that a filter sees at once.

    Call arguments:
        inputs: float (words, characters, features). Embedded characters.
        mask: bool (words, characters). True = real character; padding on the right.
        training: bool. Changes nothing.

    Returns:
        (words, units) in the compute dtype; zeros for a word without characters.

    Raises:
        ValueError: `units` or `window` < 1.

    Reference:
        Ma and Hovy (2016), section 2.1. arXiv:1603.01354
    """

    def __init__(self, *, units: int, window: int = 3, **options: Any):
        super().__init__(**options)
        if units < 1 or window < 1:
            raise ValueError(f"units and window must be at least 1, not {units} and {window}.")
        self.units = units
        self.window = window
        self.filters = keras.layers.Conv1D(units, window, padding="same", activation="tanh", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the filters."""
        self.filters.build(input_shape)

    def call(self, inputs: tf.Tensor, *, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Reads words; see the class."""
        del training
        real = mask[:, :, tf.newaxis]
        # Filters at a word's end see zeros beyond it, whatever the padding holds.
        responses = self.filters(tf.where(real, inputs, tf.zeros([], inputs.dtype)))
        highest = tf.reduce_max(tf.where(real, responses, tf.constant(-1, responses.dtype)), axis=1)  # tanh is above -1
        return tf.where(tf.reduce_any(mask, axis=1)[:, tf.newaxis], highest, tf.zeros([], highest.dtype))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "units": self.units, "window": self.window}
