"""Reading ahead: the order of things, and that nobody waits when there are no more."""

import time
from collections.abc import Iterator

import tensorflow as tf

from nlp_rnn.ahead import worked_ahead

SIGNATURE = tf.TensorSpec([None], tf.string)


def numbers() -> Iterator[list[str]]:
    for number in range(50):
        yield [str(number)]


def test_results_come_in_the_order_in_which_things_are_read_each_time_anew() -> None:
    results = worked_ahead(numbers, tf.strings.to_number, signature=SIGNATURE, ahead=3)
    expected = [[float(number)] for number in range(50)]
    for _ in range(2):
        assert [result.tolist() for result in results.as_numpy_iterator()] == expected


def test_the_end_comes_at_once() -> None:
    # Of sequences that end between two looks of tf.data's tuning thread about one in four would wait for the next look.
    results = worked_ahead(numbers, tf.strings.to_number, signature=SIGNATURE, ahead=3)
    assert not results.options().autotune.enabled
    matrix = tf.random.normal([700, 700])
    waited = []
    for _ in range(8):
        for _ in results:
            tf.linalg.matmul(matrix, matrix).numpy()
            last = time.perf_counter()
        waited.append(time.perf_counter() - last)
    assert max(waited) < 0.1
