"""What a classifier reads, learned from its training texts: words with their features and vectors, or tokens."""

import itertools
from collections.abc import Iterator

import datasets
import numpy as np
import tensorflow as tf

from nlp_rnn.config import TextConfig
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.reading import SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.splitting import split_words
from nlp_rnn.tasks.words import vectors_of
from nlp_rnn.vocabularies import train_tokenizer
from nlp_rnn.words import learn_features

_TEXTS_AT_ONCE = 1000


def learn_reader(run: ClassifierRun, train_set: datasets.Dataset) -> tuple[TextReader, list[str], np.ndarray]:
    """Learns what a classifier reads of its training texts.

    Args:
        run: What the training was told.
        train_set: With columns `text`, and perhaps `text_pair`.

    Returns:
        The reader, the words that have a pre-trained vector, and these, float32 (words, size).
    """
    settings = run.reading
    if settings.tokenizer != "words":
        pieces = TextConfig(
            tokenizer=settings.tokenizer,
            vocabulary_size=settings.vocabulary_size,
            subword_model=settings.subword_model,
            lowercase=settings.lowercase,
            unicode_normalization=settings.unicode_normalization,
        )
        tokenizer = train_tokenizer(_texts(train_set), pieces)
        reader = TokenizedTextReader(tokenizer, sampling=settings.subword_sampling)
        return reader, [], np.zeros((0, 0), np.float32)
    words, matrix = vectors_of(
        itertools.chain.from_iterable(_words(train_set)),
        path=settings.vectors,
        lowercase=settings.lowercase,
        most=settings.vector_words,
    )
    features = learn_features(
        _words(train_set),
        vocabulary_size=settings.vocabulary_size,
        lowercase=settings.lowercase,
        longest_word=settings.longest_word,
        further_words=words,
    )
    model = run.model
    return (
        SplitTextReader(WordReader(features=features), characters=model.reads_characters, shapes=model.shape_size > 0),
        words,
        matrix,
    )


def _texts(dataset: datasets.Dataset) -> Iterator[str]:
    columns = [name for name in ("text", "text_pair") if name in dataset.column_names]
    for rows in dataset.select_columns(columns).iter(_TEXTS_AT_ONCE):
        for column in columns:
            yield from rows[column]


def _words(dataset: datasets.Dataset) -> Iterator[list[str]]:
    """Gives the words of texts, as they are found in them."""
    columns = [name for name in ("text", "text_pair") if name in dataset.column_names]
    for rows in dataset.select_columns(columns).iter(_TEXTS_AT_ONCE):
        for column in columns:
            for words in split_words(tf.constant(rows[column], tf.string)).tokens.to_list():
                yield [word.decode("utf-8") for word in words]
