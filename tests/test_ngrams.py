"""Runs of tokens as features: against the same arithmetic on whole numbers of any size."""

from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers import ngrams as module
from nlp_rnn.layers.ngrams import LONGEST, NGramScores

CLASSES, BUCKETS, TIME = 3, 50, 6
# 2 and 3 are the beginning and the end of a row; large numbers wrap around when they are multiplied.
ROWS: list[list[int]] = [[7, 4, 7, 9, 2**31 - 1, 0], [4, 7], [], [9], [7, 4]]
HALVES = ["mixed_bfloat16", "mixed_float16"]


def built(longest: int = 3, buckets: int = BUCKETS, **options: object) -> NGramScores:
    layer = NGramScores(classes=CLASSES, longest=longest, buckets=buckets, **options)
    layer.build((None, None))
    generator = np.random.default_rng(1)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


def padded(rows: Sequence[Sequence[int]], time: int = TIME, padding: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    tokens = np.full((len(rows), time), padding, np.int32)
    for row, numbers in enumerate(rows):
        tokens[row, : len(numbers)] = numbers
    return tf.constant(tokens), tf.sequence_mask([len(row) for row in rows], time)


def signed(number: int) -> int:
    number %= 1 << 64
    return number - (1 << 64) if number >> 63 else number


def run_hash(run: Sequence[int]) -> int:
    """The number of one run: 64 bits that wrap around, and shifts that keep the sign."""
    value = 0
    for token, multiplier in zip(run, module._MULTIPLIERS, strict=False):
        value = signed(value ^ signed((token + 1) * multiplier))
        value = signed(value ^ (value >> 29))
    return value


def runs(row: Sequence[int], longest: int) -> list[list[int]]:
    bounded = [2, *row, 3] if row else []
    return [bounded[i : i + n] for n in range(1, longest + 1) for i in range(len(bounded) - n + 1)]


def buckets(row: Sequence[int], longest: int, count: int = BUCKETS) -> list[int]:
    return [run_hash(run) % count for run in runs(row, longest)]


def scores(layer: NGramScores, found: Sequence[int]) -> np.ndarray:
    table, bias = (weight.astype(np.float64) for weight in layer.get_weights())
    return module._SCALE * table[list(found)].sum(axis=0) / np.sqrt(max(len(found), 1)) + bias


@pytest.mark.parametrize("longest", range(1, LONGEST + 1))
def test_scores_are_the_sums_of_the_runs_rows(longest: int) -> None:
    layer = built(longest)
    tokens, mask = padded(ROWS)
    found = layer(tokens, mask=mask)
    assert found.dtype == tf.float32
    for row, expected in zip(found, ROWS, strict=True):
        np.testing.assert_allclose(row, scores(layer, buckets(expected, longest)), rtol=1e-5, atol=1e-5)


def test_a_run_has_one_hash_wherever_it_stands_and_however_far_it_is_padded() -> None:
    def hashes(rows: Sequence[Sequence[int]], time: int, padding: int = 0) -> list[Counter[int]]:
        tokens, mask = padded(rows, time, padding)
        found = [Counter[int]() for _ in rows]
        for numbers, real in module._runs(tf.cast(tokens, tf.int64), mask, LONGEST):
            for counter, values, there in zip(found, numbers.numpy(), real.numpy(), strict=True):
                counter.update(values[there].tolist())
        return found

    together = hashes(ROWS, TIME)
    assert together == [Counter(map(run_hash, runs(row, LONGEST))) for row in ROWS]
    assert together == hashes(ROWS, TIME + 5, padding=9)
    assert together == [hashes([row], len(row))[0] for row in ROWS]
    assert together == hashes(ROWS[::-1], TIME)[::-1]


def test_padding_changes_no_score_and_a_row_scores_alike_alone() -> None:
    layer = built()
    tokens, mask = padded(ROWS)
    together = layer(tokens, mask=mask)
    garbage, wider = padded(ROWS, TIME + 4, padding=7)
    np.testing.assert_allclose(layer(garbage, mask=wider), together, atol=1e-5)
    for row, numbers in enumerate(ROWS):
        alone, real = padded([numbers], len(numbers))
        np.testing.assert_allclose(layer(alone, mask=real)[0], together[row], atol=1e-5)


def test_the_same_tokens_in_another_order_score_otherwise_but_for_single_ones() -> None:
    rows = [[4, 5, 6], [6, 5, 4], [5, 4, 6]]
    tokens, mask = padded(rows)
    alone = built(1, 10_000)(tokens, mask=mask).numpy()
    np.testing.assert_allclose(alone[1:], alone[:1].repeat(2, axis=0), atol=1e-5)
    pairs = built(2, 10_000)(tokens, mask=mask).numpy()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(pairs[one] - pairs[other]).max() > 0.1


@pytest.mark.parametrize("run", [[2, 4], [4, 3]], ids=["first", "last"])
def test_a_token_at_a_text_s_border_has_a_run_of_its_own(run: list[int]) -> None:
    layer, rows = built(2, 10_000), [[4, 5], [5, 4], [5, 4, 5]]
    table, bias = map(np.zeros_like, layer.get_weights())
    table[run_hash(run) % 10_000] = 1.0
    layer.set_weights([table, bias])
    tokens, mask = padded(rows)
    at_border = [run[1] == row[0] or run[0] == row[-1] for row in rows]
    assert (layer(tokens, mask=mask).numpy()[:, 0] > 0).tolist() == at_border


def test_rows_without_tokens_score_the_bias_alone() -> None:
    layer = built()
    for shape in ((2, 4), (2, 0), (0, 3)):
        found = layer(tf.fill(shape, 7), mask=tf.zeros(shape, tf.bool))
        np.testing.assert_array_equal(found, np.tile(layer.get_weights()[1], (shape[0], 1)).astype(np.float32))


def test_words_score_by_the_runs_of_all_their_characters() -> None:
    layer = built()
    words = [[7, 8, 9], [4], [], [5, 5]]
    characters, mask = padded(words)
    texts = [[0, 1, 0], [3], []]
    positions, there = padded(texts, 4, padding=3)
    found = layer(characters, mask=mask, positions=positions, words_mask=there)
    assert found.shape == (3, CLASSES)
    for row, text in zip(found, texts, strict=True):
        expected = [bucket for word in text for bucket in buckets(words[word], 3)]
        np.testing.assert_allclose(row, scores(layer, expected), rtol=1e-5, atol=1e-5)


def counted(labels: np.ndarray, found: Sequence[Sequence[int]]) -> np.ndarray:
    """What each text's labels come to in the buckets of its runs."""
    total = np.zeros((BUCKETS, labels.shape[1]))
    for label, places in zip(labels, found, strict=True):
        for place in places:
            total[place] += label
    return total


def totals(layer: NGramScores, tokens: tf.Tensor, labels: np.ndarray, **where: tf.Tensor) -> np.ndarray:
    """What is counted in a table that is not empty."""
    table = tf.Variable(tf.ones((BUCKETS, labels.shape[1])))
    layer.count(table, tokens, tf.constant(labels), **where)
    return table.numpy() - 1


def test_runs_are_counted_for_the_labels_of_their_texts() -> None:
    layer = built()
    tokens, mask = padded(ROWS, padding=7)
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]], np.float32)
    expected = counted(labels, [buckets(row, 3) for row in ROWS])
    np.testing.assert_allclose(totals(layer, tokens, labels, mask=mask), expected)


