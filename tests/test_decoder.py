"""The attention decoder: one step against its equations in NumPy, the unrolled call against the step."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.decoder import AttentionDecoder, DecoderState

# All sizes differ but the last two: the summary is as wide as the encoder's outputs.
BATCH, TARGET, SOURCE, FEATURES, UNITS, OUTPUT, VALUE_SIZE, SUMMARY = 3, 4, 6, 2, 5, 7, 8, 8
EMBEDDED = tf.random.stateless_normal([BATCH, TARGET, FEATURES], [0, 1])
VALUES = tf.random.stateless_normal([BATCH, SOURCE, VALUE_SIZE], [0, 2])
SUMMARIES = tf.random.stateless_normal([BATCH, SUMMARY], [0, 3])
SOURCE_MASK = tf.sequence_mask([6, 3, 0], SOURCE)
MASK = tf.sequence_mask([4, 2, 0], TARGET)
FORMS = [("lstm", 1, False), ("lstm", 2, True), ("gru", 1, False), ("gru", 2, True)]


def decoder_of(dtype: str = "float32", **arguments: Any) -> AttentionDecoder:
    decoder = AttentionDecoder(
        units=UNITS, output_size=OUTPUT, attention_units=3, dtype=keras.DTypePolicy(dtype), **arguments
    )
    decoder.build((None, None, FEATURES), (None, None, VALUE_SIZE))
    generator = np.random.default_rng(4)
    for weight in decoder.trainable_variables:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    return decoder


def unroll(decoder: AttentionDecoder, *, training: bool = False, **changed: tf.Tensor) -> tf.Tensor:
    given = {"embedded": EMBEDDED, "mask": MASK, "values": VALUES, "source_mask": SOURCE_MASK, "summary": SUMMARIES}
    given |= changed
    return decoder(
        given["embedded"],
        mask=given["mask"],
        memory=decoder.prepare(given["values"], mask=given["source_mask"]),
        state=decoder.initial_state(given["summary"]),
        training=training,
    )


def hypotheses(decoder: AttentionDecoder, count: int) -> tuple[tf.Tensor, DecoderState]:
    """Different tokens and states for every hypothesis."""

    def draw(size: int, seed: int) -> tf.Tensor:
        return tf.random.stateless_normal([BATCH, count, size], [1, seed])

    parts = 2 if decoder.cell == "lstm" else 1
    layers = tuple(
        tuple(draw(UNITS, 10 * index + part) for part in range(parts)) for index in range(1, decoder.layers + 1)
    )
    return draw(FEATURES, 1), DecoderState(draw(OUTPUT, 2), layers)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def cell_by_hand(weights: dict, kernel: np.ndarray, index: int, below: np.ndarray, state: list, extra: Any) -> list:
    """One layer's next state. The kernel multiplies what comes from below; `extra` is added to that."""
    bias = weights[f"bias_{index}"] + extra
    if len(state) == 2:
        product = below @ kernel + state[0] @ weights[f"layer_{index}"][-UNITS:] + bias
        write, keep, candidate, read = np.split(product, 4)
        cell = sigmoid(keep) * state[1] + sigmoid(write) * np.tanh(candidate)
        return [sigmoid(read) * np.tanh(cell), cell]
    ours = np.split(below @ kernel + bias, 3)
    theirs = np.split(state[0] @ weights[f"recurrent_{index}"] + weights[f"recurrent_bias_{index}"], 3)
    update, reset = sigmoid(ours[0] + theirs[0]), sigmoid(ours[1] + theirs[1])
    return [update * state[0] + (1 - update) * np.tanh(ours[2] + reset * theirs[2])]


def step_by_hand(weights: dict, token: np.ndarray, state: tuple, values: np.ndarray, *, residual: bool) -> tuple:
    """One step of one hypothesis in float64; `values` are those of the real source tokens."""
    output, layers = state
    below, after = output, []
    for index, layer in enumerate(layers):
        kernel = weights[f"layer_{index}"][: len(below)]
        extra = 0.0 if index else token @ weights["input_kernel"]
        after.append(cell_by_hand(weights, kernel, index, below, layer, extra))
        below = after[-1][0] + (below if residual and index else 0)
    attention = np.zeros(len(values))
    if len(values):
        energies = np.tanh(below @ weights["query_kernel"] + values @ weights["key_kernel"]) @ weights["score"]
        attention = np.exp(energies) / np.exp(energies).sum()
    output = np.tanh(np.concatenate([below, attention @ values]) @ weights["output_kernel"])
    return output, after, attention


def doubles(tensor: Any) -> np.ndarray:
    return np.array(tf.convert_to_tensor(tensor), np.float64)


