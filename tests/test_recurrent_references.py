"""The recurrent layers' numbers and gradients: Keras's, the equations in float64 NumPy, numerical gradients."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from recurrent_cases import (
    ALL,
    BATCH,
    FEATURES,
    LENGTHS,
    STATES,
    TIME,
    UNITS,
    Arrays,
    all_layers,
    assert_near,
    both_directions,
    both_paths,
    draw,
    mask_of,
    ours,
    randomized,
    results_and_gradients,
    states_of,
)

from nlp_rnn.layers import GRU, LSTM, LayerNormalizedLSTM, SimpleRNN

# Ours -> Keras's.
STOCK = {LSTM: keras.layers.LSTM, GRU: keras.layers.GRU, SimpleRNN: keras.layers.SimpleRNN}


# ---- Equality with Keras


def stock(layer: Any, mask: tf.Tensor) -> Callable[[tf.Tensor, tuple], tuple[Any, Any]]:
    """Keras's layer, its outputs where their inputs are and zero at padding."""

    def call(x: tf.Tensor, states: tuple) -> tuple[Any, Any]:
        outputs, *final = layer(x, mask=mask, initial_state=list(states) or None)
        if layer.go_backwards:
            outputs = outputs[:, ::-1]
        return outputs * tf.cast(mask, outputs.dtype)[:, :, tf.newaxis], final

    return call


@pytest.mark.parametrize("kind", STOCK)
@both_directions
@both_paths
@pytest.mark.parametrize("given_state", [False, True])
def test_equals_keras(kind: type, reverse: bool, training: bool, given_state: bool) -> None:
    layer = randomized(kind(units=UNITS, reverse=reverse))
    peer = STOCK[kind](UNITS, return_sequences=True, return_state=True, go_backwards=reverse)
    peer.build((None, None, FEATURES))
    peer.set_weights(layer.get_weights())
    x, mask, states = draw(BATCH, TIME, FEATURES), mask_of(), states_of(kind) if given_state else ()
    found = results_and_gradients(layer, ours(layer, mask, training), x, states)
    expected = results_and_gradients(peer, stock(peer, mask), x, states)
    assert_near(found[0], expected[0], 1e-5)
    assert_near(found[1], expected[1], 1e-5)


@pytest.mark.parametrize("kind", STOCK)
def test_weights_go_from_keras_to_us_too(kind: type) -> None:
    peer = randomized(STOCK[kind](UNITS, return_sequences=True, return_state=True))
    layer = kind(units=UNITS)
    layer.build((None, None, FEATURES))
    layer.set_weights(peer.get_weights())
    assert [weight.path.split("/")[-1] for weight in layer.weights] == ["kernel", "recurrent_kernel", "bias"]
    x = tf.constant(draw(BATCH, TIME, FEATURES))
    np.testing.assert_allclose(layer(x, mask=mask_of())[0], stock(peer, mask_of())(x, ())[0], atol=1e-6)


# Units in the last place of each type: 2^-8 and 2^-11. Both round their products; Keras its gates and states too.
HALF = {"mixed_bfloat16": 4e-2, "mixed_float16": 5e-3}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("policy", HALF)
@both_paths
def test_half_precision_is_near_float32(kind: type, policy: str, training: bool) -> None:
    layer = randomized(kind(units=UNITS))
    rough = kind(units=UNITS, dtype=policy)
    rough.build((None, None, FEATURES))
    rough.set_weights(layer.get_weights())
    x, mask, states = draw(BATCH, TIME, FEATURES), mask_of(), states_of(kind)
    found = results_and_gradients(rough, ours(rough, mask, training), x, states)
    expected = results_and_gradients(layer, ours(layer, mask, False), x, states)
    assert_near(found[0], expected[0], HALF[policy])
    assert_near(found[1], expected[1], HALF[policy])


def test_large_layers_train_half_precision_in_ordinary_loops() -> None:
    """Above 256 units the products weigh more than the fused loop; small layers are covered by the test above."""

    def products(units: int) -> set[str]:
        layer = LSTM(units=units, dtype="mixed_bfloat16")
        layer.build((None, None, FEATURES))
        function = tf.function(lambda x: layer(x, mask=mask_of(), training=True)[0], autograph=False)
        graph = function.get_concrete_function(tf.TensorSpec([BATCH, TIME, FEATURES])).graph.as_graph_def()
        nodes = [node for one in graph.library.function for node in one.node_def]
        return {tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op == "MatMul"}

    assert products(256) == {"float32"}
    assert products(257) == {"bfloat16"}


@pytest.mark.parametrize("kind", STOCK)
@pytest.mark.parametrize("policy", HALF)
def test_half_precision_is_near_keras_s(kind: type, policy: str) -> None:
    layer = kind(units=UNITS, dtype=policy)
    randomized(layer)
    peer = STOCK[kind](UNITS, return_sequences=True, return_state=True, dtype=policy)
    peer.build((None, None, FEATURES))
    peer.set_weights(layer.get_weights())
    x, mask = tf.constant(draw(BATCH, TIME, FEATURES)), mask_of()
    outputs, final = layer(x, mask=mask)
    expected, expected_final = stock(peer, mask)(x, ())
    assert outputs.dtype == expected.dtype == layer.compute_dtype
    assert {state.dtype for state in final} == {tf.float32}
    numbers = [tf.cast(tensor, tf.float32).numpy() for tensor in (outputs, *final)]
    theirs = [tf.cast(tensor, tf.float32).numpy() for tensor in (expected, *expected_final)]
    assert_near(numbers, theirs, HALF[policy])