def test_runs_of_characters_are_counted_for_each_text_that_has_their_word() -> None:
    layer, words = built(), [[7, 8, 9], [4], [], [5, 5]]
    characters, mask = padded(words)
    texts = [[0, 1, 0], [3, 0], []]
    positions, there = padded(texts, 4, padding=3)
    labels = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    found = totals(layer, characters, labels, mask=mask, positions=positions, words_mask=there)
    expected = [[bucket for word in text for bucket in buckets(words[word], 3)] for text in texts]
    np.testing.assert_allclose(found, counted(labels, expected))


def weights(within: Sequence[Sequence[float]], altogether: Sequence[float] | None = None) -> np.ndarray:
    """What runs with these counts weigh; the buckets after them never occurred."""
    counts = np.zeros((BUCKETS, CLASSES))
    counts[: len(within)] = within
    total = counts.sum(axis=1)
    total[: len(within)] = counts.sum(axis=1)[: len(within)] if altogether is None else altogether
    layer = built()
    layer.weigh(counts, total)
    found: np.ndarray = layer._weighing.numpy()
    return found


def test_a_run_s_weight_by_hand() -> None:
    """Three classes with 10, 10 and 20 occurrences; the first run has 5 of its 5 in the first class."""
    found = weights([[5, 0, 0], [5, 10, 20]])
    first = abs(np.log((5 + 0.5) / (0 + 1.5) * 3))
    second = abs(np.log((0 + 0.5) / (5 + 1.5) * 3))
    third = abs(np.log((0 + 1) / (5 + 1)))
    assert found[0] == pytest.approx(0.25 * first + 0.25 * second + 0.5 * third, rel=1e-6)


def test_a_run_that_is_spread_as_its_classes_are_tells_nothing_however_large_the_table() -> None:
    """Unequal classes, and many more buckets than occurrences."""
    found = weights([[100, 200, 3000], [1000, 2000, 30000], [5, 0, 0], [0, 13, 0]])
    assert found[:2] == pytest.approx([0, 0], abs=0.05)
    assert found[2:4].min() > 1


