"""The recurrent layers: masks, states, dropout, Keras's files and graphs, and bad input."""

import itertools
from collections.abc import Callable
from pathlib import Path
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

# ---- Masks, empty rows, batches and sequences


@all_layers
@both_directions
def test_padding_changes_nothing(kind: type, reverse: bool) -> None:
    layer = randomized(kind(units=UNITS, reverse=reverse))
    x = draw(BATCH, TIME, FEATURES)
    garbage = np.concatenate([x, np.full([BATCH, 4, FEATURES], 1e4, np.float32)], axis=1)
    garbage[np.broadcast_to(~mask_of(LENGTHS, TIME + 4).numpy()[:, :, np.newaxis], garbage.shape)] = 1e4
    outputs, final = layer(x, mask=mask_of())
    longer, same = layer(garbage, mask=mask_of(LENGTHS, TIME + 4))
    np.testing.assert_allclose(longer[:, :TIME], outputs, atol=1e-6)
    assert not longer[:, TIME:].numpy().any()
    for one, other in zip(same, final, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for row, length in enumerate(LENGTHS[:2]):  # and a row is what it is alone, without any padding
        alone, _ = layer(x[row : row + 1, :length], mask=tf.ones([1, length], tf.bool))
        np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)


@all_layers
def test_gradients_ignore_padding(kind: type) -> None:
    layer = randomized(kind(units=UNITS))
    x = draw(BATCH, TIME, FEATURES)
    _, gradients = results_and_gradients(layer, ours(layer, mask_of(), True), x, states_of(kind))
    changed = np.where(mask_of().numpy()[:, :, np.newaxis], x, 7.0).astype(np.float32)
    _, same = results_and_gradients(layer, ours(layer, mask_of(), True), changed, states_of(kind))
    assert_near(same, gradients, 1e-6)
    assert not gradients[0][1, 3:].any()
    assert not gradients[0][2].any()


@all_layers
@both_paths
def test_no_real_token_gives_zeros(kind: type, training: bool) -> None:
    layer = randomized(kind(units=UNITS))
    results, gradients = results_and_gradients(
        layer, ours(layer, tf.zeros([BATCH, TIME], tf.bool), training), draw(BATCH, TIME, FEATURES), ()
    )
    assert not any(array.any() for array in (*results, *gradients))


SIZES = ((0, TIME), (BATCH, 0), (0, 0), (BATCH, TIME))


