"""What a tagger knows of words: numbers of words and characters, and their shapes; TensorFlow operations."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_rnn.config import ConfigError
from nlp_rnn.text import EOS, PAD, UNK, Normalizer

_FORMAT = 1
_FILE = "words.json"
_FIRST = EOS + 1
_WORDS_AT_ONCE = 10_000
# A character seen once teaches nothing but what an unknown one means.
_LEAST_CHARACTERS = 2

# What a word looks like; the first that matches counts. 0 is padding, and the last one any other word.
_SHAPES = (
    r"\p{Ll}[\p{Ll}\p{M}]*",  # lower
    r"\p{Lu}\p{M}*",  # X
    r"\p{Lu}\p{M}*[\p{Ll}\p{M}]+",  # Capitalised
    r"[\p{Lu}\p{M}]+",  # CAPITALS
    r"[\p{L}\p{M}]+",  # of no case, or mixedCase
    r"\p{Nd}+",  # 1984
    r"[\p{N}.,:/%-]*\p{N}[\p{N}.,:/%-]*",  # 3.14, 10:30
    r"(?i)(?:https?://|www\.).*|.+@.+\..+",  # addresses
    r"@.+",  # mentions
    r"#.+",  # hashtags
    r"[\p{L}\p{M}\p{N}]+",  # mp3
    r"[\p{M}'’.-]*\p{L}[\p{L}\p{M}'’.-]*",  # n't, U.S.
    r"[\p{P}]+",  # punctuation
    r"[\p{S}\p{M}\x{200D}]+",  # symbols
)
_COMPOSED = Normalizer(unicode_normalization="nfc", lowercase=False)
_LOWERED = Normalizer(unicode_normalization="nfc", lowercase=True)

SHAPES = len(_SHAPES) + 2
"""How many numbers a word's shape can have, that of padding included."""


class WordFeatures(tf.Module):
    """Words as numbers.

    Numbers of words: PAD, UNK, BOS, EOS, then the training words, then those
    that only pre-trained vectors know.

    Args:
        words: The training words, normalised; none is empty.
        counts: How often each occurred.
        further_words: Words of pre-trained vectors; those among `words` are left out.
        characters: Single code points.
        lowercase: Look words up in lower case. Characters and shapes keep their case.
        longest_word: Characters read of a word, at least one: of a longer
            word the first and the last half.

    Attributes:
        word_vocabulary_size: Special and training words.
        vocabulary_size: All words.
        character_vocabulary_size: Special and known characters.
        counts: int32 (word_vocabulary_size,), 0 for the special words.

    Raises:
        ConfigError: There are no words, a word or character occurs twice, a
            word is empty, there is not one count for each word, or
            `longest_word` < 1.
    """

    def __init__(
        self,
        *,
        words: Sequence[str],
        counts: Sequence[int],
        further_words: Sequence[str] = (),
        characters: Sequence[str],
        lowercase: bool,
        longest_word: int,
    ):
        super().__init__()
        self.words, self.characters = tuple(words), tuple(characters)
        known = set(self.words)
        self.further_words = tuple(word for word in dict.fromkeys(further_words) if word not in known)
        if len(known) < len(self.words) or len(set(self.characters)) < len(self.characters):
            raise ConfigError("A word or character is listed twice: train the model again.")
        if not self.words + self.further_words:
            raise ConfigError("There are no words: train the model again, with a vocabulary_size of at least 5.")
        if longest_word < 1:
            raise ConfigError(f"longest_word must be at least 1, not {longest_word}: train the model again.")
        if "" in known or "" in self.further_words:
            raise ConfigError("A word is empty, which stands for padding: train the model again.")
        if len(counts) != len(self.words):
            raise ConfigError(f"There are {len(self.words)} words but {len(counts)} counts: train the model again.")
        self.lowercase = lowercase
        self.longest_word = longest_word
        self.counts = np.array([0] * _FIRST + list(counts), np.int32)
        self.word_vocabulary_size = _FIRST + len(self.words)
        self.vocabulary_size = self.word_vocabulary_size + len(self.further_words)
        self.character_vocabulary_size = _FIRST + len(self.characters)
        everything = self.words + self.further_words
        self._word_ids = _table(tf.constant(everything, tf.string))
        # A table cannot be empty: -1 is no code point.
        self._character_ids = _table(tf.constant([*map(ord, self.characters)] or [-1], tf.int64))

    def encode(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what a network reads of words.

        Args:
            tokens: string (words,). "" is unknown and has no characters.

        Returns:
            words: int32 (words,). UNK if unknown.
            characters: int32 (words, longest_word), PAD on the right, UNK if unknown.
            shapes: int32 (words,), from 1 to SHAPES - 1.
        """
        composed = _COMPOSED(tokens)
        words = _COMPOSED.lower(composed) if self.lowercase else composed
        return {
            "words": tf.cast(self._word_ids.lookup(words), tf.int32),
            "characters": self._characters(composed),
            "shapes": _shapes(composed),
        }

    def _characters(self, tokens: tf.Tensor) -> tf.Tensor:
        points = tf.strings.unicode_decode(tokens, "UTF-8", errors="replace")
        lengths = tf.cast(points.row_lengths(), tf.int32)[:, tf.newaxis]
        places = tf.range(self.longest_word)
        # Of a long word the last characters stand after the first ones.
        skipped = tf.where(places < self.longest_word // 2, 0, tf.maximum(lengths - self.longest_word, 0))
        real = places < lengths
        flat = tf.cast(points.row_starts(), tf.int32)[:, tf.newaxis] + places + skipped
        numbers = tf.cast(self._character_ids.lookup(tf.cast(points.values, tf.int64)), tf.int32)
        numbers = tf.pad(numbers, [[0, 1]], constant_values=PAD)
        return tf.gather(numbers, tf.where(real, flat, tf.size(numbers) - 1))

    def save(self, folder: Path) -> None:
        """Writes the words into a folder, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "format": _FORMAT,
            "lowercase": self.lowercase,
            "longest_word": self.longest_word,
            "characters": self.characters,
            "words": self.words,
            "counts": self.counts[_FIRST:].tolist(),
            "further_words": self.further_words,
        }
        text = json.dumps(settings, ensure_ascii=False, indent=1)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> WordFeatures:
    """Reads words that `WordFeatures.save` wrote.

    Raises:
        ConfigError: The file is missing, broken, or of another format.
    """
    path = Path(folder) / _FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        version = settings.pop("format")
        if version != _FORMAT:
            raise ConfigError(f"{path} has format {version!r}; this version reads format {_FORMAT}.")
        return WordFeatures(**settings)
    except OSError as error:
        raise ConfigError(f"Cannot read {path} ({error.strerror}): the words of a model were expected.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is broken ({error!r}): copy it again or train the model again.") from error


