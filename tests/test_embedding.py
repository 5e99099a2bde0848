"""Embeddings that are read larger than they are stored."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.embedding import ScaledEmbedding

TABLE = np.float32([[1, -2, 0.5, 3], [0, 1, 2, -1], [4, 0, -1, 1]])


def embedding_of(dtype: str = "float32") -> ScaledEmbedding:
    layer = ScaledEmbedding(3, 4, dtype=dtype)
    layer.build((None,))
    layer.set_weights([TABLE])
    return layer


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_reads_vectors_times_the_root_of_their_width(dtype: str) -> None:
    read = embedding_of(dtype)(tf.constant([[2, 0], [0, 0]]))
    assert read.dtype == keras.DTypePolicy(dtype).compute_dtype
    np.testing.assert_array_equal(tf.cast(read, tf.float32), 2 * TABLE[[[2, 0], [0, 0]]])


def test_stores_and_projects_the_vectors_as_they_are() -> None:
    layer = embedding_of()
    layer(tf.constant([1]))
    np.testing.assert_array_equal(layer.embeddings, TABLE)


def test_gradient_is_scaled_too() -> None:
    layer = embedding_of()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(tf.constant([1, 1, 2])))
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.embeddings))
    np.testing.assert_array_equal(gradient, np.float32([[0] * 4, [4] * 4, [2] * 4]))


def test_comes_back_from_a_file(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((2,), dtype="int32"), embedding_of()])
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again(tf.constant([[0, 2]])), network(tf.constant([[0, 2]])))
