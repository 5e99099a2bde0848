"""A tiny classifier with random weights, for the tests of what is built on one."""

from typing import Any

import keras
import numpy as np
import tagger_cases
import tensorflow as tf

from nlp_rnn import families
from nlp_rnn.config import DataConfig
from nlp_rnn.families import ClassificationText
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ClassifierConfig, ReadingConfig
from nlp_rnn.models.classifier import Classifier
from nlp_rnn.reading import SplitTextReader, TokenizedTextReader, WordReader
from nlp_rnn.text import CharacterTokenizer, Normalizer

LABELS = ("bad", "fair", "good")
SIZES: dict[str, Any] = {
    "embedding_size": 6, "encoder_size": 5, "attention_size": 4, "dropout": 0.0, "ngrams": 2, "character_ngrams": 3,
    "ngram_buckets": 64, "pools": ("last", "max", "mean", "attention"),
}  # fmt: skip
TEXTS = ("Anna Smith lives in New York.", "The zebra", "York", "")


def text(*, characters: bool = True, **changes: Any) -> ClassificationText:
    """Returns the text side: words, and a temperature that is not 1."""
    reader = SplitTextReader(WordReader(features=tagger_cases.features()), characters=characters, shapes=False)
    return ClassificationText(**{"reader": reader, "labels": LABELS, "temperature": 1.5, **changes})


def characters() -> ClassificationText:
    normalizer = Normalizer(unicode_normalization="nfc", lowercase=True)
    reader = TokenizedTextReader(CharacterTokenizer(vocabulary="abcdefghijklmnopqrstuvwxyz ", normalizer=normalizer))
    return text(reader=reader)


def run(output: str = "unused", *, data: DataConfig | None = None, **changes: Any) -> ClassifierRun:
    return ClassifierRun(
        output=output,
        data=data or DataConfig(),
        model=ClassifierConfig(**{**SIZES, **changes}),
        reading=ReadingConfig(maximum_length=8),
    )


def network(
    side: ClassificationText,
    *,
    scale: float = 0.7,
    precision: str = "float32",
    data: DataConfig | None = None,
    **changes: Any,
) -> Classifier:
    keras.utils.set_random_seed(3)
    built = families.build_classifier(run(data=data, **changes), side, precision=precision)
    generator = np.random.default_rng(5)
    for variable in built.weights:
        if variable.dtype == "float32" and "seed" not in variable.path:
            variable.assign(generator.normal(0, scale, variable.shape))
    return built


def read(side: ClassificationText, texts: Any, *, width: int | None = None) -> dict[str, tf.Tensor]:
    """Returns a network's inputs, padded to a width."""
    cut = side.reader.cut(tf.constant(list(texts), tf.string))
    units = cut.to_tensor(shape=[None, max(width or 0, int(cut.bounding_shape()[1]), 1)])
    return {**side.reader.inputs(units), "mask": tf.sequence_mask(cut.row_lengths(), tf.shape(units)[1])}
