"""Weights in 16 bits under a network that computes in 32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import GRU, LSTM, Bidirectional
from nlp_rnn.layers.precision import StoragePolicy, in_float32, of_scores, of_tables, policy_of
from nlp_rnn.layers.tokens import TokenEmbedding


@pytest.mark.parametrize(
    ("weights", "compute", "scores"),
    [("float32", "float32", "float32"), ("bfloat16", "bfloat16", "float32"), ("float16", "float32", "float32")],
)
def test_what_is_computed_with_weights_of_a_format(weights: str, compute: str, scores: str) -> None:
    policy = policy_of(weights)
    assert (policy.compute_dtype, policy.variable_dtype) == (compute, weights)
    for exact in (of_scores(policy), in_float32(policy)):
        assert (exact.compute_dtype, exact.variable_dtype) == (scores, weights)


def test_what_a_training_in_half_precision_computes_with() -> None:
    mixed = keras.DTypePolicy("mixed_bfloat16")
    assert of_scores(mixed) is mixed
    assert (in_float32(mixed).compute_dtype, in_float32(mixed).variable_dtype) == ("float32", "float32")


@pytest.mark.parametrize("policy", [keras.DTypePolicy("mixed_bfloat16"), policy_of("bfloat16"), policy_of("float16")])
def test_no_table_is_cast_whole(policy: keras.DTypePolicy) -> None:
    table = keras.layers.Embedding(50, 4, dtype=of_tables(policy))
    table.build((None,))
    lookup = tf.function(table).get_concrete_function(tf.TensorSpec([None], tf.int32))
    whole = [operation for operation in lookup.graph.get_operations() if operation.outputs and operation.type == "Cast"]
    assert not whole
    assert table.variable_dtype == lookup.outputs[0].dtype == policy.variable_dtype


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_a_layer_computes_with_the_rounded_numbers(cell: type) -> None:
    """And its mirror image, which is made from its config, has its policy."""
    half = Bidirectional(cell(units=3, dtype=policy_of("float16")), dtype=policy_of("float16"))
    exact = Bidirectional(cell(units=3))
    for layer in (half, exact):
        layer.build((None, None, 2))
    values = [np.random.default_rng(1).normal(size=weight.shape).astype("float32") for weight in exact.weights]
    for mine, theirs, value in zip(half.weights, exact.weights, values, strict=True):
        mine.assign(keras.ops.cast(value, mine.dtype))
        theirs.assign(value.astype(np.float16) if "kernel" in theirs.name else value)
    assert {weight.dtype for weight in half.weights if "kernel" in weight.name} == {"float16"}
    inputs, mask = tf.random.normal([2, 4, 2], seed=1), tf.sequence_mask([4, 2])
    found, expected = (layer(inputs, mask=mask)[0] for layer in (half, exact))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rows_of_a_table_are_cast_and_not_the_table() -> None:
    layer = TokenEmbedding(vocabulary_size=7, embedding_size=5, dtype=policy_of("float16"))
    spec = tf.TensorSpec([None, None], tf.int32)
    function = tf.function(lambda tokens: layer({"tokens": tokens})).get_concrete_function(spec)
    casts = [operation.inputs[0].shape for operation in function.graph.get_operations() if operation.type == "Cast"]
    assert [list(shape) for shape in casts] == [[None, None, 5]]
    assert function(tf.constant([[1, 2]])).dtype == tf.float32


def test_a_policy_survives_its_config() -> None:
    policy = StoragePolicy(compute="float32", storage="bfloat16")
    again = keras.dtype_policies.deserialize(keras.dtype_policies.serialize(policy))
    assert (again.compute_dtype, again.variable_dtype, again.name) == ("float32", "bfloat16", "float32_from_bfloat16")
