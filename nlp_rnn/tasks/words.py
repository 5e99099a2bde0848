"""What tasks over words share."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import datasets
import numpy as np
import tensorflow as tf

from nlp_rnn.text import EOS
from nlp_rnn.vectors import read_vectors
from nlp_rnn.words import WordFeatures

_log = logging.getLogger(__name__)


def vectors_of(words: Iterable[str], *, path: str | None, lowercase: bool, most: int) -> tuple[list[str], np.ndarray]:
    """Reads the pre-trained vectors of training words, and of the most frequent others.

    Args:
        words: The training words.
        path: The file of vectors; None gives none.
        lowercase: Look training words up in lower case.
        most: How many others.

    Returns:
        The words that have a vector, and float32 (words, size).
    """
    if path is None:
        return [], np.zeros((0, 0), np.float32)
    needed = set(words)
    if lowercase:
        needed = {word.lower() for word in needed}
    known, matrix = read_vectors(path, needed=needed, most=most)
    _log.info("%d vectors of %d numbers from %s.", len(known), matrix.shape[1], path)
    return known, matrix


def place_vectors(words: Sequence[str], matrix: np.ndarray, features: WordFeatures) -> np.ndarray:
    """Returns the vectors by the words' numbers; zeros for words without one."""
    placed: np.ndarray = np.zeros((features.vocabulary_size, matrix.shape[1]), np.float32)
    numbers = features.encode(tf.constant(list(words), tf.string))["words"].numpy()
    # Backwards: of words that become one in lower case, the most frequent stays.
    placed[numbers[::-1]] = matrix[::-1]
    placed[: EOS + 1] = 0
    return placed


def mapped(
    dataset: datasets.Dataset, change: Callable[[dict[str, Any]], dict[str, Any]], features: Any = None
) -> datasets.Dataset:
    """Changes every row, on the disk, and without the bars that `datasets` draws over our own."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return dataset.map(change, features=features, load_from_cache_file=False)
    finally:
        if shown:
            datasets.enable_progress_bars()
