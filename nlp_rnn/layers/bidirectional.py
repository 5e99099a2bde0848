"""Recurrent layers put together: both directions, and stacks."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nlp_rnn.layers.masked import MaskedLayer


@keras.saving.register_keras_serializable(package="nlp_rnn")
class Bidirectional(MaskedLayer):
    """Reads a sequence from both sides.

    Args:
        layer: A recurrent layer that reads from left to right. Its mirror
            image, with weights of its own, is made from its config.

    Call arguments:
        inputs, mask, training: as the layer's.
        initial_state: the two directions' initial states, left-to-right first.

    Returns:
        outputs: float (batch, time, 2 * units), left-to-right first.
        final_state: the two directions' final states. The mirror image's is
            the one after the first token, which it reads last.

    Reference:
        Schuster and Paliwal (1997), Bidirectional recurrent neural networks.
    """

    def __init__(self, layer: keras.layers.Layer, **options: Any):
        super().__init__(**options)
        if layer.reverse:
            raise ValueError("layer must read from left to right (reverse=False); its mirror image is made from it.")
        config = layer.get_config()
        # One seed in both directions would drop the same features in both.
        seed = None if config["seed"] is None else config["seed"] + 1
        # The policy itself, as Keras would read no more than its name out of the config.
        mirrored = {
            **config, "name": f"{config['name']}_reverse", "reverse": True, "seed": seed, "dtype": layer.dtype_policy,
        }  # fmt: skip
        self.forward_layer = layer
        self.backward_layer = type(layer).from_config(mirrored)
        self.backward_layer.training_path = layer.training_path

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds both directions."""
        _build(self.forward_layer, input_shape)
        _build(self.backward_layer, input_shape)

    def call(
        self,
        inputs: tf.Tensor,
        *,
        mask: tf.Tensor,
        initial_state: tuple[Any, Any] | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tuple[Any, Any]]:
        """Runs both directions; see the class."""
        if initial_state is not None and len(initial_state) != 2:
            raise ValueError(f"initial_state must be the states of the two directions, not of {len(initial_state)}.")
        forward_state, backward_state = initial_state or (None, None)
        forward, forward_state = self.forward_layer(inputs, mask=mask, initial_state=forward_state, training=training)
        backward, backward_state = self.backward_layer(
            inputs, mask=mask, initial_state=backward_state, training=training
        )
        return tf.concat([forward, backward], axis=-1), (forward_state, backward_state)

    def compute_output_spec(self, inputs: Any, **_: Any) -> tuple[Any, tuple[Any, Any]]:
        """Gives Keras the shapes without running the layers."""
        outputs, state = self.forward_layer.compute_output_spec(inputs)
        width = 2 * outputs.shape[-1]
        return keras.KerasTensor((*outputs.shape[:-1], width), dtype=outputs.dtype), (state, state)

    def get_config(self) -> dict[str, Any]:
        """Returns the left-to-right layer, serialized."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.forward_layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Bidirectional":
        """Rebuilds the layer, its weights new."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


@keras.saving.register_keras_serializable(package="nlp_rnn")
class RecurrentStack(MaskedLayer):
    """Recurrent layers on top of each other.

    Args:
        layers: The layers, `Bidirectional` or of one direction, bottom first.
        residual: Add a layer's input to its output where their widths agree
            (Wu et al., 2016, section 3.1).
        dropout: Share of the features dropped between layers and after the
            last, the same at every time step (Gal and Ghahramani, 2016).
        seed: Seed of the dropout.

    Call arguments:
        inputs, mask, training: as the layers'.
        initial_state: one initial state a layer, bottom first.

    Returns:
        The top layer's outputs, and a tuple of the layers' final states.
    """

    def __init__(
        self,
        layers: Sequence[keras.layers.Layer],
        *,
        residual: bool = False,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        if not layers:
            raise ValueError("layers must hold at least one recurrent layer.")
        self.layers = list(layers)
        self.residual = residual
        self.locked_dropout = keras.layers.SpatialDropout1D(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the layers from the bottom up."""
        inputs = keras.KerasTensor(input_shape)
        for layer in self.layers:
            _build(layer, tuple(inputs.shape))
            inputs, _ = layer.compute_output_spec(inputs)

    def call(
        self,
        inputs: tf.Tensor,
        *,
        mask: tf.Tensor,
        initial_state: Sequence[Any] | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tuple[Any, ...]]:
        """Runs the layers; see the class."""
        if initial_state is None:
            initial_state = [None] * len(self.layers)
        if len(initial_state) != len(self.layers):
            raise ValueError(
                f"initial_state must be the states of {len(self.layers)} layers, not of {len(initial_state)}."
            )
        final_states = []
        for layer, state in zip(self.layers, initial_state, strict=True):
            outputs, final = layer(inputs, mask=mask, initial_state=state, training=training)
            if self.residual and inputs.shape[-1] == outputs.shape[-1]:
                outputs += tf.cast(inputs, outputs.dtype) * tf.cast(mask, outputs.dtype)[:, :, tf.newaxis]
            inputs = self.locked_dropout(outputs, training=training)
            final_states.append(final)
        return inputs, tuple(final_states)

    def compute_output_spec(self, inputs: Any, **_: Any) -> tuple[Any, tuple[Any, ...]]:
        """Gives Keras the shapes without running the layers."""
        states = []
        for layer in self.layers:
            inputs, state = layer.compute_output_spec(inputs)
            states.append(state)
        return inputs, tuple(states)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, the layers serialized."""
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers],
            "residual": self.residual,
            "dropout": self.locked_dropout.rate,
            "seed": self.locked_dropout.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecurrentStack":
        """Rebuilds the stack, its weights new."""
        return cls(**{**config, "layers": [keras.saving.deserialize_keras_object(item) for item in config["layers"]]})


def _build(layer: keras.layers.Layer, input_shape: tuple[int | None, ...]) -> None:
    # Keras builds a layer that it loads from a file before the one that holds it.
    if not layer.built:
        layer.build(input_shape)
