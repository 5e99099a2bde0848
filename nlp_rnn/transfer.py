"""What a new model takes over of an earlier one: how it reads, its embeddings, and its encoder.

Whatever the families: a classifier can begin with the encoder of a translator
or of a tagger. What comes after the encoder is new, unless both are
translators, whose networks are then the same.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from nlp_rnn.config import ConfigError
from nlp_rnn.families import ClassificationText, TaggingText, TranslationText
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.layers.encoder import RecurrentEncoder
from nlp_rnn.models.classifier import Classifier
from nlp_rnn.models.tagger import Tagger
from nlp_rnn.reading import SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.store import StoredModel
from nlp_rnn.text import Tokenizer

# What the runs of two families call the sizes of what is taken over.
_ENCODER = ("cell", "encoder_size", "encoder_layers", "residual")
_CHARACTERS = ("shape_size", "character_encoder", "character_embedding_size", "character_size")

Weights = Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """The lower half of a stored model.

    Attributes:
        stored: The whole of it.
        reader: Cuts and numbers its texts, or turns its words into inputs.
        vector_size: Width of its pre-trained vectors; 0 if there are none.
        sizes: Of its embedding and its encoder, as `ClassifierConfig` calls them.
        reading: How it reads, as `ReadingConfig` calls it.
        embeddings: The weights of its embedding, of each of its members.
        encoders: The same of its encoder.
    """

    stored: StoredModel
    reader: Tokenizer | WordReader
    vector_size: int
    sizes: dict[str, Any]
    reading: dict[str, Any]
    embeddings: tuple[Weights, ...]
    encoders: tuple[Weights, ...]

    def for_translator(self, run: TranslatorRun) -> tuple[TranslatorRun, TranslationText, Weights]:
        """Returns a run with this translator's sizes and tokenizers in place of its own, those, and all weights."""
        config, text = self.stored.config, self.stored.text
        if not isinstance(config, TranslatorRun) or not isinstance(text, TranslationText):
            raise ConfigError("init_from must be a translator: only its tokenizers and decoder fit a translator.")
        model = dataclasses.replace(config.model, dropout=run.model.dropout)
        return (
            dataclasses.replace(run, model=model, text=config.text),
            text,
            self.stored.network.get_weights(),
        )

    def for_classifier(self, run: ClassifierRun) -> tuple[ClassifierRun, TextReader]:
        """Returns a run with this reading and these sizes in place of its own, and its reader."""
        _require_no_vectors(run.reading.vectors)
        sizes = dict(self.sizes)
        if isinstance(self.reader, Tokenizer):
            sizes |= {"shape_size": 0, "character_encoder": "none"}
        run = dataclasses.replace(
            run,
            model=dataclasses.replace(run.model, **sizes),
            reading=dataclasses.replace(run.reading, **self.reading),
        )
        if isinstance(self.reader, Tokenizer):
            return run, TokenizedTextReader(self.reader, sampling=run.reading.subword_sampling)
        if self.reader.subwords is not None:
            raise ConfigError("init_from must be a model that reads whole words: this tagger reads subwords besides.")
        model = run.model
        return run, SplitTextReader(self.reader, characters=model.reads_characters, shapes=model.shape_size > 0)

    def for_tagger(self, run: TaggerRun) -> tuple[TaggerRun, WordReader]:
        """Returns a run with this reading and these sizes in place of its own, and its reader of words."""
        if not isinstance(self.reader, WordReader):
            raise ConfigError("init_from must be a model that reads words, as taggers do; this one reads tokens.")
        _require_no_vectors(run.words.vectors)
        subwords = self.stored.config.words.subwords if isinstance(self.stored.config, TaggerRun) else 0
        if run.words.subwords not in (0, subwords):
            raise ConfigError(f"subwords must be those of init_from's model, {subwords or 'none'}: leave them out.")
        sizes = dict(self.sizes)
        sizes["word_size"] = sizes.pop("embedding_size")
        words = {name: self.reading[name] for name in ("vocabulary_size", "lowercase", "longest_word")}
        return dataclasses.replace(
            run,
            model=dataclasses.replace(run.model, **sizes),
            words=dataclasses.replace(run.words, subwords=subwords, **words),
        ), self.reader

    def place(self, number: int, *, embedding: Any, encoder: Any) -> None:
        """Gives layers the weights of a member; where there are fewer, they take turns."""
        embedding.set_weights(self.embeddings[number % len(self.embeddings)])
        encoder.set_weights(self.encoders[number % len(self.encoders)])


