"""The encoder: embeddings under a stack of bidirectional recurrent layers."""

from typing import Any, Literal

import keras
import tensorflow as tf

from nlp_rnn.layers.bidirectional import Bidirectional, RecurrentStack
from nlp_rnn.layers.masked import MaskedLayer
from nlp_rnn.layers.recurrent import GRU, LSTM, Path

Cell = Literal["lstm", "gru"]
CELLS = {"lstm": LSTM, "gru": GRU}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class RecurrentEncoder(MaskedLayer):
    """Stacked bidirectional layers over embedded tokens.

    Args:
        units: int >= 1. Units of each direction of each layer.
        layers: int >= 1. Number of bidirectional layers.
        cell: `"lstm"` or `"gru"`.
        residual: Add a layer's input to its output where their widths agree.
        dropout: Share of features dropped before each layer and after the
            last, the same at every time step.
        training_path: see `LSTM`.

    Call arguments:
        inputs: float (batch, time, features). Embedded tokens.
        mask: bool (batch, time). True = real token.
        training: bool.

    Returns:
        outputs: (batch, time, 2 * units) in the compute dtype, 0 at padding.
        summary: float32 (batch, 2 * units). The top layer's final hidden
            states: the left-to-right one at the last real token beside the
            right-to-left one at the first.

    Raises:
        ValueError: an unknown cell.
    """

    def __init__(
        self,
        *,
        units: int,
        layers: int = 1,
        cell: Cell = "lstm",
        residual: bool = False,
        dropout: float = 0.0,
        training_path: Path = "portable",
        **options: Any,
    ):
        super().__init__(**options)
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {sorted(CELLS)}, not {cell!r}.")
        self.arguments = {
            "units": units, "layers": layers, "cell": cell, "residual": residual, "dropout": dropout,
        }  # fmt: skip
        policy = self.dtype_policy
        self.input_dropout = keras.layers.SpatialDropout1D(dropout, dtype=policy)
        self.stack = RecurrentStack(
            [
                Bidirectional(CELLS[cell](units=units, training_path=training_path, dtype=policy), dtype=policy)
                for _ in range(layers)
            ],
            residual=residual,
            dropout=dropout,
            dtype=policy,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the stack."""
        self.stack.build(input_shape)

    def call(self, inputs: tf.Tensor, *, mask: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes a batch; see the class."""
        inputs = self.input_dropout(inputs, training=training)
        outputs, states = self.stack(inputs, mask=mask, training=training)
        forward, backward = states[-1]
        return outputs, tf.concat([forward[0], backward[0]], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), **self.arguments}
