"""Tiny models of each family with random weights: stored, and exported. For the tests of what exports promise."""

from collections.abc import Callable
from pathlib import Path

import classifier_cases
import keras
import numpy as np
import tagger_cases

from nlp_rnn import export, store, text, vocabularies
from nlp_rnn.config import TextConfig
from nlp_rnn.families import TaggingText, TranslationText, build_translator
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.model_config import SearchConfig, TranslatorConfig

SOURCES = ("abc", "hgfedcba", "cab a", "dead beef")


def store_translator(
    path: Path, *, text_config: TextConfig, texts: TranslationText, spread: float = 0.9, **sizes: object
) -> None:
    config = TranslatorRun(
        output=str(path),
        text=text_config,
        model=TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8, **sizes),
        search=SearchConfig(beam_size=3, maximum_length=20, n_best=2),
    )
    network = build_translator(config, texts)
    generator = np.random.default_rng(5)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 1, variable.shape) * spread)
    samples = [{"source": source, "target": "ABC"} for source in SOURCES]
    store.save(path, config=config, network=network, text=texts, metrics={}, samples=samples)


def store_letters(path: Path, *, spread: float = 0.9) -> None:
    """Stores a translator that reads and writes letters, its weights spread so far."""
    normalizer = text.Normalizer(unicode_normalization="nfc", lowercase=False)
    source = text.CharacterTokenizer(vocabulary="abcdefgh ", normalizer=normalizer)
    target = text.CharacterTokenizer(vocabulary="ÄBCDEFG ", normalizer=normalizer)
    config = TextConfig(tokenizer="characters", shared_vocabulary=False)
    store_translator(path, text_config=config, texts=TranslationText(source=source, target=target), spread=spread)


def store_subwords(path: Path) -> None:
    """Stores a translator that reads and writes SentencePiece's pieces."""
    config = TextConfig(vocabulary_size=330, lowercase=True)
    shared = vocabularies.train_tokenizer([f"{one} {other}" for one in SOURCES for other in SOURCES], config)
    store_translator(path, text_config=config, texts=TranslationText(source=shared, target=shared), cell="gru")


def _store_tagger(path: Path, side: TaggingText, **changes: object) -> None:
    samples = [
        {"tokens": sentence, "tags": ["O"] * len(sentence)} for sentence in (*tagger_cases.SENTENCES, ["\ud800"])
    ]
    config, network = tagger_cases.run(str(path), **changes), tagger_cases.network(side, **changes)
    store.save(path, config=config, network=network, text=side, metrics={}, samples=samples)


def store_entities(path: Path) -> None:
    """Stores a tagger that finds entities by a conditional random field."""
    _store_tagger(path, tagger_cases.text())


def store_parts_of_speech(path: Path) -> None:
    """Stores a tagger without spans, with a softmax and a convolution over characters."""
    _store_tagger(path, tagger_cases.text(scheme=None), head="softmax", character_encoder="convolution", cell="gru")


def store_opinions(path: Path) -> None:
    """Stores a classifier of words, with attention to explain itself."""
    side = classifier_cases.text()
    samples = [{"text": text, "label": "good"} for text in classifier_cases.TEXTS]
    config, network = classifier_cases.run(str(path)), classifier_cases.network(side)
    store.save(path, config=config, network=network, text=side, metrics={}, samples=samples)


STORED: dict[str, Callable[[Path], None]] = {
    "letters": store_letters,
    "subwords": store_subwords,
    "entities": store_entities,
    "parts of speech": store_parts_of_speech,
    "opinions": store_opinions,
}
"""What stores each model."""

# What their exports fix otherwise than the models do. SentencePiece's translator searches greedily.
_SETTINGS: dict[str, dict[str, int]] = {
    "letters": {"beam_size": 2, "maximum_length": 12},
    "subwords": {"beam_size": 1},
    "entities": {"maximum_length": 6},
    "parts of speech": {"maximum_length": 30},
}


def write_stored(name: str, path: Path) -> Path:
    """Stores one of `STORED`, the same each time, and returns the model directory."""
    keras.utils.set_random_seed(1)
    STORED[name](path)
    return path


def write(name: str, path: Path, *, weights: str = "float32") -> Path:
    """Stores one of `STORED`, exports it, and returns the model directory."""
    write_stored(name, path)
    export.export_model(path, weights=weights, **_SETTINGS.get(name, {}))
    return path
