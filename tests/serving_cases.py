"""Tiny models of each family as their exports hold them, and what every client must answer alike."""

import math
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tagger_cases
import tensorflow as tf

from nlp_rnn import export, families
from nlp_rnn.answers import Client
from nlp_rnn.config import DataConfig
from nlp_rnn.families import ClassificationText
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ClassifierConfig
from nlp_rnn.models.classification import ClassificationModule
from nlp_rnn.models.tagging import TaggingModule
from nlp_rnn.models.translation import TranslationModule
from nlp_rnn.models.translator import Translator
from nlp_rnn.reading import TokenizedTextReader
from nlp_rnn.text import CharacterTokenizer, Normalizer

# Lengths rise and fall, so that batches by length are not those by order.
TEXTS = ("dead beef", "abc", "", "hgfedcba", "a", "\udc80", b"a\xffb", "abcdefgh" * 3)
# With NUL, quotes, a line break, other scripts, what JSON escapes, and more words than are read.
FURTHER_TEXTS = (
    "a\0b", 'Anna "Smith"\nlives in New\\York.', "漢字 \N{WAVING HAND SIGN} é", "\u2028", " ", "a b c d e f g h i j",
)  # fmt: skip
SENTENCES = (("Anna", "Smith", "lives"), (), ("York",), (b"a\xffb", "\udc80", "", "漢字"), tuple("abcdefghij"))


def translation_module() -> TranslationModule:
    normalizer = Normalizer(unicode_normalization="nfc", lowercase=False)
    source = CharacterTokenizer(vocabulary="abcdefgh ", normalizer=normalizer)
    target = CharacterTokenizer(vocabulary="ÄBCDEFG ", normalizer=normalizer)
    network = Translator(
        source_vocabulary_size=source.vocabulary_size, target_vocabulary_size=target.vocabulary_size,
        share_embeddings=False, tie_embeddings=False, embedding_size=8, cell="gru",
        encoder_size=8, encoder_layers=1, decoder_size=8, decoder_layers=1, attention_size=8, residual=False,
        dropout=0.0,
    )  # fmt: skip
    generator = np.random.default_rng(6)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 0.9, variable.shape))
    return TranslationModule(
        network=network, source_tokenizer=source, target_tokenizer=target, beam_size=2, length_penalty=1.0,
        coverage_penalty=0.0, minimum_length=0, maximum_length=20, maximum_length_ratio=2.0, n_best=3,
    )  # fmt: skip


def tagging_module() -> TaggingModule:
    """Finds entities."""
    side = tagger_cases.text()
    network = tagger_cases.network(side, head="crf")
    return TaggingModule(network=network, reader=side.reader, tags=side.tags, spans=True, maximum_length=8)


def pair_classification_module() -> ClassificationModule:
    """Chooses one label for each pair of texts, and looks at their characters."""
    tokenizer = CharacterTokenizer(
        vocabulary="abcdefgh ", normalizer=Normalizer(unicode_normalization="nfc", lowercase=True)
    )
    side = ClassificationText(reader=TokenizedTextReader(tokenizer), labels=("yes", "nö", "maybe"))
    run = ClassifierRun(
        output="unused", data=DataConfig(text_pair_column="second"),
        model=ClassifierConfig(embedding_size=4, encoder_size=4, attention_size=4, dropout=0.0),
    )  # fmt: skip
    network = families.build_classifier(run, side)
    generator = np.random.default_rng(7)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 0.9, variable.shape))
    return ClassificationModule(
        network=network, reader=side.reader, labels=side.labels, temperature=1.0, threshold=0.5, maximum_length=20,
    )  # fmt: skip


def save(module: tf.Module, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    export.write_saved_model(module, folder, {})


def answers(client: Client) -> dict[str, list[Any]]:
    """Calls every method that the model's family has."""
    texts = [*TEXTS, *FURTHER_TEXTS]
    if client.family == "tagger":
        return {"predict": client.predict(texts), "tag": client.tag(SENTENCES)}
    if client.family == "classifier":
        # Those of single texts refuse pairs, and those without attention have no explain.
        signatures = client._signatures()
        pairs = texts[::-1] if "text_pair" in signatures["serving_default"].inputs else None
        methods = {"predict": client.predict, "explain": client.explain}
        return {
            name: method(texts, pairs=pairs)
            for name, method in methods.items()
            if name == "predict" or name in signatures
        }
    return {"predict": client.predict(texts), "n_best": client.n_best(texts), "explain": client.explain(texts)}


def close(one: Any, other: Any) -> bool:
    """Compares answers, numbers up to what float32 products differ by from machine to machine."""
    if isinstance(one, (list, tuple)):
        return isinstance(other, type(one)) and len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)
    if isinstance(one, dict):
        return isinstance(other, dict) and close(list(one.items()), list(other.items()))
    if is_dataclass(one):
        return type(one) is type(other) and close(vars(one), vars(other))
    return one == other
