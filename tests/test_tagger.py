"""The tagger's network: its features, its invariances, and that it learns."""

import keras
import numpy as np
import pytest
import tagger_cases as cases
import tensorflow as tf

from nlp_rnn.models.tagger import Tagger

# Of cases.SENTENCES: B-PER E-PER O O B-LOC E-LOC O, O S-PER, S-LOC.
TAGS = tf.constant([[2, 4, 0, 0, 1, 3, 0], [0, 8, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0]])


def emissions(network: Tagger, side: cases.TaggingText, sentences: object, **options: bool) -> tf.Tensor:
    words, mask = cases.padded(sentences)
    return network(side.reader(words), mask=mask, **options)


@pytest.mark.parametrize("encoder", ["none", "recurrent", "convolution"])
def test_a_sentence_is_read_alike_alone_and_beside_others(encoder: str) -> None:
    side = cases.text(vector_size=3, further_words=("zebra",))
    network = cases.network(side, character_encoder=encoder)
    together = emissions(network, side, cases.SENTENCES)
    for row, sentence in enumerate(cases.SENTENCES):
        np.testing.assert_allclose(together[row, : len(sentence)], emissions(network, side, [sentence])[0], atol=1e-5)


@pytest.mark.parametrize(("encoder", "same"), [("none", True), ("recurrent", False), ("convolution", False)])
def test_unknown_words_differ_by_their_characters(encoder: str, same: bool) -> None:
    side = cases.text()
    network = cases.network(side, character_encoder=encoder)
    first, second = (emissions(network, side, [["the", word]]) for word in ("oan", "kre"))
    assert np.allclose(first, second, atol=1e-6) == same


def test_characters_end_with_the_longest_word_of_the_batch() -> None:
    reader = cases.text().reader
    assert reader(tf.constant([["York", "a"]]))["characters"].shape == (2, 4)
    assert reader(tf.constant([["Yorkshire", "a"]]))["characters"].shape == (2, 6)  # longest_word
    assert reader(tf.constant([[""]]))["characters"].shape == (1, 1)


def test_case_is_seen_through_shapes_and_characters_alone() -> None:
    side = cases.text()
    inputs = side.reader(tf.constant([["york", "York"]]))
    assert len(set(inputs["words"].numpy())) == 1
    assert len(set(inputs["shapes"].numpy())) == 2


def test_a_word_known_to_vectors_alone_is_read_as_unknown_with_its_vector() -> None:
    side = cases.text(vector_size=3, further_words=("zebra", "gnu"))
    network = cases.network(side, character_encoder="none")
    zebra, gnu, unseen = (emissions(network, side, [[word]]) for word in ("zebra", "gnu", "yak"))
    assert not np.allclose(zebra, gnu, atol=1e-4)
    vectors = network.words.vectors.get_weights()[0]
    vectors[-1] = vectors[-2] = vectors[1]  # all as the unknown word
    network.words.vectors.set_weights([vectors])
    np.testing.assert_allclose(emissions(network, side, [["zebra"]]), emissions(network, side, [["gnu"]]), atol=1e-6)
    np.testing.assert_allclose(emissions(network, side, [["zebra"]]), unseen, atol=1e-6)


def test_vectors_are_not_trained() -> None:
    network = cases.network(cases.text(vector_size=3))
    trained = {variable.path for variable in network.trainable_variables}
    assert len(trained) == len(network.trainable_variables)
    assert not any(variable.path in trained for variable in network.words.vectors.weights)


def test_words_marked_unknown_are_read_as_unknown() -> None:
    side = cases.text()
    network = cases.network(side, character_encoder="none")
    words, mask = cases.padded([["anna", "lives"]])
    inputs = side.reader(words)
    dropped = network({**inputs, "unknown": tf.constant([[True, False]])}, mask=mask)
    np.testing.assert_allclose(dropped, emissions(network, side, [["zzz", "lives"]]), atol=1e-6)


def test_subwords_join_by_their_mean() -> None:
    side = cases.text()
    network = Tagger(**{**cases.network(side).arguments, "subword_vocabulary_size": 6})
    words, mask = cases.padded([["the", "the"]])
    inputs = side.reader(words)
    table = network.words.subword_embedding.get_weights()[0]

    def read(pieces: list[list[int]]) -> np.ndarray:
        return network({**inputs, "subwords": tf.constant(pieces)}, mask=mask).numpy()

    table[5] = (table[3] + table[4]) / 2
    network.words.subword_embedding.set_weights([table])
    np.testing.assert_allclose(read([[3, 4, 0]]), read([[5, 0, 0]]), atol=1e-6)
    assert not np.allclose(read([[3, 4, 0]]), read([[3, 0, 0]]), atol=1e-5)


@pytest.mark.parametrize("head", ["crf", "softmax"])
def test_gradients_reach_every_weight_and_agree_with_finite_differences(head: str) -> None:
    side = cases.text()
    network = cases.network(side, head=head, scale=0.4)
    words, mask = cases.padded(cases.SENTENCES)
    inputs = side.reader(words)

    def loss() -> tf.Tensor:
        total, items = network.loss_sum(inputs, TAGS, mask=mask, training=True)
        assert float(items) == 10
        return total

    with tf.GradientTape() as tape:
        value = loss()
    variables = network.trainable_variables
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(value, [variable.value for variable in variables])]
    generator = np.random.default_rng(1)
    for variable, gradient in zip(variables, gradients, strict=True):
        before, direction = variable.numpy(), generator.normal(size=variable.shape).astype(np.float32)
        sides = []
        for step in (3e-3, -3e-3):
            variable.assign(before + step * direction)
            sides.append(float(loss()))
        variable.assign(before)
        slope = (sides[0] - sides[1]) / 6e-3
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(slope, rel=0.03, abs=0.03), variable.path


def test_it_learns_tags_that_need_context() -> None:
    """A word's tag is whether the word before it is the same."""
    side = cases.text(scheme=None)
    network = cases.network(side, scale=0.3)
    draw = np.random.default_rng(2)
    picks = draw.integers(0, 2, (64, 6))
    words = tf.constant(np.array(cases.WORDS)[picks])
    expected = np.pad((picks[:, 1:] == picks[:, :-1]).astype(np.int32), [[0, 0], [1, 0]])
    mask, inputs = tf.ones(picks.shape, tf.bool), side.reader(words)
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(network.trainable_variables)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            total, items = network.loss_sum(inputs, tf.constant(expected), mask=mask, training=True)
            mean = total / items
        gradients = tape.gradient(mean, [v.value for v in network.trainable_variables])
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    for _ in range(200):
        step()
    path, _ = network.head.decode(network(inputs, mask=mask), mask=mask)
    assert np.mean(path == expected) > 0.97


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_near_float32(precision: str) -> None:
    side = cases.text()
    network, half = cases.network(side, scale=0.3), cases.network(side, scale=0.3, precision=precision)
    found = emissions(half, side, cases.SENTENCES)
    assert found.dtype == tf.float32
    assert half.head.transitions.dtype == "float32"
    words, mask = cases.padded(cases.SENTENCES)
    real = mask.numpy()
    np.testing.assert_allclose(found[real], emissions(network, side, cases.SENTENCES)[real], atol=0.05)


def test_its_config_rebuilds_it() -> None:
    side = cases.text(vector_size=3)
    network = cases.network(side)
    copy = Tagger.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(emissions(copy, side, cases.SENTENCES), emissions(network, side, cases.SENTENCES))
