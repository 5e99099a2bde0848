"""Raw text in, tags and entities out: what an exported tagger holds.

Shapes: b sentences, t tokens, e entities, w distinct words.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nlp_rnn.layers.precision import require_unrounded
from nlp_rnn.models.tagger import Tagger
from nlp_rnn.reading import WordReader
from nlp_rnn.splitting import split_words

Answer = dict[str, tf.Tensor]

_TEXT = tf.TensorSpec([None], tf.string, name="text")
_TOKENS = tf.TensorSpec([None, None], tf.string, name="tokens")
_LENGTHS = tf.TensorSpec([None], tf.int32, name="lengths")
_OUTSIDE = "O"


class SpanTags(NamedTuple):
    """A network's tags as parts of spans, and what they are called outside.

    Attributes:
        labels: The spans' labels.
        label_of: int32 (tags,). Which label a tag is of; -1 is outside of all spans.
        begins: bool (tags,). The tag is the first of a span, whatever stands before it.
        ends: bool (tags,). The tag is the last of a span, whatever comes after it.
    """

    labels: tuple[str, ...]
    label_of: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, tags: Sequence[str]) -> "SpanTags":
        """Reads tags in BIO or IOBES."""
        prefixes, names = zip(*(tag.partition("-")[::2] for tag in tags), strict=True)
        labels = tuple(sorted({name for name in names if name}))
        return cls(
            labels=labels,
            label_of=np.array([labels.index(name) if name else -1 for name in names], np.int32),
            begins=np.array([prefix in ("B", "S") for prefix in prefixes]),
            ends=np.array([prefix in ("E", "S") for prefix in prefixes]),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What tags are called outside, in BIO: O first, then B- and I- of each label."""
        return (_OUTSIDE, *(f"{prefix}-{label}" for label in self.labels for prefix in "BI"))

    @property
    def places(self) -> np.ndarray:
        """Which of the names each tag goes by where it is in order, int32 (tags,)."""
        return np.where(self.label_of < 0, 0, 1 + 2 * self.label_of + ~self.begins).astype(np.int32)


class Shown(NamedTuple):
    """A path of tags as it is shown outside.

    Attributes:
        places: int32 (b, t). The tags' places among their names, 0 at padding.
        scores: float32 (b, t). The probability of what the network chose:
            of its tag and of those that go by the same name. 0 at padding.
        starts: bool (b, t). A span's first token.
        ends: bool (b, t). A span's last token.
    """

    places: tf.Tensor
    scores: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor


def shown(path: tf.Tensor, marginals: tf.Tensor, mask: tf.Tensor, spans: SpanTags | None) -> Shown:
    """Returns a path as exports show it, and training measures it.

    Args:
        path: int32 (b, t). The network's tags, 0 at padding.
        marginals: float32 (b, t, tags). Their probabilities, 0 at padding.
        mask: bool (b, t). True = real token, right-padded.
        spans: How tags mark spans. None: they do not, and are their own names.
    """
    if spans is None:
        nowhere = tf.zeros_like(mask)
        return Shown(path, tf.gather(marginals, path, batch_dims=2), nowhere, nowhere)
    merged = tf.linalg.matmul(marginals, np.eye(len(spans.names), dtype=np.float32)[spans.places])
    places, starts, ends = _outlines(path, mask, spans)
    # Of a tag out of order not the name it is given, of which the network thought less.
    scores = tf.gather(merged, tf.gather(spans.places, path), batch_dims=2)
    return Shown(places, scores, starts, ends)