@pytest.mark.parametrize(("cell", "layers", "residual"), [*FORMS, ("lstm", 2, False)])
def test_step_follows_the_equations(cell: str, layers: int, residual: bool) -> None:
    decoder = decoder_of(cell=cell, layers=layers, residual=residual)
    embedded, state = hypotheses(decoder, 2)
    output, after, attention = decoder.step(embedded, state, decoder.prepare(VALUES, mask=SOURCE_MASK))
    np.testing.assert_array_equal(after.output, output)
    weights = {weight.name: doubles(weight) for weight in decoder.trainable_variables}
    given = tf.nest.map_structure(doubles, state)
    for row, length in enumerate([6, 3, 0]):
        for index in range(2):
            before = (given.output[row, index], [[part[row, index] for part in layer] for layer in given.layers])
            expected, expected_layers, expected_attention = step_by_hand(
                weights, doubles(embedded)[row, index], before, doubles(VALUES)[row, :length], residual=residual
            )
            np.testing.assert_allclose(output[row, index], expected, atol=1e-5)
            np.testing.assert_allclose(attention[row, index, :length], expected_attention, atol=1e-5)
            np.testing.assert_array_equal(attention[row, index, length:], np.zeros(SOURCE - length))
            for layer, expected_layer in zip(after.layers, expected_layers, strict=True):
                for part, expected_part in zip(layer, expected_layer, strict=True):
                    np.testing.assert_allclose(part[row, index], expected_part, atol=1e-5)


