"""What the tests of the recurrent layers share: random data, and a layer's results with all their gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import GRU, LSTM, LayerNormalizedLSTM, SimpleRNN

BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 3
LENGTHS = (5, 3, 0)

ALL = (LSTM, GRU, SimpleRNN, LayerNormalizedLSTM)
# How many states each has.
STATES = {LSTM: 2, GRU: 1, SimpleRNN: 1, LayerNormalizedLSTM: 2}

both_directions = pytest.mark.parametrize("reverse", [False, True])
all_layers = pytest.mark.parametrize("kind", ALL)
both_paths = pytest.mark.parametrize("training", [False, True])

Arrays = list[np.ndarray]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def mask_of(lengths: tuple[int, ...] = LENGTHS, time: int = TIME) -> tf.Tensor:
    return tf.sequence_mask(lengths, time)


def randomized(layer: Any, features: int = FEATURES) -> Any:
    """Builds a layer and gives all its weights, biases and scales too, values that are nothing special."""
    layer.build((None, None, features))
    layer.set_weights([draw(*weight.shape, seed=at) * 0.7 for at, weight in enumerate(layer.weights)])
    return layer


def states_of(kind: type, batch: int = BATCH) -> tuple[tf.Tensor, ...]:
    return tuple(tf.constant(draw(batch, UNITS, seed=50 + at)) for at in range(STATES[kind]))


def weighed(tensors: list[Any]) -> tf.Tensor:
    """A sum in which every number weighs differently."""
    tensors = [tf.cast(tensor, tf.float32) for tensor in tensors]
    return tf.add_n([tf.reduce_sum(tensor * draw(*tensor.shape, seed=90 + at)) for at, tensor in enumerate(tensors)])


def results_and_gradients(
    layer: Any, call: Callable[[tf.Tensor, tuple], tuple[Any, Any]], x: Any, states: tuple
) -> tuple[Arrays, Arrays]:
    """Outputs and final states, and the gradients of their weighed sum wrt inputs, initial states and weights."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        outputs, final = call(x, states)
        loss = weighed([outputs, *final])
    weights = [variable.value for variable in layer.trainable_variables]
    gradients = tape.gradient(loss, [x, *states, *weights], unconnected_gradients="zero")
    numbers = [tf.cast(tensor, tf.float32).numpy() for tensor in (outputs, *final)]
    return numbers, [tf.cast(gradient, tf.float32).numpy() for gradient in gradients]


def ours(layer: Any, mask: tf.Tensor, training: bool) -> Callable[[tf.Tensor, tuple], tuple[Any, Any]]:
    return lambda x, states: layer(x, mask=mask, initial_state=states or None, training=training)


def assert_near(found: Arrays, expected: Arrays, tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=tolerance * max(1.0, float(np.abs(other).max(initial=0))), rtol=0)