class TaggingModule(tf.Module):
    """A tagger with its words and tags: text to tags, scores and entities.

    Tags that mark spans come out in BIO, whatever scheme the network uses; a
    tag's score is then the sum of the probabilities of what it stands for.

    Args:
        network: computing in float32, or in what its weights are stored in.
        reader: for the words that come in.
        tags: the network's tags.
        spans: whether they mark spans, in BIO or IOBES.
        maximum_length: the most words read of a text.

    Raises:
        ValueError: the network computes in another precision, or has another number of tags.
    """

    def __init__(self, *, network: Tagger, reader: WordReader, tags: Sequence[str], spans: bool, maximum_length: int):
        super().__init__()
        require_unrounded(network)
        if network.arguments["tags"] != len(tags):
            raise ValueError(f"tags must be the network's {network.arguments['tags']}, not {len(tags)}.")
        self.network = network
        self.reader = reader
        self.maximum_length = maximum_length
        self._spans = SpanTags.of(tags) if spans else None
        self._names = self._spans.names if self._spans else tuple(tags)

    @functools.cached_property
    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The functions to export, by the names under which servers offer them; each is traced once."""
        functions = {"serving_default": self.tag_text, "tokens": self.tag_tokens}
        return {name: function.get_concrete_function() for name, function in functions.items()}

    @tf.function(input_signature=[_TEXT], autograph=False)
    def tag_text(self, text: tf.Tensor) -> Answer:
        """Splits texts, string (b,), into words and tags them.

        Returns:
            tokens, tags: string (b, t), "" after a text's last token.
            scores: float32 (b, t). The probability of each tag.
            starts, ends: int32 (b, t). Where tokens are in the text: code
                points, end exclusive, after invalid UTF-8 became U+FFFD.
            lengths: int32 (b,). Tokens of each text.
            truncated: bool (b,). The text had more than `maximum_length` words.

            With tags that mark spans also:
            entity_labels: string (b, e), "" after a text's last entity.
            entity_scores: float32 (b, e). The probability of all its tags.
            entity_starts, entity_ends: int32 (b, e), as `starts` and `ends`.
            entity_counts: int32 (b,).
        """
        words = split_words(text)
        whole = tf.cast(words.tokens.row_lengths(), tf.int32)
        # At least one place, so that no batch is of length 0.
        layout = _layout(whole, tf.clip_by_value(tf.reduce_max(whole), 1, self.maximum_length))
        tokens, starts, ends = (_laid_out(ragged.values, layout) for ragged in words)
        lengths = tf.minimum(whole, self.maximum_length)
        answer = {
            "tokens": tokens,
            "starts": starts,
            "ends": ends,
            "lengths": lengths,
            "truncated": whole > self.maximum_length,
        }
        tagged, entities = self._tag(tokens, lengths)
        return {**answer, **tagged, **self._in_text(entities, starts, ends)}

    @tf.function(input_signature=[_TOKENS, _LENGTHS], autograph=False)
    def tag_tokens(self, tokens: tf.Tensor, lengths: tf.Tensor) -> Answer:
        """Tags sentences that are split already.

        Args:
            tokens: string (b, t). What stands after a sentence's last token is not read.
            lengths: int32 (b,). Tokens of each sentence.

        Returns:
            tags: string (b, t), "" after a sentence's last token; scores: float32 (b, t); lengths: int32 (b,).
            Both are cut at `maximum_length` tokens, and truncated, bool (b,), says where that cut something.
        """
        width = tf.shape(tokens)[1]
        whole = tf.clip_by_value(lengths, 0, width)
        tokens = tf.pad(tokens[:, : self.maximum_length], [[0, 0], [0, tf.cast(width == 0, tf.int32)]])
        lengths = tf.minimum(whole, self.maximum_length)
        tokens = tf.where(tf.sequence_mask(lengths, tf.shape(tokens)[1]), tokens, "")
        tagged, _ = self._tag(tokens, lengths)
        return {**tagged, "lengths": lengths, "truncated": whole > self.maximum_length}

    def _tag(self, tokens: tf.Tensor, lengths: tf.Tensor) -> tuple[Answer, Answer]:
        mask = tf.sequence_mask(lengths, tf.shape(tokens)[1])
        emissions = self.network(self.reader(tokens), mask=mask)
        head: Any = self.network.head
        path, lattice = head.decode_and_infer(emissions, mask=mask)
        tags = shown(path, lattice.marginals, mask, self._spans)
        entities: Answer = {}
        if self._spans is not None:
            entities = _entities(path, tags.starts, tags.ends, self._spans)
            entities["scores"] = head.lattice_span_probabilities(
                lattice, path, starts=entities["starts"], ends=entities["ends"]
            )
        return {"tags": tf.where(mask, tf.gather(self._names, tags.places), ""), "scores": tags.scores}, entities

    def _in_text(self, entities: Answer, starts: tf.Tensor, ends: tf.Tensor) -> Answer:
        """Turns entities' token numbers into offsets, and names the outputs."""
        if not entities:
            return {}
        real = tf.sequence_mask(entities["counts"], tf.shape(entities["starts"])[1])
        last = tf.maximum(entities["ends"] - 1, 0)
        return {
            "entity_labels": entities["labels"],
            "entity_scores": entities["scores"],
            "entity_starts": tf.where(real, tf.gather(starts, entities["starts"], batch_dims=1), 0),
            "entity_ends": tf.where(real, tf.gather(ends, last, batch_dims=1), 0),
            "entity_counts": entities["counts"],
        }


def _outlines(path: tf.Tensor, mask: tf.Tensor, spans: SpanTags) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds where spans begin and end, also in tags that no scheme allows, as a softmax may choose.

    Returns:
        Tags by their places in `SpanTags.names`, int32 (b, t), 0 at padding;
        bool (b, t), the first token of a span; bool (b, t), the last one.
    """
    label = tf.where(mask, tf.gather(spans.label_of, path), -1)
    inside = label >= 0
    before = tf.pad(label[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
    ended = tf.pad(tf.gather(spans.ends, path)[:, :-1], [[0, 0], [1, 0]])
    starts = inside & (tf.gather(spans.begins, path) | (label != before) | ended)
    after = tf.pad((~inside | starts)[:, 1:], [[0, 0], [0, 1]], constant_values=True)
    return tf.where(inside, 1 + 2 * label + tf.cast(~starts, tf.int32), 0), starts, inside & after


def _entities(path: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, spans: SpanTags) -> Answer:
    """Returns `labels` string (b, e), `starts` and `ends`, token numbers int32 (b, e), and `counts` int32 (b,)."""
    counts = tf.math.count_nonzero(starts, axis=1, dtype=tf.int32)
    layout = _layout(counts, tf.maximum(tf.reduce_max(counts), 0))  # the maximum of no row at all is negative
    # As many spans end as begin, in the same order.
    first, last = tf.where(starts), tf.where(ends)
    labels = tf.gather(tf.constant(spans.labels, tf.string), tf.gather(spans.label_of, tf.gather_nd(path, first)))
    return {
        "labels": _laid_out(labels, layout),
        "starts": _laid_out(tf.cast(first[:, 1], tf.int32), layout),
        "ends": _laid_out(tf.cast(last[:, 1], tf.int32) + 1, layout),
        "counts": counts,
    }


def _layout(lengths: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns where the elements of rows (b,) are among those of all rows, int32 (b, width); at padding, past them."""
    first = tf.cumsum(lengths, exclusive=True)[:, tf.newaxis]
    places = tf.range(width)
    return tf.where(places < lengths[:, tf.newaxis], first + places, tf.reduce_sum(lengths))


def _laid_out(values: tf.Tensor, layout: tf.Tensor) -> tf.Tensor:
    """Puts the elements of all rows where `_layout` says; padding is 0 or ""."""
    return tf.gather(tf.pad(values, [[0, 1]]), layout)
