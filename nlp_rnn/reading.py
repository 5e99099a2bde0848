"""Raw text as a network's inputs, the same way in training and in an export.

Shapes: b texts, t tokens.
"""

import abc
from collections.abc import Callable, Sequence

import tensorflow as tf

from nlp_rnn.splitting import split_words
from nlp_rnn.text import PAD, SentencePieceTokenizer, Tokenizer
from nlp_rnn.words import WordFeatures

Inputs = dict[str, tf.Tensor]

_WORDS_AT_ONCE = 10_000


class WordReader(tf.Module):
    """Words as the inputs of a `WordEncoder`.

    Args:
        features: The vocabulary, characters and shapes of words.
        subwords: Cuts words into pieces, if the network reads them.
    """

    def __init__(self, *, features: WordFeatures, subwords: Tokenizer | None = None):
        super().__init__()
        self.features = features
        self.subwords = subwords

    def __call__(self, tokens: tf.Tensor) -> Inputs:
        """Returns the inputs for words string (b, t), "" at padding."""
        return _placed(tokens, self.encode)

    def encode(self, words: tf.Tensor) -> Inputs:
        """Returns what is read of each word string (words,)."""
        inputs = self.features.encode(words)
        if self.subwords is not None:
            inputs["subwords"] = tf.cast(self.subwords.tokenize(words).to_tensor(PAD), tf.int32)
        return inputs


def _placed(units: tf.Tensor, encode: Callable[[tf.Tensor], Inputs]) -> Inputs:
    """Returns what `encode` reads of the distinct units of (b, t), and each one's place among them."""
    distinct, positions = tf.unique(tf.reshape(units, [-1]))
    inputs = {**encode(distinct), "positions": tf.reshape(positions, tf.shape(units))}
    if "characters" in inputs:
        # No further than the longest of these words: recurrent readers would go on to the longest possible one.
        longest = tf.reduce_max(tf.math.count_nonzero(inputs["characters"], axis=1, dtype=tf.int32), keepdims=True)
        inputs["characters"] = inputs["characters"][:, : tf.maximum(longest[0], 1)]
    return inputs


class TextReader(tf.Module, abc.ABC):
    """Cuts texts into units and turns units into inputs; in between, batches are padded."""

    @abc.abstractmethod
    def cut(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the units of texts, string (b,), as (b, None) of strings or of numbers."""

    def cut_in_training(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Returns the units of training texts: those of `cut`, unless a reader draws them at random."""
        return self.cut(text)

    @abc.abstractmethod
    def inputs(self, units: tf.Tensor) -> Inputs:
        """Returns what a network reads of units (b, t), "" or 0 at padding; all but the mask."""

    @abc.abstractmethod
    def pieces(self, units: tf.Tensor) -> tf.Tensor:
        """Returns units (b, t) as readable strings."""


class SplitTextReader(TextReader):
    """Words found in raw text.

    Args:
        words: Turns words into inputs.
        characters: Whether the network reads the characters of words.
        shapes: Whether it reads their shapes.
    """

    def __init__(self, words: WordReader, *, characters: bool, shapes: bool):
        super().__init__()
        self.words = words
        self.characters = characters
        self.shapes = shapes

    def cut(self, text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        return split_words(text).tokens

    def inputs(self, units: tf.Tensor) -> Inputs:  # noqa: D102
        return _placed(units, self.encode)

    def encode(self, words: tf.Tensor) -> Inputs:
        """Returns what the network reads of each word string (words,)."""
        inputs = self.words.encode(words)
        # What no one reads is not computed: TensorFlow prunes it.
        if not self.shapes:
            del inputs["shapes"]
        if not self.characters:
            del inputs["characters"]
        return inputs

    def pieces(self, units: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return units


class TokenizedTextReader(TextReader):
    """A tokenizer's numbers.

    Args:
        tokenizer: Cuts and numbers texts.
        sampling: If above 0, training texts are cut at random, see
            `SentencePieceTokenizer.sample`; for that tokenizer alone.
    """

    def __init__(self, tokenizer: Tokenizer, *, sampling: float = 0.0):
        super().__init__()
        self.tokenizer = tokenizer
        self.sampling = sampling

    def cut(self, text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        return tf.cast(self.tokenizer.tokenize(text), tf.int32)

    def cut_in_training(self, text: tf.Tensor) -> tf.RaggedTensor:  # noqa: D102
        if self.sampling and isinstance(self.tokenizer, SentencePieceTokenizer):
            return tf.cast(self.tokenizer.sample(text, alpha=self.sampling), tf.int32)
        return self.cut(text)

    def inputs(self, units: tf.Tensor) -> Inputs:  # noqa: D102
        return {"tokens": units}

    def pieces(self, units: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self.tokenizer.pieces(units)


class NumberedWordReader(TextReader):
    """Words that were found before, by their places in a list; what is read of each is known from the start.

    Args:
        reader: Reads the words themselves.
        words: UTF-8, each listed once. The first one's number is 1, and 0 is padding.
    """

    def __init__(self, reader: SplitTextReader, words: Sequence[bytes]):
        super().__init__()
        self._words = tf.constant([b"", *words], tf.string)
        encode = tf.function(reader.encode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        parts = [
            encode(self._words[start : start + _WORDS_AT_ONCE]) for start in range(0, len(words) + 1, _WORDS_AT_ONCE)
        ]
        self._inputs = {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}

    def cut(self, text: tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns the numbers int32 (b, None) that texts are given as."""
        return text

    def inputs(self, units: tf.Tensor) -> Inputs:  # noqa: D102
        return _placed(
            units, lambda distinct: {name: tf.gather(values, distinct) for name, values in self._inputs.items()}
        )

    def pieces(self, units: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.gather(self._words, units)


class NumberedTokenReader(TextReader):
    """Tokens that were found and numbered before.

    Args:
        reader: Reads the texts themselves; its units are numbers.
    """

    def __init__(self, reader: TextReader):
        super().__init__()
        self._reader = reader

    def cut(self, text: tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns the numbers int32 (b, None) that texts are given as."""
        return text

    def inputs(self, units: tf.Tensor) -> Inputs:  # noqa: D102
        return self._reader.inputs(units)

    def pieces(self, units: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._reader.pieces(units)