class Exported(tf.Module):
    """What an export is made of: a layer, called with unknown batch and length, and its gradient."""

    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer
        self.traces: list[bool] = []
        signature = [tf.TensorSpec([None, None, FEATURES]), tf.TensorSpec([None, None], tf.bool)]
        self.serve = tf.function(self._serve, input_signature=signature, autograph=False)
        self.train = tf.function(self._train, input_signature=signature, autograph=False)

    def _serve(self, x: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        self.traces.append(False)
        outputs, final = self.layer(x, mask=mask)
        return {"outputs": outputs, "final": final[0]}

    def _train(self, x: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        self.traces.append(True)
        weights = [variable.value for variable in self.layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs, final = self.layer(x, mask=mask, training=True)
            loss = tf.reduce_sum(tf.sin(outputs)) + tf.reduce_sum(tf.sin(final[0]))
        return tape.gradient(loss, [x, *weights])


@all_layers
def test_unknown_sizes_take_one_trace_and_may_be_nothing(kind: type, tmp_path: Path) -> None:
    layer = randomized(kind(units=UNITS))
    module = Exported(layer)
    for batch, time in SIZES:
        x, mask = draw(batch, time, FEATURES), tf.ones([batch, time], tf.bool)
        results = module.serve(x, mask)
        assert results["outputs"].shape == (batch, time, UNITS)
        assert results["final"].shape == (batch, UNITS)
        gradients = module.train(x, mask)
        assert [gradient.shape for gradient in gradients] == [x.shape, *(weight.shape for weight in layer.weights)]
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert all(gradient.numpy().any() for gradient in gradients) == bool(batch and time)
    assert sorted(module.traces) == [False, True]

    tf.saved_model.save(module, tmp_path / "export", signatures={"serving_default": module.serve})
    serve = tf.saved_model.load(tmp_path / "export").signatures["serving_default"]
    for batch, time in SIZES:
        x, mask = tf.constant(draw(batch, time, FEATURES)), tf.ones([batch, time], tf.bool)
        results, expected = serve(x=x, mask=mask), module.serve(x, mask)
        for name in expected:
            assert results[name].shape == expected[name].shape
            np.testing.assert_allclose(results[name], expected[name], atol=1e-6)


# ---- State


@all_layers
@both_paths
def test_streaming_equals_one_long_call(kind: type, training: bool) -> None:
    layer = randomized(kind(units=UNITS))
    x = draw(BATCH, TIME, FEATURES)
    outputs, final = layer(x, mask=tf.ones([BATCH, TIME], tf.bool))
    first, state = layer(x[:, :3], mask=tf.ones([BATCH, 3], tf.bool), training=training)
    second, state = layer(x[:, 3:], mask=tf.ones([BATCH, 2], tf.bool), initial_state=state, training=training)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), outputs, atol=1e-6)
    for one, other in zip(state, final, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@all_layers
@both_directions
def test_final_state_is_the_one_at_the_last_token_read(kind: type, reverse: bool) -> None:
    layer = randomized(kind(units=UNITS, reverse=reverse))
    outputs, final = layer(draw(BATCH, TIME, FEATURES), mask=mask_of())
    for row, length in enumerate(LENGTHS[:2]):
        np.testing.assert_array_equal(final[0][row], outputs[row, 0 if reverse else length - 1])
    assert not any(state[2].numpy().any() for state in final)


# ---- Dropout


def identity_network(**options: Any) -> SimpleRNN:
    """Outputs tanh(x): the recurrent kernel is zero."""
    layer = SimpleRNN(units=64, **options)
    layer.build((None, None, 64))
    layer.set_weights([np.eye(64), np.zeros([64, 64]), np.zeros(64)])
    return layer


def test_input_dropout_is_locked_over_time_and_off_in_inference() -> None:
    layer = identity_network(dropout=0.5, seed=3)
    x, mask = tf.fill([2, 6, 64], 0.1), tf.ones([2, 6], tf.bool)
    outputs = layer(x, mask=mask, training=True)[0].numpy()
    np.testing.assert_array_equal(outputs, np.repeat(outputs[:, :1], 6, axis=1))
    kept = outputs[:, 0] != 0
    np.testing.assert_allclose(outputs[:, 0][kept], np.tanh(0.2), rtol=1e-6)  # scaled by 1 / 0.5
    assert 0.3 < kept.mean() < 0.7
    assert (kept[0] != kept[1]).any()  # every row its own
    np.testing.assert_allclose(layer(x, mask=mask, training=False)[0], np.tanh(0.1) + 0 * outputs, rtol=1e-6)
    again = layer(x, mask=mask, training=True)[0].numpy()
    assert (again != outputs).any()  # every call its own


def test_recurrent_dropout_is_locked_over_time_and_off_in_inference() -> None:
    """h' = tanh(0.3 + drop * h): a dropped unit stays at tanh(0.3), a kept one follows the equation with 2 h."""
    layer = SimpleRNN(units=64, recurrent_dropout=0.5, seed=3)
    layer.build((None, None, 1))
    layer.set_weights([np.zeros([1, 64]), np.eye(64), np.full(64, 0.3)])
    x, mask = tf.zeros([2, 6, 1]), tf.ones([2, 6], tf.bool)
    outputs = layer(x, mask=mask, training=True)[0].numpy()
    kept = outputs[:, 1] > outputs[:, 0] + 1e-3
    assert 0.3 < kept.mean() < 0.7
    hidden = np.zeros([2, 64])
    for at in range(6):
        hidden = np.tanh(0.3 + 2.0 * kept * hidden)
        np.testing.assert_allclose(outputs[:, at], hidden, rtol=1e-5)
    hidden = np.zeros([2, 64])
    inference = layer(x, mask=mask)[0].numpy()
    for at in range(6):
        hidden = np.tanh(0.3 + hidden)
        np.testing.assert_allclose(inference[:, at], hidden, rtol=1e-5)


@pytest.mark.parametrize("kind", [LSTM, GRU, LayerNormalizedLSTM])
def test_recurrent_dropout_reaches_every_cell(kind: type) -> None:
    layer = randomized(kind(units=UNITS, recurrent_dropout=0.5, seed=1))
    x, mask = draw(BATCH, TIME, FEATURES), tf.ones([BATCH, TIME], tf.bool)
    dropped, sure = layer(x, mask=mask, training=True)[0], layer(x, mask=mask)[0]
    np.testing.assert_allclose(dropped[:, 0], sure[:, 0], atol=1e-6)  # the first state is zero
    assert np.abs(dropped - sure)[:, 1:].max() > 1e-3


# ---- Initial weights


def test_initial_weights() -> None:
    layer = LSTM(units=8)
    layer.build((None, None, 5))
    kernel, recurrent, bias = layer.get_weights()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], 8))
    limit = np.sqrt(6 / (5 + 32))  # Glorot and Bengio (2010)
    assert 0.8 * limit < np.abs(kernel).max() <= limit
    normalized = LayerNormalizedLSTM(units=8)
    normalized.build((None, None, 5))
    np.testing.assert_array_equal(normalized.bias, bias)
    gru = GRU(units=8)
    gru.build((None, None, 5))
    assert not gru.get_weights()[2].any()


# ---- In Keras and in graphs


OPTIONS = {"units": UNITS, "reverse": True, "dropout": 0.25, "recurrent_dropout": 0.125, "seed": 7, "name": "reader"}