@pytest.mark.parametrize(("cell", "layers", "residual"), FORMS)
def test_training_is_the_step_repeated_with_the_gradients_of_plain_autodiff(
    cell: str, layers: int, residual: bool
) -> None:
    decoder = decoder_of(cell=cell, layers=layers, residual=residual)
    outputs = unroll(decoder)
    state, memory = decoder.initial_state(SUMMARIES), decoder.prepare(VALUES, mask=SOURCE_MASK)
    last = np.zeros([BATCH, OUTPUT])
    for time in range(TARGET):
        output, state, _ = decoder.step(EMBEDDED[:, time : time + 1], state, memory)
        last = np.where(MASK[:, time, tf.newaxis], output[:, 0], last)  # padding repeats the last real output
        np.testing.assert_allclose(outputs[:, time], last, atol=1e-5)

    sources = {"embedded": EMBEDDED, "values": VALUES, "summary": SUMMARIES}
    found = {}
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            outcome = unroll(decoder, training=training, **sources)
            loss = tf.reduce_sum(outcome * tf.random.stateless_normal(outcome.shape, [2, 2]))
        np.testing.assert_allclose(outcome, outputs, atol=1e-5)
        weights = {weight.path: weight.value for weight in decoder.trainable_variables}
        found[training] = tape.gradient(loss, {**sources, **weights})
    for name, plain in found[False].items():
        assert np.abs(plain).max() > 1e-3, name
        np.testing.assert_allclose(found[True][name], plain, atol=1e-5, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_last_output_is_fed_back(cell: str) -> None:
    decoder = decoder_of(cell=cell)
    mask = tf.ones_like(MASK)
    before = unroll(decoder, mask=mask)
    kernel = decoder.recurrent["layer_0"]
    kernel.assign(tf.concat([tf.zeros([OUTPUT, kernel.shape[1]]), kernel[OUTPUT:]], axis=0))
    without = unroll(decoder, mask=mask)
    # The first step has no output to be fed; every later one has.
    np.testing.assert_array_equal(without[:, 0], before[:, 0])
    assert np.abs(without - before)[:, 1:].max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(training: bool) -> None:
    decoder = decoder_of(layers=2)
    outputs = unroll(decoder)
    longer = unroll(
        decoder,
        training=training,
        embedded=tf.pad(
            tf.where(MASK[:, :, tf.newaxis], EMBEDDED, 9.0), [[0, 0], [0, 2], [0, 0]], constant_values=-9.0
        ),
        mask=tf.pad(MASK, [[0, 0], [0, 2]]),
        values=tf.pad(
            tf.where(SOURCE_MASK[:, :, tf.newaxis], VALUES, 9.0), [[0, 0], [0, 3], [0, 0]], constant_values=-9.0
        ),
        source_mask=tf.pad(SOURCE_MASK, [[0, 0], [0, 3]]),
    )
    np.testing.assert_allclose(longer[:, :TARGET], outputs, atol=1e-5)


@pytest.mark.parametrize(("cell", "parts"), [("lstm", 2), ("gru", 1)])
def test_initial_state_is_bridged_from_the_summary(cell: str, parts: int) -> None:
    decoder = decoder_of(cell=cell, layers=2)
    state = decoder.initial_state(SUMMARIES)
    np.testing.assert_array_equal(state.output, np.zeros([BATCH, 1, OUTPUT]))
    assert [len(layer) for layer in state.layers] == [parts, parts]
    for bridge, part in zip(decoder.bridges, tf.nest.flatten(state.layers), strict=True):
        expected = np.tanh(doubles(SUMMARIES) @ doubles(bridge.kernel) + doubles(bridge.bias))
        np.testing.assert_allclose(part[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize(("cell", "layers", "residual"), FORMS)
def test_hypotheses_advance_as_if_each_were_alone(cell: str, layers: int, residual: bool) -> None:
    decoder = decoder_of(cell=cell, layers=layers, residual=residual)
    embedded, state = hypotheses(decoder, 3)
    memory = decoder.prepare(VALUES, mask=SOURCE_MASK)
    together = decoder.step(embedded, state, memory)
    for index in range(3):
        here = slice(index, index + 1)
        one = tf.nest.map_structure(lambda tensor, here=here: tensor[:, here], (embedded, state))
        alone = decoder.step(*one, memory)
        for single, all_three in zip(tf.nest.flatten(alone), tf.nest.flatten(together), strict=True):
            np.testing.assert_allclose(single, all_three[:, here], atol=1e-6)


def test_a_new_lstm_remembers() -> None:
    decoder = AttentionDecoder(units=2, output_size=3, attention_units=4, layers=2)
    decoder.build((None, None, 5), (None, None, 6))
    for bias in decoder.biases.values():
        np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("training", [False, True])
def test_half_precision_is_close_and_keeps_its_state_in_float32(training: bool) -> None:
    half = decoder_of("mixed_bfloat16", layers=2)
    outputs = unroll(half, training=training, embedded=tf.cast(EMBEDDED, tf.bfloat16))
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), unroll(decoder_of(layers=2)), atol=0.05)
    embedded, state = hypotheses(half, 1)
    found = half.step(embedded, state, half.prepare(VALUES, mask=SOURCE_MASK))
    assert {tensor.dtype for tensor in tf.nest.flatten(found)} == {tf.float32}


def test_dropout_holds_for_a_whole_sentence_and_only_in_training() -> None:
    # A unit's output is zero exactly where its one input or the unit itself is dropped.
    size, rows, rate = 48, 8, 0.5
    decoder = AttentionDecoder(units=size, output_size=size, attention_units=1, dropout=rate)
    decoder.build((None, None, size), (None, None, 1))
    for weight in (decoder.recurrent["layer_0"], *(bridge.kernel for bridge in decoder.bridges)):
        weight.assign(tf.zeros_like(weight))
    unit = tf.eye(size)
    decoder.input_kernel.assign(tf.concat([0 * unit, 0 * unit, unit, 0 * unit], axis=1))
    decoder.output_kernel.assign(tf.concat([unit, tf.zeros([1, size])], axis=0))

    def run(training: bool) -> np.ndarray:
        return decoder(
            tf.ones([rows, 3, size]),
            mask=tf.ones([rows, 3], tf.bool),
            memory=decoder.prepare(tf.ones([rows, 2, 1]), mask=tf.ones([rows, 2], tf.bool)),
            state=decoder.initial_state(tf.ones([rows, 1])),
            training=training,
        ).numpy()

    assert (run(training=False) > 0).all()
    dropped = run(training=True) == 0
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1], dropped.shape))
    assert dropped[:, 0].mean() == pytest.approx(1 - (1 - rate) ** 2, abs=0.08)
    assert (dropped[0] != dropped[1]).any()  # every sentence has its own
    assert (dropped != (run(training=True) == 0)).any()  # and every batch


@pytest.mark.parametrize("name", ["units", "output_size", "attention_units", "layers"])
def test_sizes_must_be_positive(name: str) -> None:
    sizes = {"units": 1, "output_size": 1, "attention_units": 1, "layers": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name.removeprefix('attention_')} must be at least 1, not 0"):
        AttentionDecoder(**sizes)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cell must be one of \['gru', 'lstm'\], not 'elman'"):
        AttentionDecoder(units=1, output_size=1, attention_units=1, cell="elman")


def test_features_must_be_known() -> None:
    decoder = AttentionDecoder(units=1, output_size=1, attention_units=1)
    with pytest.raises(ValueError, match="must be known"):
        decoder.build((None, None, None), (None, None, 2))


def test_comes_back_from_its_config() -> None:
    decoder = decoder_of(cell="gru", layers=2, residual=True, dropout=0.25, seed=6)
    again = AttentionDecoder.from_config(decoder.get_config())
    assert again.get_config() == decoder.get_config()
    again.build((None, None, FEATURES), (None, None, VALUE_SIZE))
    again.set_weights(decoder.get_weights())
    np.testing.assert_array_equal(unroll(again), unroll(decoder))
