"""What sets the families of models apart: what stands between text and network, and how each is built.

A family's text side is kept in plain files; with a run's configuration it says
all there is to know to build the network.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from nlp_rnn import tags, text, words
from nlp_rnn.config import ConfigError
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.layers.recurrent import Path as TrainingPath
from nlp_rnn.models.classifier import Classifier
from nlp_rnn.models.tagger import TagConstraints, Tagger
from nlp_rnn.models.translator import Translator
from nlp_rnn.reading import SplitTextReader, TextReader, TokenizedTextReader, WordReader
from nlp_rnn.tags import Scheme

_SHARED, _SOURCE, _TARGET = "tokenizer", "source_tokenizer", "target_tokenizer"
_WORDS, _SUBWORDS, _TAGS = "words", "subwords", "tags.json"
_LABELS = "labels.json"

Run = TranslatorRun | TaggerRun | ClassifierRun
Precision: TypeAlias = str | keras.DTypePolicy


@dataclass(frozen=True, kw_only=True)
class TranslationText:
    """A translator's tokenizers.

    Attributes:
        source: For its sources.
        target: For its targets; the same object if they share one.
    """

    source: text.Tokenizer
    target: text.Tokenizer

    def save(self, folder: Path) -> None:
        """Writes both tokenizers, or the one they share."""
        if self.source is self.target:
            self.source.save(folder / _SHARED)
        else:
            self.source.save(folder / _SOURCE)
            self.target.save(folder / _TARGET)

    @classmethod
    def load(cls, folder: Path) -> "TranslationText":
        """Reads what `save` wrote."""
        if (folder / _SHARED).is_dir():
            shared = text.load(folder / _SHARED)
            return cls(source=shared, target=shared)
        _require(folder, _SOURCE, _TARGET)
        return cls(source=text.load(folder / _SOURCE), target=text.load(folder / _TARGET))


@dataclass(frozen=True, kw_only=True)
class TaggingText:
    """A tagger's words and tags.

    Attributes:
        reader: Turns words into inputs.
        tags: All tags, in the order of the network's.
        scheme: How they spell spans, if they do.
        vector_size: Width of the pre-trained vectors; 0 if there are none.
    """

    reader: WordReader
    tags: tuple[str, ...]
    scheme: Scheme | None
    vector_size: int = 0

    def save(self, folder: Path) -> None:
        """Writes the words, the subwords if there are any, and the tags."""
        self.reader.features.save(folder / _WORDS)
        if self.reader.subwords is not None:
            self.reader.subwords.save(folder / _SUBWORDS)
        described = {"tags": self.tags, "scheme": self.scheme, "vector_size": self.vector_size}
        (folder / _TAGS).write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def unseen(self, tokens: Sequence[str]) -> list[bool]:
        """Tells which words of a sentence were not among those that the tagger was trained with."""
        numbers = self.reader.features.encode(tf.constant(list(tokens), tf.string))["words"].numpy()
        return ((numbers == text.UNK) | (numbers >= self.reader.features.word_vocabulary_size)).tolist()

    @classmethod
    def load(cls, folder: Path) -> "TaggingText":
        """Reads what `save` wrote."""
        _require(folder, _WORDS, _TAGS)
        try:
            described = json.loads((folder / _TAGS).read_text(encoding="utf-8"))
            known, scheme, vector_size = tuple(described["tags"]), described["scheme"], int(described["vector_size"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder / _TAGS} is broken ({error!r}): copy it again, or train again.") from error
        subwords = text.load(folder / _SUBWORDS) if (folder / _SUBWORDS).is_dir() else None
        reader = WordReader(features=words.load(folder / _WORDS), subwords=subwords)
        return cls(reader=reader, tags=known, scheme=scheme, vector_size=vector_size)


@dataclass(frozen=True, kw_only=True)
class ClassificationText:
    """A classifier's reader and labels.

    Attributes:
        reader: Turns texts into inputs.
        labels: All labels, in the order of the network's.
        vector_size: Width of the pre-trained vectors; 0 if there are none.
        temperature: What the network's scores are divided by; above 0.
    """

    reader: TextReader
    labels: tuple[str, ...]
    vector_size: int = 0
    temperature: float = 1.0

    def save(self, folder: Path) -> None:
        """Writes the words or the tokenizer, and the labels."""
        if isinstance(self.reader, SplitTextReader):
            self.reader.words.features.save(folder / _WORDS)
        else:
            self.reader.tokenizer.save(folder / _SHARED)
        described = {
            "labels": self.labels,
            "vector_size": self.vector_size,
            "temperature": self.temperature,
            "characters": isinstance(self.reader, SplitTextReader) and self.reader.characters,
            "shapes": isinstance(self.reader, SplitTextReader) and self.reader.shapes,
        }
        (folder / _LABELS).write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ClassificationText":
        """Reads what `save` wrote."""
        _require(folder, _LABELS)
        try:
            described = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
            labels, temperature = tuple(described["labels"]), float(described["temperature"])
            vector_size = int(described["vector_size"])
            characters, shapes = bool(described["characters"]), bool(described["shapes"])
            if not 0 < temperature < math.inf:
                raise ValueError(f"a temperature of {temperature}")
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder / _LABELS} is broken ({error!r}): copy it again, or train again.") from error
        reader: TextReader
        if (folder / _WORDS).is_dir():
            read = WordReader(features=words.load(folder / _WORDS))
            reader = SplitTextReader(read, characters=characters, shapes=shapes)
        else:
            _require(folder, _SHARED)
            reader = TokenizedTextReader(text.load(folder / _SHARED))
        return cls(reader=reader, labels=labels, vector_size=vector_size, temperature=temperature)


Text = TranslationText | TaggingText | ClassificationText


def build_translator(
    run: TranslatorRun,
    texts: TranslationText,
    *,
    precision: Precision = "float32",
    training_path: TrainingPath = "portable",
) -> Translator:
    """Builds the translator that a configuration describes, its weights new.

    Args:
        run: The sizes, and whether both sides share vocabulary and embedding.
        texts: Its tokenizers.
        precision: Number format of the products, as `TrainingConfig.precision`; or a Keras policy.
        training_path: How training computes, see `nlp_rnn.layers.LSTM`.
    """
    return Translator(
        source_vocabulary_size=texts.source.vocabulary_size,
        target_vocabulary_size=texts.target.vocabulary_size,
        share_embeddings=run.text.shared_vocabulary,
        training_path=training_path,
        dtype=keras.dtype_policies.get(precision),
        **asdict(run.model),
    )


def build_tagger(
    run: TaggerRun, texts: TaggingText, *, precision: Precision = "float32", training_path: TrainingPath = "portable"
) -> Tagger:
    """Builds the tagger that a configuration describes, its weights new and its vectors zero.

    Args:
        run: The sizes.
        texts: Its words and tags.
        precision: Number format of the products, as `TrainingConfig.precision`; or a Keras policy.
        training_path: How training computes, see `nlp_rnn.layers.LSTM`.
    """
    sizes = asdict(run.model)
    del sizes["tag_scheme"]
    features, subwords = texts.reader.features, texts.reader.subwords
    allowed = tags.constraints(texts.tags, scheme=texts.scheme)
    return Tagger(
        tags=len(texts.tags),
        constraints=TagConstraints(*(array.tolist() for array in allowed)),
        word_vocabulary_size=features.word_vocabulary_size,
        vector_vocabulary_size=features.vocabulary_size,
        vector_size=texts.vector_size,
        character_vocabulary_size=features.character_vocabulary_size,
        shapes=words.SHAPES,
        subword_vocabulary_size=subwords.vocabulary_size if subwords else 0,
        training_path=training_path,
        dtype=keras.dtype_policies.get(precision),
        **sizes,
    )


def build_classifier(
    run: ClassifierRun,
    texts: ClassificationText,
    *,
    precision: Precision = "float32",
    training_path: TrainingPath = "portable",
) -> Classifier:
    """Builds the classifier that a configuration describes, its weights new and its vectors zero.

    Args:
        run: The sizes.
        texts: Its reader and labels.
        precision: Number format of the products, as `TrainingConfig.precision`; or a Keras policy.
        training_path: How training computes, see `nlp_rnn.layers.LSTM`.
    """
    sizes = asdict(run.model)
    del sizes["threshold"], sizes["tune_vectors"]
    spelling = ("character_encoder", "character_embedding_size", "character_size")
    characters = {name: sizes.pop(name) for name in spelling}
    width, shape_size = sizes.pop("embedding_size"), sizes.pop("shape_size")
    if isinstance(texts.reader, SplitTextReader):
        features = texts.reader.words.features
        embedding = {
            "word_vocabulary_size": features.word_vocabulary_size,
            "vector_vocabulary_size": features.vocabulary_size,
            "vector_size": texts.vector_size,
            "character_vocabulary_size": features.character_vocabulary_size,
            "shapes": words.SHAPES,
            "subword_vocabulary_size": 0,
            "word_size": width,
            "shape_size": shape_size,
            **characters,
        }
    else:
        embedding = {"vocabulary_size": texts.reader.tokenizer.vocabulary_size, "embedding_size": width}
        sizes["character_ngrams"] = 0  # tokens have no characters of their own
    return Classifier(
        classes=len(texts.labels),
        texts=1 if run.data.text_pair_column is None else 2,
        multi_label=run.data.multi_label,
        embedding=embedding,
        training_path=training_path,
        dtype=keras.dtype_policies.get(precision),
        **sizes,
    )


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        name: As it is written beside a model.
        run: What its training is told.
        load_text: Reads its text side from a folder.
        build: Builds its network; arguments as `build_translator`.
    """

    name: str
    run: type
    load_text: Callable[[Path], Any]
    build: Callable[..., keras.Model]


FAMILIES = (
    Family("translator", TranslatorRun, TranslationText.load, build_translator),
    Family("tagger", TaggerRun, TaggingText.load, build_tagger),
    Family("classifier", ClassifierRun, ClassificationText.load, build_classifier),
)


def family_of(run: Run) -> Family:
    """Returns the family whose training a configuration describes."""
    return next(family for family in FAMILIES if isinstance(run, family.run))


def _require(folder: Path, *names: str) -> None:
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ConfigError(
            f"{folder} lacks {', '.join(missing)}: it was written or copied in part. Copy it whole, or train again."
        )