def test_a_class_that_no_counted_text_has_changes_no_weight() -> None:
    with_it, without = weights([[6, 0, 0], [3, 9, 0]]), weights([[6, 0, 0], [3, 9, 0]], [6, 12])
    np.testing.assert_allclose(with_it, without)
    two = np.zeros((BUCKETS, 2))
    two[:2] = [[6, 0], [3, 9]]
    alone = NGramScores(classes=2, longest=3, buckets=BUCKETS)
    alone.build((None, None))
    alone.weigh(two, two.sum(axis=1))
    np.testing.assert_allclose(with_it, alone._weighing, rtol=1e-6)


def test_nothing_is_weighed_where_all_texts_have_the_same_labels() -> None:
    np.testing.assert_array_equal(weights([[6, 6, 0], [3, 3, 0]], [6, 3]), 1)
    np.testing.assert_array_equal(weights([[0, 0, 0]]), 1)


def test_a_run_that_was_not_counted_can_still_be_learned() -> None:
    found = weights([[5, 0, 0], [5, 10, 20]])
    np.testing.assert_allclose(found[2:], found[:2].mean(), rtol=1e-6)


def test_settling_changes_no_score_but_by_its_factor() -> None:
    layer = built()
    tokens, mask = padded(ROWS)
    within = np.random.default_rng(2).integers(0, 9, (BUCKETS, CLASSES)).astype(np.float64)
    traced = tf.function(lambda: layer(tokens, mask=mask))
    layer.weigh(within, within.sum(axis=1))
    by_table = layer.get_weights()[0].astype(np.float64) * layer._weighing.numpy()[:, None]
    weighed = traced().numpy()
    layer.settle(1.0)
    np.testing.assert_allclose(layer.get_weights()[0], by_table, rtol=1e-5)
    for row, scored in zip(ROWS, weighed, strict=True):
        np.testing.assert_allclose(scored, scores(layer, buckets(row, 3)), rtol=1e-4, atol=1e-4)
    # What was traced before weighs nothing twice.
    np.testing.assert_allclose(traced(), weighed, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer(tokens, mask=mask), weighed, rtol=1e-5, atol=1e-5)
    layer.settle(3.0)
    np.testing.assert_allclose(layer(tokens, mask=mask), 3 * weighed, rtol=1e-5, atol=1e-5)
    assert len(layer.weights) == 2


def test_runs_spread_evenly_over_the_table() -> None:
    """Ten thousand pairs of a hundred words in a thousand buckets: ten each, with the spread of chance."""
    tokens = tf.constant([[first, second] for first in range(4, 104) for second in range(4, 104)], tf.int64)
    *_, (hashes, _) = module._runs(tokens, tf.ones_like(tokens, tf.bool), 2)
    for count in (1000, 1024):
        filled = np.bincount(hashes[:, 1].numpy() % count, minlength=count)
        spread = ((filled - 10_000 / count) ** 2 / (10_000 / count)).sum() / count  # 1 by chance
        assert spread < 1.3


def test_gradients_are_shared_out_by_runs_and_padding_has_none() -> None:
    layer = built()
    weights = np.random.default_rng(2).normal(size=(len(ROWS), CLASSES)).astype(np.float32)
    tokens, mask = padded(ROWS, padding=7)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(tokens, mask=mask) * weights)
    of_table, of_bias = map(tf.convert_to_tensor, tape.gradient(total, layer.trainable_variables))
    expected = np.zeros((BUCKETS, CLASSES))
    for row, weight in zip(ROWS, weights, strict=True):
        for bucket in (found := buckets(row, 3)):
            expected[bucket] += module._SCALE * weight / np.sqrt(len(found))
    np.testing.assert_allclose(of_table, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_bias, weights.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_changes_no_score(precision: str) -> None:
    layer, half = built(), built(dtype=keras.DTypePolicy(precision))
    tokens, mask = padded(ROWS)
    found = half(tokens, mask=mask)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, layer(tokens, mask=mask))


def test_a_graph_scores_batches_of_any_size() -> None:
    layer = built(LONGEST)
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.bool)]
    graph = tf.function(lambda tokens, mask: layer(tokens, mask=mask), input_signature=specs)
    for rows, time in ((ROWS, TIME), (ROWS[3:4], 1), ([[]], 0)):
        tokens, mask = padded(rows, time)
        np.testing.assert_allclose(graph(tokens, mask), layer(tokens, mask=mask), atol=1e-5)


def test_its_config_rebuilds_it() -> None:
    layer = built()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    copy.set_weights(layer.get_weights())
    tokens, mask = padded(ROWS)
    np.testing.assert_array_equal(copy(tokens, mask=mask), layer(tokens, mask=mask))


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"buckets": 0}, {"longest": 0}, {"longest": 6}])
def test_values_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="classes and buckets must be at least 1, and longest 1 to 5, not "):
        NGramScores(**{"classes": 2, "longest": 2, "buckets": 2, **wrong})
