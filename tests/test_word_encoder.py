"""Words as vectors: their parts side by side, as far as there are any."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.words import WordEncoder

# Of 8 words the first 6 have a trained embedding; 0 is padding and 1 unknown.
INPUTS = {"words": tf.constant([7, 4, 1, 5, 0]), "positions": tf.constant([[1, 0, 3], [2, 1, 1]])}
SUBWORDS = {"subwords": tf.constant([[3, 2], [2, 0], [0, 0], [1, 0], [0, 0]])}
SPELLING = {"characters": tf.constant([[3, 2], [2, 0], [0, 0], [1, 4], [0, 0]])}
SHAPES = {"shapes": tf.constant([1, 2, 3, 1, 0])}


def built(**changes: Any) -> WordEncoder:
    keras.utils.set_random_seed(2)
    layer = WordEncoder(**{
        "word_vocabulary_size": 6, "vector_vocabulary_size": 8, "vector_size": 0, "character_vocabulary_size": 5,
        "shapes": 4, "subword_vocabulary_size": 0, "word_size": 3, "shape_size": 0, "character_encoder": "none",
        "character_embedding_size": 4, "character_size": 4, **changes,
    })  # fmt: skip
    if layer.vectors is not None:
        layer.vectors.set_weights([np.random.default_rng(3).normal(size=(8, layer.vectors.output_dim))])
    return layer


def test_words_alone_are_rows_of_their_table() -> None:
    """Nothing else is asked for, and nothing else is read."""
    layer = built()
    assert (layer.width, layer.shape_embedding, len(layer.weights)) == (3, None, 1)
    (table,) = layer.get_weights()
    np.testing.assert_array_equal(layer(INPUTS), table[[[4, 1, 5], [1, 4, 4]]])


def test_numbers_are_those_of_words_with_a_trained_embedding() -> None:
    layer = built()
    np.testing.assert_array_equal(layer.numbers(INPUTS), [[4, 1, 5], [1, 4, 4]])
    unknown = tf.constant([[False, True, True], [False, True, False]])
    np.testing.assert_array_equal(layer.numbers({**INPUTS, "unknown": unknown}), [[4, 1, 1], [1, 1, 4]])


def test_parts_stand_side_by_side() -> None:
    layer = built(shape_size=2, vector_size=5, subword_vocabulary_size=4)
    found = layer({**INPUTS, **SHAPES, **SUBWORDS}).numpy()
    assert found.shape == (2, 3, layer.width) == (2, 3, 3 + 2 + 5 + 3)
    words, shapes, vectors, pieces = (
        part.get_weights()[0]
        for part in (layer.word_embedding, layer.shape_embedding, layer.vectors, layer.subword_embedding)
    )
    # The second token: a word that only vectors know, in the first row of what is known of the distinct ones.
    np.testing.assert_allclose(
        found[0, 1], np.concatenate([words[1], shapes[1], vectors[7], (pieces[3] + pieces[2]) / 2]), atol=1e-6
    )
    # The fourth: an unknown word without pieces.
    np.testing.assert_allclose(found[1, 0], np.concatenate([words[1], shapes[3], vectors[1], [0] * 3]), atol=1e-6)


@pytest.mark.parametrize("encoder", ["recurrent", "convolution"])
def test_padded_words_and_characters_and_other_rows_change_nothing(encoder: str) -> None:
    layer = built(character_encoder=encoder, subword_vocabulary_size=4)
    inputs = {**INPUTS, **SPELLING, **SUBWORDS}
    together = layer(inputs).numpy()
    assert together.shape == (2, 3, 3 + 3 + 4)
    more = {
        name: tf.pad(value, [[0, 2], [0, 3]][: value.shape.rank])
        if name != "positions"
        else tf.pad(value, [[0, 1]] * 2)
        for name, value in inputs.items()
    }
    np.testing.assert_allclose(layer(more)[:2, :3], together, atol=1e-6)
    alone = {name: value if name != "positions" else value[1:, :2] for name, value in inputs.items()}
    np.testing.assert_allclose(layer(alone)[0], together[1, :2], atol=1e-6)


def test_gradients_reach_all_but_the_vectors() -> None:
    layer = built(shape_size=2, vector_size=5, subword_vocabulary_size=4, character_encoder="convolution")
    inputs = {**INPUTS, **SHAPES, **SUBWORDS, **SPELLING}
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(layer(inputs, training=True)))
    gradients = [tf.convert_to_tensor(found) for found in tape.gradient(total, layer.trainable_variables)]
    assert len(gradients) == len(layer.weights) - 1 == 6
    for gradient in gradients:
        assert np.isfinite(gradient).all() and gradient.numpy().any()
    # Of the words, those that occur: 1, 4 and 5.
    assert gradients[0].numpy().any(axis=1).tolist() == [False, True, False, False, True, True]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_near_float32(precision: str) -> None:
    sizes = {"shape_size": 2, "vector_size": 5, "subword_vocabulary_size": 4, "character_encoder": "recurrent"}
    layer, half = built(**sizes), built(**sizes, dtype=keras.DTypePolicy(precision))
    half.set_weights(layer.get_weights())
    inputs = {**INPUTS, **SHAPES, **SUBWORDS, **SPELLING}
    found = half(inputs)
    assert found.dtype == half.compute_dtype
    np.testing.assert_allclose(tf.cast(found, tf.float32), layer(inputs), atol=3e-2)
