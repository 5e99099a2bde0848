"""The best path and the marginals from one loop, against all paths one by one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.chains import Scores, _follow, best_path, best_path_and_marginals

TAGS = 3
_EMISSIONS, _MASK = tf.TensorSpec([None, None, TAGS]), tf.TensorSpec([None, None], tf.bool)


def numbers(time: int) -> tuple[np.ndarray, list[int], Scores]:
    """Sentences of all lengths up to `time`, their lengths, and scores; small integers, so that ties abound."""
    generator = np.random.default_rng(time)
    shapes = ((TAGS, TAGS), (TAGS,), (TAGS,))
    scores = Scores(*(tf.constant(generator.integers(-1, 2, shape), tf.float32) for shape in shapes))
    emissions = generator.integers(-1, 2, (time + 1, time, TAGS)).astype(np.float32)
    return emissions, list(range(time, -1, -1)), scores


def all_paths(emissions: np.ndarray, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Returns all paths (paths, length) of a sentence that has a token, and what they score, float64 (paths,)."""
    length = len(emissions)
    transitions, start, end = (part.numpy().astype(np.float64) for part in scores)
    paths = np.array(list(itertools.product(range(TAGS), repeat=length)))
    total = start[paths[:, 0]] + end[paths[:, -1]] + transitions[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return paths, total + emissions[np.arange(length), paths].sum(axis=1)


@pytest.mark.parametrize("time", range(1, 8))
def test_the_path_is_the_best_and_of_equal_ones_that_of_the_lowest_tags_from_the_end_on(time: int) -> None:
    emissions, lengths, scores = numbers(time)
    mask = tf.sequence_mask(lengths, time)
    alone, beside = best_path(emissions, mask, scores), best_path_and_marginals(emissions, mask, scores)[0]
    assert alone.dtype == tf.int32
    ties = 0
    for row, length in enumerate(lengths):
        if length:
            paths, total = all_paths(emissions[row, :length], scores)
            best = paths[total == total.max()].tolist()
            ties += len(best) > 1
            wanted = min(best, key=lambda path: path[::-1])
            assert alone[row].numpy().tolist() == wanted + [wanted[-1]] * (time - length)
    np.testing.assert_array_equal(alone, beside)
    assert ties or time < 3


@pytest.mark.parametrize("time", range(1, 8))
def test_marginals_and_filtered_scores_are_sums_over_all_paths(time: int) -> None:
    emissions, lengths, scores = numbers(time)
    _, filtered, marginals = best_path_and_marginals(emissions, tf.sequence_mask(lengths, time), scores)
    assert np.isfinite(filtered).all() and np.isfinite(marginals).all()
    for row, length in enumerate(lengths):
        for place in range(length):
            # What is known of a tag from the tokens so far is the marginal of a sentence that ends there, without an
            # end's score.
            paths, total = all_paths(emissions[row, : place + 1], scores._replace(end=tf.zeros([TAGS])))
            so_far = np.bincount(paths[:, place], np.exp(total), TAGS)
            np.testing.assert_allclose(tf.nn.softmax(filtered[row, place]), so_far / so_far.sum(), atol=1e-6)
            paths, total = all_paths(emissions[row, :length], scores)
            whole = np.bincount(paths[:, place], np.exp(total), TAGS)
            np.testing.assert_allclose(marginals[row, place], whole / whole.sum(), atol=1e-6)


def test_pointers_are_followed_as_one_by_one() -> None:
    generator = np.random.default_rng(0)
    for time in (*range(1, 19), 100):
        lengths = np.append(generator.integers(time + 1, size=3), [time, 1, 0])
        mask = tf.sequence_mask(lengths, time)
        pointers = generator.integers(TAGS, size=(6, time, TAGS)).astype(np.int32)
        last = generator.integers(TAGS, size=6).astype(np.int32)
        expected = np.repeat(last[:, np.newaxis], time, axis=1)
        for row, length in enumerate(lengths):
            for place in range(length - 2, -1, -1):
                expected[row, place] = pointers[row, place, expected[row, place + 1]]
        np.testing.assert_array_equal(_follow(tf.constant(pointers), mask, tf.constant(last)), expected)


def test_one_graph_serves_all_shapes_and_long_sentences_cost_no_digits() -> None:
    """Where transitions count nothing, a tag's marginal is the softmax of its own emissions."""
    zeros = Scores(tf.zeros([TAGS, TAGS]), tf.zeros([TAGS]), tf.zeros([TAGS]))

    @tf.function(input_signature=[_EMISSIONS, _MASK], autograph=False)
    def both(emissions: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return best_path_and_marginals(emissions, mask, zeros)

    for batch, time in ((0, 3), (1, 1), (2, 2), (1, 700)):
        emissions = tf.random.stateless_uniform([batch, time, TAGS], [batch, time], -5.0, 5.0)
        path, _, marginals = both(emissions, tf.ones([batch, time], tf.bool))
        np.testing.assert_array_equal(path, tf.argmax(emissions, axis=-1))
        np.testing.assert_allclose(marginals, tf.nn.softmax(emissions), atol=1e-5)