def test_half_precision_state_accumulates_in_float32() -> None:
    """A cell that gains 0.001 a step would stand still at 0.25 in bfloat16, where its neighbours are 0.002 apart."""
    layer = LSTM(units=1, dtype="mixed_bfloat16")
    layer.build((None, None, 1))
    layer.set_weights([np.zeros([1, 4]), np.zeros([1, 4]), np.array([30.0, 30.0, 0.001, 0.0])])
    function = tf.function(lambda x, mask: layer(x, mask=mask), autograph=False)
    _, (_, cell) = function(tf.zeros([1, 600, 1]), tf.ones([1, 600], tf.bool))
    np.testing.assert_allclose(cell, [[0.6]], rtol=5e-3)


# ---- The equations, in float64 NumPy


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def standardized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def lstm_equations(weights: Arrays, x: np.ndarray, states: Arrays) -> Arrays:
    kernel, recurrent, bias = weights
    hidden, cell = states
    write, keep, candidate, read = np.split(x @ kernel + hidden @ recurrent + bias, 4, axis=-1)
    cell = sigmoid(keep) * cell + sigmoid(write) * np.tanh(candidate)
    return [sigmoid(read) * np.tanh(cell), cell]


def gru_equations(weights: Arrays, x: np.ndarray, states: Arrays) -> Arrays:
    kernel, recurrent, (input_bias, recurrent_bias) = weights
    (hidden,) = states
    update, reset, candidate = np.split(x @ kernel + input_bias, 3, axis=-1)
    update_state, reset_state, candidate_state = np.split(hidden @ recurrent + recurrent_bias, 3, axis=-1)
    update = sigmoid(update + update_state)
    candidate = np.tanh(candidate + sigmoid(reset + reset_state) * candidate_state)
    return [update * hidden + (1 - update) * candidate]


def simple_equations(weights: Arrays, x: np.ndarray, states: Arrays) -> Arrays:
    kernel, recurrent, bias = weights
    return [np.tanh(x @ kernel + states[0] @ recurrent + bias)]


def normalized_equations(weights: Arrays, x: np.ndarray, states: Arrays) -> Arrays:
    kernel, recurrent, bias, kernel_scale, recurrent_scale, cell_scale, cell_shift = weights
    hidden, cell = states
    gates = standardized(x @ kernel) * kernel_scale + standardized(hidden @ recurrent) * recurrent_scale + bias
    write, keep, candidate, read = np.split(gates, 4, axis=-1)
    cell = sigmoid(keep) * cell + sigmoid(write) * np.tanh(candidate)
    return [sigmoid(read) * np.tanh(standardized(cell) * cell_scale + cell_shift), cell]


EQUATIONS = {
    LSTM: lstm_equations,
    GRU: gru_equations,
    SimpleRNN: simple_equations,
    LayerNormalizedLSTM: normalized_equations,
}


def by_equations(
    kind: type, arguments: Arrays, lengths: tuple[int, ...] = LENGTHS, *, reverse: bool = False
) -> tuple[np.ndarray, Arrays]:
    """Runs every row by itself, over its real tokens only; arguments are inputs, initial states and weights."""
    count = STATES[kind]
    x, states, weights = arguments[0], arguments[1 : 1 + count], arguments[1 + count :]
    outputs = np.zeros([*x.shape[:2], UNITS])
    final = [state.copy() for state in states]
    for row, length in enumerate(lengths):
        now = [state[row] for state in states]
        for at in reversed(range(length)) if reverse else range(length):
            now = EQUATIONS[kind](weights, x[row, at], now)
            outputs[row, at] = now[0]
        for state, last in zip(final, now, strict=True):
            state[row] = last
    return outputs, final


def weighed_by_numpy(outputs: np.ndarray, final: Arrays) -> float:
    return sum((value * draw(*value.shape, seed=90 + at)).sum() for at, value in enumerate([outputs, *final]))


@all_layers
@both_directions
@both_paths
def test_equals_the_equations_and_the_numerical_gradient(kind: type, reverse: bool, training: bool) -> None:
    """Gradients wrt inputs, initial states and all weights, through outputs and final states: central differences."""
    layer = randomized(kind(units=UNITS, reverse=reverse))
    x, states = draw(BATCH, TIME, FEATURES), states_of(kind)
    found, gradients = results_and_gradients(layer, ours(layer, mask_of(), training), x, states)
    arguments = [np.asarray(array, np.float64) for array in (x, *states, *layer.get_weights())]
    outputs, final = by_equations(kind, arguments, reverse=reverse)
    assert_near(found, [outputs, *final], 1e-5)
    assert not found[0][1, 3:].any()  # padding
    np.testing.assert_array_equal(found[1][2], states[0][2])  # a row without a token keeps its state
    step = 1e-5
    for argument, gradient in zip(arguments, gradients, strict=True):
        numerical = np.zeros_like(argument)
        for at in np.ndindex(argument.shape):
            sides = []
            for sign in (1, -1):
                kept = argument[at]
                argument[at] = kept + sign * step
                sides.append(weighed_by_numpy(*by_equations(kind, arguments, reverse=reverse)))
                argument[at] = kept
            numerical[at] = (sides[0] - sides[1]) / (2 * step)
        assert_near([gradient], [numerical], 1e-5)
