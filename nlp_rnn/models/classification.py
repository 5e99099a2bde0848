"""Raw text in, labels and probabilities out: what an exported classifier holds.

Shapes: b texts, t tokens, c labels.
"""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nlp_rnn.layers.precision import require_unrounded
from nlp_rnn.models.classifier import Classifier, Inputs
from nlp_rnn.reading import TextReader

Answer = dict[str, tf.Tensor]

_TEXT = tf.TensorSpec([None], tf.string, name="text")
_PAIR = tf.TensorSpec([None], tf.string, name="text_pair")


class ClassificationModule(tf.Module):
    """A classifier with its reader and labels: text to labels and probabilities.

    Args:
        network: computing in float32, or in what its weights are stored in.
        reader: for the texts that come in.
        labels: the network's labels.
        temperature: what scores are divided by, so that probabilities are as
            sure as they are right (Guo et al., 2017. arXiv:1706.04599).
        threshold: probability from which on a label of several is selected.
        maximum_length: the most tokens read of a text.

    Raises:
        ValueError: the network computes in another precision, or has another number of labels.
    """

    def __init__(
        self,
        *,
        network: Classifier,
        reader: TextReader,
        labels: Sequence[str],
        temperature: float,
        threshold: float,
        maximum_length: int,
    ):
        super().__init__()
        require_unrounded(network)
        if network.arguments["classes"] != len(labels):
            raise ValueError(f"labels must be the network's {network.arguments['classes']}, not {len(labels)}.")
        self.network = network
        self.reader = reader
        self.labels = tuple(labels)
        self.temperature = temperature
        self.threshold = threshold
        self.maximum_length = maximum_length
        # Batches of one text, as of two, come through the same door.
        specs = [_TEXT, _PAIR][: network.arguments["texts"]]
        self._classify = tf.function(self._labelled, input_signature=specs, autograph=False)
        self._explain = tf.function(self._explained, input_signature=specs, autograph=False)

    @functools.cached_property
    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The functions to export, by the names under which servers offer them; each is traced once."""
        explain = {"explain": self._explain} if self.network.members[0].pooling.attention is not None else {}
        functions = {"serving_default": self._classify, **explain}
        return {name: function.get_concrete_function() for name, function in functions.items()}

    def _labelled(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answer:
        """Classifies texts.

        Args:
            text: string (b,).
            text_pair: string (b,). The second text of each example, if examples are pairs.

        Returns:
            labels: string (b, c). All labels, the same of each text.
            probabilities: float32 (b, c). The probability of each.
            truncated: bool (b,). A text had more than `maximum_length` tokens.

            Where one label is right:
            label: string (b,). The most probable one.
            score: float32 (b,). Its probability.

            Where several can be:
            selected: bool (b, c). Those with at least `threshold`.
        """
        return self._answer(text, text_pair)[0]

    def _explained(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Answer:
        """Classifies texts, and tells what the decision leaned on.

        Returns:
            What `serving_default` does, and
            tokens: string (b, t). What was read, "" after a text's last token.
            attention: float32 (b, t). What each token weighs; 0 at padding, 1 together.
            lengths: int32 (b,). Tokens of each text.

            Of pairs also `pair_tokens`, `pair_attention` and `pair_lengths`.
        """
        answer, units, inputs, attention = self._answer(text, text_pair)
        for prefix, read, given, weights in zip(("", "pair_"), units, inputs, attention, strict=False):
            answer[f"{prefix}tokens"] = tf.where(given["mask"], self.reader.pieces(read), "")
            answer[f"{prefix}attention"] = weights
            answer[f"{prefix}lengths"] = tf.reduce_sum(tf.cast(given["mask"], tf.int32), axis=1)
        return answer

    def _answer(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> tuple[Answer, list[Any], list[Inputs], Any]:
        texts = [text] if text_pair is None else [text, text_pair]
        units, inputs, truncated = zip(*map(self._read, texts), strict=True)
        votes = self.network(list(inputs))
        scores = self.network.vote(votes.scores) / self.temperature
        rows = tf.shape(text)[0]
        answer = {
            "labels": tf.tile(tf.constant([self.labels]), tf.stack([rows, 1])),
            "truncated": tf.reduce_any(tf.stack(truncated), axis=0),
        }
        if self.network.multi_label:
            probabilities = tf.sigmoid(scores)
            answer["selected"] = probabilities >= self.threshold
        else:
            probabilities = tf.nn.softmax(scores)
            answer["label"] = tf.gather(tf.constant(self.labels), tf.argmax(probabilities, axis=-1))
            answer["score"] = tf.reduce_max(probabilities, axis=-1)
        return {**answer, "probabilities": probabilities}, list(units), list(inputs), votes.attention

    def _read(self, text: tf.Tensor) -> tuple[tf.Tensor, Inputs, tf.Tensor]:
        """Returns units (b, t), a network's inputs, and bool (b,), whether something was cut off."""
        ragged = self.reader.cut(text)
        whole = ragged.row_lengths()
        units = ragged[:, : self.maximum_length].to_tensor()
        # At least one place, so that no batch is of length 0.
        units = tf.pad(units, [[0, 0], [0, tf.cast(tf.shape(units)[1] == 0, tf.int32)]])
        mask = tf.sequence_mask(tf.minimum(whole, self.maximum_length), tf.shape(units)[1])
        return units, {**self.reader.inputs(units), "mask": mask}, whole > self.maximum_length