@all_layers
def test_config_survives_a_round_trip(kind: type) -> None:
    layer = kind(**OPTIONS, dtype="mixed_bfloat16")
    config = layer.get_config()
    assert {name: config[name] for name in OPTIONS} == OPTIONS
    assert "training_path" not in config  # of a machine, not of a model
    again = kind.from_config(config)
    assert again.get_config() == config
    assert again.compute_dtype == "bfloat16"
    assert kind(units=2).get_config()["seed"] is None


@all_layers
def test_keras_file_of_a_model_whose_mask_is_an_input(kind: type, tmp_path: Path) -> None:
    x = keras.Input([None, FEATURES], name="x")
    mask = keras.Input([None], dtype="bool", name="mask")
    outputs, final = randomized(kind(units=UNITS))(x, mask=mask)
    model = keras.Model({"x": x, "mask": mask}, [outputs, *final])
    assert outputs.shape == (None, None, UNITS)
    given = {"x": draw(BATCH, TIME, FEATURES), "mask": mask_of().numpy()}
    expected = model.predict_on_batch(given)
    assert not expected[0][2].any()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").predict_on_batch(given)
    for one, other in zip(again, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [LSTM, GRU])
@both_paths
def test_inside_a_while_loop(kind: type, training: bool) -> None:
    """Three times over its own outputs, and the gradient through all three."""
    layer = randomized(kind(units=UNITS), features=UNITS)
    mask = mask_of()

    def in_graph(x: tf.Tensor) -> tf.Tensor:
        body = lambda count, x: (count + 1, layer(x, mask=mask, training=training)[0])  # noqa: E731
        return tf.while_loop(lambda count, _: count < 3, body, (0, x))[1]

    def unrolled(x: tf.Tensor) -> tf.Tensor:
        for _ in range(3):
            x = layer(x, mask=mask, training=False)[0]
        return x

    def both(function: Callable[[tf.Tensor], tf.Tensor]) -> tuple[Arrays, Arrays]:
        call = tf.function(lambda x: results_of(function, x), autograph=False)
        return call(tf.constant(draw(BATCH, TIME, UNITS)))

    def results_of(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> list[tf.Tensor]:
        weights = [variable.value for variable in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = function(x)
            loss = tf.reduce_sum(outputs * draw(BATCH, TIME, UNITS, seed=9))
        return [outputs, *tape.gradient(loss, [x, *weights])]

    for one, other in zip(both(in_graph), both(unrolled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# ---- Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units must be at least 1, not 0"),
        ({"units": 2, "dropout": 1.0}, r"dropout must be at least 0 and below 1, not 1\.0"),
        ({"units": 2, "recurrent_dropout": -0.5}, r"recurrent_dropout must be at least 0 and below 1, not -0\.5"),
        ({"units": 2, "recurrent_dropout": 0.5, "training_path": "cudnn"}, "'cudnn'.*without recurrent dropout.*0.5"),
    ],
)
@all_layers
def test_impossible_options_are_refused(kind: type, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_layer_normalisation_has_no_cudnn_path() -> None:
    with pytest.raises(ValueError, match="'cudnn' computes LSTM, GRU and SimpleRNN.*not a LayerNormalizedLSTM"):
        LayerNormalizedLSTM(units=2, training_path="cudnn")


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match="training_path must be 'cudnn' or 'portable', not 'cuda'"):
        LSTM(units=2, training_path="cuda")


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([(3, 3)], r"initial_state must be a tuple of tensors of shapes \[\(3, 3\), \(3, 3\)\], not \[\(3, 3\)\]"),
        ([(3, 3), (3, 4)], r"initial_state.*not \[\(3, 3\), \(3, 4\)\]"),
        ([(2, 3), (2, 3)], r"initial_state.*not \[\(2, 3\), \(2, 3\)\]"),
        ([(3, 3), (3,)], r"initial_state.*not \[\(3, 3\), \(3,\)\]"),
    ],
)
def test_a_wrong_initial_state_is_refused(states: list[tuple[int, ...]], message: str) -> None:
    layer = LSTM(units=UNITS)
    with pytest.raises(ValueError, match=message):
        layer(tf.zeros([3, 5, 4]), mask=mask_of(), initial_state=tuple(map(tf.zeros, states)))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones([3, 4], bool), r"mask must be bool \(3, 5\), \(batch, time\), not bool \(3, 4\)"),
        (np.tri(3, 5, 2, bool)[:, ::-1], r"mask must be bool \(3, 5\) and right-padded"),
    ],
)
def test_a_wrong_mask_is_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(units=UNITS)(tf.zeros([3, 5, 4]), mask=tf.constant(mask))


def test_every_layer_says_what_it_shares() -> None:
    """The call is documented where a reader looks: at each class."""
    for kind, word in itertools.product(ALL, ("Call arguments:", "Returns:", "Raises:", "Reference:")):
        assert word in (kind.__doc__ or "")
