"""A tiny tagger with random weights, for the tests of what is built on one."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn import families, tags
from nlp_rnn.families import TaggingText
from nlp_rnn.jobs import TaggerRun
from nlp_rnn.model_config import TaggerConfig, WordsConfig
from nlp_rnn.models.tagger import Tagger
from nlp_rnn.reading import WordReader
from nlp_rnn.words import WordFeatures

WORDS = ("the", "in", "anna", "lives", "new", "york", ".", "smith")
SIZES: dict[str, Any] = {
    "word_size": 6, "shape_size": 3, "character_embedding_size": 4, "character_size": 6, "encoder_size": 5,
    "encoder_layers": 2, "dropout": 0.0,
}  # fmt: skip
SENTENCES = (["Anna", "Smith", "lives", "in", "New", "York", "."], ["The", "zebra"], ["York"])


def features(**changes: Any) -> WordFeatures:
    settings: dict[str, Any] = {
        "words": WORDS, "counts": range(len(WORDS), 0, -1), "characters": "AaeinrsYkoNw.h", "lowercase": True,
        "longest_word": 6,
    }  # fmt: skip
    return WordFeatures(**{**settings, **changes})


def text(*, scheme: tags.Scheme | None = "iobes", vector_size: int = 0, **changes: Any) -> TaggingText:
    """Returns the text side: entities in a scheme, or three parts of speech."""
    seen = [f"{prefix}-{label}" for prefix in "BI" for label in ("LOC", "PER")] if scheme else ["NOUN", "VERB", "X"]
    known = tuple(tags.closure(seen, scheme=scheme))
    return TaggingText(
        reader=WordReader(features=features(**changes)), tags=known, scheme=scheme, vector_size=vector_size
    )


def run(output: str = "unused", **changes: Any) -> TaggerRun:
    return TaggerRun(output=output, model=TaggerConfig(**{**SIZES, **changes}), words=WordsConfig(maximum_length=8))


def network(side: TaggingText, *, scale: float = 0.7, precision: str = "float32", **changes: Any) -> Tagger:
    keras.utils.set_random_seed(3)
    built = families.build_tagger(run(**changes), side, precision=precision)
    generator = np.random.default_rng(5)
    for variable in built.weights:
        if variable.dtype == "float32" and "seed" not in variable.path:
            variable.assign(generator.normal(0, scale, variable.shape))
    return built


def padded(sentences: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns words, string (b, t), and their mask."""
    ragged = tf.ragged.constant(list(map(list, sentences)), tf.string, ragged_rank=1)
    return ragged.to_tensor(), tf.sequence_mask(ragged.row_lengths())
