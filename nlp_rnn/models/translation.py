"""Raw text in, translation out: what an exported translator holds.

Every operation is one that TensorFlow Serving registers, so that a client
sends sentences and gets sentences, and implements nothing of its own.

Shapes: b batch, n hypotheses, s source length, t target length.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from nlp_rnn.layers.precision import require_unrounded
from nlp_rnn.models.translator import Encoded, Translator
from nlp_rnn.search import Hypotheses
from nlp_rnn.text import EOS, PAD, WHITE_SPACE, Tokenizer

Answer = dict[str, tf.Tensor]

# What short translations may have beyond their source's share.
_FURTHER_TARGET_TOKENS = 20

_BLANK = f"[{WHITE_SPACE}]*"
_TEXT = tf.TensorSpec([None], tf.string, name="text")


class _Source(NamedTuple):
    """Source sentences as the network reads them."""

    tokens: tf.Tensor  # int32 (b, s), each row ended by EOS
    lengths: tf.Tensor  # int32 (b,), the EOS counted
    truncated: tf.Tensor  # bool (b,)
    maximum_lengths: tf.Tensor  # int32 (b,), of the translations


class TranslationModule(tf.Module):
    """A translator with its tokenizers and its search: strings to strings.

    Call arguments, of every signature:
        text: string (b,). Any bytes; invalid UTF-8 is read as U+FFFD. More
            than `maximum_length` tokens are cut off, and `truncated` says so.

    A text without tokens, which is empty or white space only, has the empty
    translation with a score of 0: the network was never shown one, and would
    make something up.

    Args:
        network: computing in float32, or in what its weights are stored in.
        source_tokenizer: for the text that comes in.
        target_tokenizer: for the translations; the same object if shared.
        beam_size, length_penalty, coverage_penalty, minimum_length,
        maximum_length, maximum_length_ratio, n_best: see
            `nlp_rnn.model_config.SearchConfig`.

    Raises:
        ValueError: the network computes in another precision, or its
            vocabularies are not the tokenizers'.
    """

    def __init__(
        self,
        *,
        network: Translator,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        beam_size: int,
        length_penalty: float,
        coverage_penalty: float,
        minimum_length: int,
        maximum_length: int,
        maximum_length_ratio: float,
        n_best: int,
    ):
        super().__init__()
        require_unrounded(network)
        for side, tokenizer in (("source", source_tokenizer), ("target", target_tokenizer)):
            expected = network.arguments[f"{side}_vocabulary_size"]
            if tokenizer.vocabulary_size != expected:
                raise ValueError(
                    f"{side}_tokenizer must have the network's {expected} tokens, not {tokenizer.vocabulary_size}."
                )
        self.network = network
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.maximum_length = maximum_length
        self.maximum_length_ratio = maximum_length_ratio
        self.n_best_size = n_best
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.coverage_penalty = coverage_penalty
        self.minimum_length = minimum_length

    @functools.cached_property
    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The functions to export, by the names under which servers offer them; each is traced once."""
        functions = {"serving_default": self.translate, "n_best": self.n_best, "explain": self.explain}
        return {name: function.get_concrete_function() for name, function in functions.items()}

    @tf.function(input_signature=[_TEXT], autograph=False)
    def translate(self, text: tf.Tensor) -> Answer:
        """Returns `translation` string (b,), `score` float32 (b,) and `truncated` bool (b,).

        A score is the log-probability of the translation, divided by
        ((5 + its tokens) / 6) ** length_penalty, its end counted, plus the
        coverage penalty if there is one.
        """
        source = self._read(text)
        found = self._search(source, self._encode(source), n_best=1)
        return self._best(source, found)

    @tf.function(input_signature=[_TEXT], autograph=False)
    def n_best(self, text: tf.Tensor) -> Answer:
        """Returns `translations` string (b, n), `scores` float32 (b, n), best first, and `truncated` bool (b,).

        The beam is at least n wide. Where there are fewer than n possible
        translations, as of an empty text, the rest are "" with a score of -1e30.
        """
        source = self._read(text)
        found = self._search(source, self._encode(source), n_best=self.n_best_size)
        texts = self._write(found)
        first = tf.range(self.n_best_size) == 0
        scores = tf.where((source.maximum_lengths == 0)[:, tf.newaxis] & first, 0.0, found.scores)
        return {"translations": texts, "scores": scores, "truncated": source.truncated}

    @tf.function(input_signature=[_TEXT], autograph=False)
    def explain(self, text: tf.Tensor) -> Answer:
        """Returns what `translate` does, and what the network looked at.

        Further outputs:
            source_tokens: string (b, s). What was read, the end token counted; "" after that.
            source_lengths: int32 (b,).
            target_tokens: string (b, t). What was written, without the end token; "" after that.
            target_lengths: int32 (b,).
            attention: float32 (b, t, s). The weight of each source token when
                a target token was chosen: rows sum to 1, those of padding to 0.
        """
        source = self._read(text)
        found = self._search(source, self._encode(source), n_best=1, with_attention=True)
        lengths = found.lengths[:, 0]
        assert found.attention is not None
        return {
            **self._best(source, found),
            "source_tokens": _pieces(self.source_tokenizer, source.tokens, source.lengths),
            "source_lengths": source.lengths,
            "target_tokens": _pieces(self.target_tokenizer, found.tokens[:, 0], lengths),
            "target_lengths": lengths,
            "attention": found.attention[:, 0],
        }

    def _read(self, text: tf.Tensor) -> _Source:
        text = self.source_tokenizer.normalize(text)
        text = tf.where(tf.strings.regex_full_match(text, _BLANK), "", text)
        tokens = tf.cast(self.source_tokenizer.tokenize(text), tf.int32)
        whole = tf.cast(tokens.row_lengths(), tf.int32)
        lengths = tf.minimum(whole, self.maximum_length)
        # One place more than the longest text has tokens: no batch is of length 0.
        padded = tf.pad(tokens[:, : self.maximum_length].to_tensor(PAD), [[0, 0], [0, 1]])
        places = tf.range(tf.shape(padded)[1])
        return _Source(
            tokens=tf.where(places == lengths[:, tf.newaxis], EOS, padded),
            lengths=lengths + 1,
            truncated=whole > self.maximum_length,
            maximum_lengths=tf.where(
                lengths == 0,
                0,
                greatest_target_lengths(lengths, ratio=self.maximum_length_ratio, maximum_length=self.maximum_length),
            ),
        )

    def _encode(self, source: _Source) -> Encoded:
        mask = tf.sequence_mask(source.lengths, tf.shape(source.tokens)[1])
        return self.network.encode(source.tokens, mask, training=False)

    def _search(self, source: _Source, encoded: Encoded, *, n_best: int, with_attention: bool = False) -> Hypotheses:
        return self.network.search(
            encoded,
            maximum_lengths=source.maximum_lengths,
            beam_size=max(self.beam_size, n_best),
            n_best=n_best,
            minimum_length=self.minimum_length,
            length_penalty=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            with_attention=with_attention,
        )

    def _best(self, source: _Source, found: Hypotheses) -> Answer:
        return {
            "translation": self._write(found)[:, 0],
            "score": tf.where(source.maximum_lengths == 0, 0.0, found.scores[:, 0]),
            "truncated": source.truncated,
        }

    def _write(self, found: Hypotheses) -> tf.Tensor:
        """Returns the texts of all hypotheses, string (b, n)."""
        flat = tf.reshape(found.tokens, [-1, tf.shape(found.tokens)[2]])
        tokens = tf.RaggedTensor.from_tensor(flat, lengths=tf.reshape(found.lengths, [-1]))
        texts = tf.reshape(self.target_tokenizer.detokenize(tokens), tf.shape(found.lengths))
        return tf.ensure_shape(texts, found.lengths.shape)


def greatest_target_lengths(source_lengths: tf.Tensor, *, ratio: float, maximum_length: int) -> tf.Tensor:
    """Returns how long translations may get, int32 (b,), so that a model that repeats itself comes to an end.

    It depends on each row alone, and so does the translation.

    Args:
        source_lengths: int32 (b,). Tokens of the sources, EOS not counted.
        ratio: the most tokens for each one of the source; any translation may have 20 more.
        maximum_length: the most tokens of any translation.
    """
    wanted = ratio * tf.cast(source_lengths, tf.float32) + _FURTHER_TARGET_TOKENS
    # The least first: a large ratio would not fit into an integer.
    return tf.cast(tf.minimum(wanted, float(maximum_length)), tf.int32)


def _pieces(tokenizer: Tokenizer, tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns the readable forms of tokens (b, t), "" at padding."""
    real = tf.sequence_mask(lengths, tf.shape(tokens)[1])
    return tf.where(real, tokenizer.pieces(tokens), "")