def _require_no_vectors(path: str | None) -> None:
    if path is not None:
        raise ConfigError("vectors are those of init_from's model, if it has any: leave them out.")


def foundation(stored: StoredModel) -> Foundation:
    """Returns what a stored model has to give."""
    run, text, network = stored.config, stored.text, stored.network
    sizes = {name: getattr(run.model, name) for name in _ENCODER}
    if isinstance(run, TranslatorRun) and isinstance(text, TranslationText):
        settings = {name: getattr(run.text, name) for name in ("lowercase", "unicode_normalization", "subword_model")}
        return Foundation(
            stored=stored,
            reader=text.source,
            vector_size=0,
            sizes={**sizes, "embedding_size": run.model.embedding_size},
            reading={**settings, "tokenizer": text.source.kind, "vocabulary_size": text.source.vocabulary_size},
            embeddings=(network.source_embedding.get_weights(),),
            encoders=(network.encoder.get_weights(),),
        )
    if isinstance(run, TaggerRun) and isinstance(text, TaggingText):
        characters = {name: getattr(run.model, name) for name in _CHARACTERS}
        words = {name: getattr(run.words, name) for name in ("vocabulary_size", "lowercase", "longest_word")}
        return Foundation(
            stored=stored,
            reader=text.reader,
            vector_size=text.vector_size,
            sizes={**sizes, **characters, "embedding_size": run.model.word_size},
            reading={**words, "tokenizer": "words"},
            embeddings=(network.words.get_weights(),),
            encoders=(network.encoder.get_weights(),),
        )
    assert isinstance(run, ClassifierRun) and isinstance(text, ClassificationText)
    names = ("tokenizer", "vocabulary_size", "lowercase", "unicode_normalization", "subword_model", "longest_word")
    return Foundation(
        stored=stored,
        reader=text.reader.words if isinstance(text.reader, SplitTextReader) else text.reader.tokenizer,
        vector_size=text.vector_size,
        sizes={**sizes, **{name: getattr(run.model, name) for name in (*_CHARACTERS, "embedding_size")}},
        reading={name: getattr(run.reading, name) for name in names},
        embeddings=tuple(member.embedding.get_weights() for member in network.members),
        encoders=tuple(member.encoder.get_weights() for member in network.members),
    )


def depths(network: keras.Model) -> list[int]:
    """Returns how far down its network each trainable parameter is: 0 outside of what is taken over.

    The top layer of an encoder is at 1, and the embeddings are below its lowest one.
    """
    found: dict[int, int] = {}
    for embedding, encoder in _taken_over(network):
        layers = encoder.stack.layers
        for place, layer in enumerate(layers):
            found |= {id(variable): len(layers) - place for variable in layer.trainable_variables}
        found |= {id(variable): len(layers) + 1 for variable in embedding.trainable_variables}
    return [found.get(id(variable), 0) for variable in network.trainable_variables]


def _taken_over(network: keras.Model) -> list[tuple[keras.layers.Layer, RecurrentEncoder]]:
    """Returns the embedding and the encoder of a network, or of each of its members."""
    if isinstance(network, Classifier):
        return [(member.embedding, member.encoder) for member in network.members]
    if isinstance(network, Tagger):
        return [(network.words, network.encoder)]
    return [(network.source_embedding, network.encoder)]
