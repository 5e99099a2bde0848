"""What Python reads, put into TensorFlow's hands ahead of whoever waits for it."""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

_THREADS = 2


def worked_ahead(
    read: Callable[[], Iterable[Any]], work: Callable[[Any], Any], *, signature: Any, ahead: int
) -> tf.data.Dataset:
    """Returns what TensorFlow makes of each thing that Python reads, in the order in which it reads them.

    `tf.data` does not tune itself here: there is nothing to tune, and a thread
    of its that sleeps for 10 ms, then 20, 40 and so on up to a minute now and
    then is not woken when the last element was taken. Whoever asked for the next
    one then waits for it: an epoch of 90 seconds lasts 142.

    Args:
        read: begins reading.
        work: turns one thing into tensors, as TensorFlow operations.
        signature: the `tf.TensorSpec` of what is read, or a structure of them.
        ahead: how many results are kept ready.
    """
    dataset = tf.data.Dataset.from_generator(read, output_signature=signature)
    # There are no conditions of Python in it to be made operations of, and looking for them takes as long as tracing.
    as_it_is = tf.autograph.experimental.do_not_convert(work)
    dataset = dataset.map(as_it_is, num_parallel_calls=_THREADS, deterministic=True).prefetch(ahead)
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
