"""Text to tokens and back: normalisation and three tokenizers, all of them TensorFlow operations.

The same operations run in training and inside an exported graph, so that a
client sends raw text and gets text back. Every tokenizer numbers its special
tokens alike: PAD, UNK, BOS, EOS = 0, 1, 2, 3. How a tokenizer comes by its
vocabulary is in `vocabularies`.
"""

import abc
import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tensorflow_text
from tensorflow_text.python.ops import sentencepiece_tokenizer

from nlp_rnn.config import ConfigError

PAD, UNK, BOS, EOS = range(4)
SPECIAL_PIECES = ("<pad>", "<unk>", "<s>", "</s>")

_FORMAT = 1
_SETTINGS_FILE, _MODEL_FILE = "tokenizer.json", "tokenizer.model"

# All that Python's `str.isspace` and `str.split` take for white space, as a class of characters in a pattern.
WHITE_SPACE = r"\s\v\x1c-\x1f\x{85}\p{Z}"

# ICU lower-cases these by the process's locale (Turkish, Azeri, Lithuanian):
# a server's environment would change what a model reads. They are replaced
# first, as the Unicode Standard has it for all other languages.
_LOCALE_DEPENDENT = {"I": "i", "J": "j", "İ": "i\u0307", "Į": "į", "Ì": "ì", "Í": "í", "Ĩ": "ĩ"}


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Valid UTF-8 in one Unicode normal form, lower-cased if asked.

    Attributes:
        unicode_normalization: The normal form, or `none`.
        lowercase: Full Unicode lower-casing, whatever the process's locale:
            final sigma is known, "İ" becomes "i" and a combining dot, "ẞ"
            becomes "ß", and "ß" stays.

    Raises:
        ConfigError: An unknown normal form.
    """

    unicode_normalization: Literal["none", "nfc", "nfkc"]
    lowercase: bool

    def __post_init__(self) -> None:
        if self.unicode_normalization not in ("none", "nfc", "nfkc"):
            raise ConfigError(f"unicode_normalization must be none, nfc or nfkc, not {self.unicode_normalization!r}.")

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Normalises strings of any shape; doing it twice changes nothing.

        Invalid UTF-8 becomes U+FFFD, and so does U+0000, where
        `tf.strings.lower` would end the text.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        text = tf.strings.regex_replace(text, r"\x00", "\ufffd")
        text = self._compose(text)
        return self.lower(text) if self.lowercase else text

    def lower(self, text: tf.Tensor) -> tf.Tensor:
        """Lower-cases strings that are valid UTF-8 in this normal form, without U+0000, as `__call__` makes them."""
        for capital, small in _LOCALE_DEPENDENT.items():
            text = tf.strings.regex_replace(text, capital, small)
        # Small letters compose where capitals did not: J with a caron has
        # no code point, j with a caron does.
        return self._compose(tf.strings.lower(text, encoding="utf-8"))

    def _compose(self, text: tf.Tensor) -> tf.Tensor:
        if self.unicode_normalization == "none":
            return text
        return tensorflow_text.normalize_utf8(text, self.unicode_normalization.upper())


class Tokenizer(tf.Module, abc.ABC):
    """What all tokenizers have in common.

    A tokenizer is a `tf.Module`: as an attribute of an exported module it
    carries its tables along.

    Attributes:
        normalizer: What happens to text first.
        vocabulary_size: Number of ids, special ones included.
    """

    kind: str
    vocabulary_size: int

    def __init__(self, *, normalizer: Normalizer) -> None:
        super().__init__()
        self.normalizer = normalizer

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """Returns the text (string[b]) as the tokenizer sees it."""
        return self.normalizer(tf.convert_to_tensor(text, tf.string))

    @abc.abstractmethod
    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Normalises and cuts string[b]; returns int32 ids (b, None), without BOS and EOS."""

    @abc.abstractmethod
    def detokenize(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Returns the text string[b] of int32 ids (b, None); special and impossible ids are left out."""

    @abc.abstractmethod
    def pieces(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns readable strings for int32 ids of any shape; impossible ids read as UNK."""

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into a folder, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"format": _FORMAT, "tokenizer": self.kind, **asdict(self.normalizer), **self._settings()}
        text = json.dumps(settings, ensure_ascii=False, indent=1)
        (folder / _SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    def _settings(self) -> dict[str, Any]:
        return {"vocabulary_size": self.vocabulary_size}

    def _ordinary(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """The ids that stand for text: int32 (b, None)."""
        tokens = tf.cast(tokens, tf.int32)
        return tf.ragged.boolean_mask(tokens, (tokens > EOS) & (tokens < self.vocabulary_size))


class _SentencePieceModel(tf.saved_model.experimental.TrackableResource):
    """The model as a resource that stays until the process ends.

    tensorflow-text's own resource has no name. It therefore belongs to the
    operation that made it, and is gone as soon as TensorFlow drops its cached
    operations, as `tf.random.set_seed` does. Named by its content, equal
    models are one.

    The model is an attribute of the operation. A SavedModel makes resources
    in two places, in its graph for servers and in a function for Python: both
    call the one function that holds the operation, so that it is stored once.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        name = "sentencepiece_" + hashlib.sha256(model).hexdigest()
        operations = sentencepiece_tokenizer.gen_sentencepiece_tokenizer
        make = tf.function(lambda: operations.sentencepiece_op(model=model, shared_name=name), autograph=False)
        self._make = make.get_concrete_function()
        _ = self.resource_handle  # makes the resource

    def _create_resource(self) -> tf.Tensor:
        return self._make()


class SentencePieceTokenizer(Tokenizer):
    """Subwords learned by SentencePiece.

    `detokenize(tokenize(x)) == normalize(x)` for every x, spaces, line ends
    and unseen characters included, if the model can spell in bytes
    (`byte_fallback`, which `train_tokenizer` turns on from a vocabulary of 320
    upwards). Without bytes, unseen characters are UNK and get lost.

    A space is put before every text that is not empty, and taken away again,
    so that a word has the same pieces at the start and within a sentence.
    SentencePiece's own way of doing this (`add_dummy_prefix`) loses leading
    spaces.

    Args:
        model: A SentencePiece model as serialised, without a dummy prefix,
            with PAD, UNK, BOS, EOS = 0, 1, 2, 3.
        normalizer: What happens to text first.

    Raises:
        ConfigError: `model` is no SentencePiece model.
    """

    kind = "sentencepiece"

    def __init__(self, *, model: bytes, normalizer: Normalizer) -> None:
        super().__init__(normalizer=normalizer)
        self.model = model
        # The one resource: the model is an attribute of the operation that
        # makes it, so that each further one would store the model again.
        try:
            self._processor = tensorflow_text.SentencepieceTokenizer(model)
            self._processor._model_resource = _SentencePieceModel(model)
            self.vocabulary_size = int(self._processor.vocab_size())
        except tf.errors.OpError as error:
            raise ConfigError("The model given is not a SentencePiece model: train the tokenizer again.") from error

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        text = self.normalize(text)
        return self._processor.tokenize(tf.where(text == "", text, " " + text))

    def sample(self, text: tf.Tensor, *, alpha: float) -> tf.RaggedTensor:
        """Cuts string[b] at random into int32 ids (b, None), likely pieces more often; there is no seed to it.

        Args:
            text: As for `tokenize`.
            alpha: Above 0. The smaller, the more all ways to cut are alike (Kudo, 2018. arXiv:1804.10959).
        """
        text = self.normalize(text)
        sampler = copy.copy(self._processor)
        sampler.nbest_size, sampler.alpha = -1, alpha
        return sampler.tokenize(tf.where(text == "", text, " " + text))

    def detokenize(self, tokens: tf.RaggedTensor) -> tf.Tensor:  # noqa: D102
        text = self._processor.detokenize(self._ordinary(tokens))
        return tf.strings.regex_replace(text, "^ ", "", replace_global=False)

    def pieces(self, tokens: tf.Tensor) -> tf.Tensor:  # noqa: D102
        tokens = tf.convert_to_tensor(tokens, tf.int32)
        # The operation takes the whole process down on an impossible id.
        known = (tokens >= 0) & (tokens < self.vocabulary_size)
        flat = tf.reshape(tf.where(known, tokens, UNK), [-1])
        return tf.reshape(self._processor.id_to_string(flat), tf.shape(tokens))

    def save(self, folder: Path) -> None:  # noqa: D102
        super().save(folder)
        (Path(folder) / _MODEL_FILE).write_bytes(self.model)


class _TableTokenizer(Tokenizer):
    """A tokenizer that looks its units up in a list.

    Args:
        vocabulary: The units, the first of which has the id after EOS.
        normalizer: What happens to text first.
    """

    # What stands between two units in a text.
    separator: str

    def __init__(self, *, vocabulary: Sequence[str], normalizer: Normalizer) -> None:
        super().__init__(normalizer=normalizer)
        units = tuple(vocabulary)
        if not units or len(set(units)) < len(units):
            raise ConfigError("vocabulary must list at least one unit, and none twice: train the tokenizer again.")
        self.vocabulary = units
        self.vocabulary_size = len(SPECIAL_PIECES) + len(units)
        first = len(SPECIAL_PIECES)
        # The special tokens' names are not among the keys: in a text, "<s>" is a word like any other.
        self._ids = _table(units, range(first, self.vocabulary_size), tf.string, tf.int64, UNK)
        self._units = _table(
            range(self.vocabulary_size), SPECIAL_PIECES + units, tf.int64, tf.string, SPECIAL_PIECES[UNK]
        )

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        units = self.split(self.normalize(text))
        return units.with_values(tf.cast(self._ids.lookup(units.values), tf.int32))

    def pieces(self, tokens: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._units.lookup(tf.cast(tokens, tf.int64))

    def detokenize(self, tokens: tf.RaggedTensor) -> tf.Tensor:  # noqa: D102
        tokens = self._ordinary(tokens)
        return tf.strings.reduce_join(tokens.with_values(self.pieces(tokens.values)), axis=-1, separator=self.separator)

    @staticmethod
    @abc.abstractmethod
    def split(text: tf.Tensor) -> tf.RaggedTensor:
        """Cuts normalised text, string[b], into units, string (b, None)."""

    def _settings(self) -> dict[str, Any]:
        return {"vocabulary_size": self.vocabulary_size, "vocabulary": list(self.vocabulary)}


class CharacterTokenizer(_TableTokenizer):
    """Unicode code points.

    `detokenize(tokenize(x)) == normalize(x)` as long as all characters of x
    are in the vocabulary; others are UNK and get lost.

    Args:
        vocabulary: The characters, the first of which has the id after EOS.
        normalizer: What happens to text first.
    """

    kind = "characters"
    separator = ""

    @staticmethod
    def split(text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        return tf.strings.unicode_split(text, "UTF-8")


class WordTokenizer(_TableTokenizer):
    """Words separated by white space, as Python's `str.split` sees it.

    Not exact: white space comes back as one space between two words, and
    words out of the vocabulary are UNK and get lost.

    Args:
        vocabulary: The words, the first of which has the id after EOS.
        normalizer: What happens to text first.
    """

    kind = "words"
    separator = " "

    @staticmethod
    def split(text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        return tf.strings.split(tf.strings.regex_replace(text, f"[{WHITE_SPACE}]+", " "))


def load(folder: Path) -> Tokenizer:
    """Reads a tokenizer that `save` wrote.

    Raises:
        ConfigError: A file is missing, broken, or of another format.
    """
    path = Path(folder) / _SETTINGS_FILE
    try:
        settings = json.loads(_read(path))
        if settings["format"] != _FORMAT:
            raise ConfigError(f"{path} has format {settings['format']!r}; this version reads format {_FORMAT}.")
        kind, size = settings["tokenizer"], settings["vocabulary_size"]
        normalizer = Normalizer(
            unicode_normalization=settings["unicode_normalization"], lowercase=settings["lowercase"]
        )
        tokenizer = _build(kind, settings, normalizer, Path(folder) / _MODEL_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is broken ({error!r}): copy it again or train the tokenizer again.") from error
    if tokenizer.vocabulary_size != size:
        raise ConfigError(
            f"{path} expects a vocabulary of {size}, but its tokenizer has {tokenizer.vocabulary_size}: "
            "the files do not belong together; copy the whole folder again."
        )
    return tokenizer


def _build(kind: str, settings: dict[str, Any], normalizer: Normalizer, model: Path) -> Tokenizer:
    if kind == "sentencepiece":
        try:
            return SentencePieceTokenizer(model=_read(model), normalizer=normalizer)
        except ConfigError as error:
            raise ConfigError(f"{model}: {error}") from error
    if kind == "characters":
        return CharacterTokenizer(vocabulary=settings["vocabulary"], normalizer=normalizer)
    if kind == "words":
        return WordTokenizer(vocabulary=settings["vocabulary"], normalizer=normalizer)
    raise ConfigError(f"tokenizer must be sentencepiece, characters or words, not {kind!r}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Cannot read {path} ({error.strerror}): a tokenizer's folder was expected.") from error


def _table(keys: Iterable, values: Iterable, key_type: tf.DType, value_type: tf.DType, default: Any) -> Any:
    initializer = tf.lookup.KeyValueTensorInitializer(list(keys), list(values), key_type, value_type)
    return tf.lookup.StaticHashTable(initializer, default)