def learn_features(
    sentences: Iterable[Sequence[str]],
    *,
    vocabulary_size: int,
    lowercase: bool,
    longest_word: int,
    further_words: Sequence[str] = (),
) -> WordFeatures:
    """Counts words and characters; the same sentences give the same numbers.

    Args:
        sentences: Training sentences, as words.
        vocabulary_size: Most words kept, the special ones included.
        lowercase: See `WordFeatures`, as for all that follow.
        longest_word: See there.
        further_words: See there; normalised here.

    Raises:
        ConfigError: There are no words.
    """
    normalizer = _LOWERED if lowercase else _COMPOSED
    words, characters = Counter[str](), Counter[str]()
    for batch in _batches(itertools.chain.from_iterable(sentences)):
        characters.update(itertools.chain.from_iterable(_normalized(batch, _COMPOSED)))
        words.update(_normalized(batch, normalizer))
    if not words:
        raise ConfigError("There are no words to learn from: the training set is empty.")
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0]))[: max(0, vocabulary_size - _FIRST)]
    return WordFeatures(
        words=[word for word, _ in ordered],
        counts=[count for _, count in ordered],
        further_words=[word for batch in _batches(further_words) for word in _normalized(batch, normalizer)],
        characters=sorted(character for character, count in characters.items() if count >= _LEAST_CHARACTERS),
        lowercase=lowercase,
        longest_word=longest_word,
    )


def _batches(words: Iterable[str]) -> Iterator[list[str]]:
    """Gives words many at a time; empty ones, which stand for padding, are left out."""
    iterator = filter(None, words)
    while batch := list(itertools.islice(iterator, _WORDS_AT_ONCE)):
        yield batch


def _normalized(words: Sequence[str], normalizer: Normalizer) -> list[str]:
    encoded = tf.constant([word.encode("utf-8", "surrogatepass") for word in words], tf.string)
    return [word.decode("utf-8") for word in normalizer(encoded).numpy()]


def _shapes(tokens: tf.Tensor) -> tf.Tensor:
    matches = [tf.strings.regex_full_match(tokens, pattern) for pattern in _SHAPES]
    matches.append(tf.ones_like(matches[0]))
    # Of all that match, the first.
    return 1 + tf.argmax(tf.cast(tf.stack(matches), tf.int32), axis=0, output_type=tf.int32)


def _table(keys: tf.Tensor) -> Any:
    numbers = tf.range(_FIRST, _FIRST + tf.size(keys), dtype=tf.int32)
    initializer = tf.lookup.KeyValueTensorInitializer(keys, tf.cast(numbers, tf.int64))
    return tf.lookup.StaticHashTable(initializer, UNK)
