"""A linear-chain conditional random field: the probability of a whole sequence of tags.

One recursion over time gives each tag's score from those before it: with the
logarithm of a sum the filtered scores, with the maximum Viterbi's. All that uses
them needs scores only up to a constant per token. Hence the largest is taken off
at each step, and float32 keeps its digits in sequences of any length.

The filtered scores give the probability of a tag once the next one is known,

    P(y_t = i | y_t+1 = j, x) = softmax over i of filtered[t, i] + transitions[i, j].

A path's probability is a product of these; in training, they are applied over and
over to the last token's distribution, and gradients are observed less expected
counts. A large partition function, and what it lacks to a large path score, never
appear. Inference has a loop of its own, for the best path and the marginals at
once: see `nlp_rnn.layers.chains`. The sums stay in the log domain in both.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.layers import chains
from nlp_rnn.layers.masked import MaskedLayer, check_mask

# Added to the score of what is forbidden. Its exponential is exactly 0, yet it is finite, so that no difference is NaN.
FORBIDDEN = -1e4


class Lattice(NamedTuple):
    """What is known of a batch before any path is chosen; see `ConditionalRandomField.infer`.

    Attributes:
        filtered: float32 (batch, time, tags). Logarithms of the probabilities
            of the tags given the emissions so far, each token's up to a constant.
        marginals: float32 (batch, time, tags). Probabilities of the tags given
            all emissions; 0 at padding.
    """

    filtered: tf.Tensor
    marginals: tf.Tensor


@keras.saving.register_keras_serializable(package="nlp_rnn")
class ConditionalRandomField(MaskedLayer):
    """A linear-chain conditional random field over tags.

    The score of a path of tags y_1 .. y_n is

        start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]

    and its probability the softmax of the scores over all paths. What is forbidden
    scores 1e4 less, in training as in decoding, which no sensible emissions make up
    for: it has the probability 0 and is never decoded, unless all paths break rules.

    All is computed in float32, whatever the policy. `build` it before its methods are called.

    Args:
        tags: int >= 1. How many tags there are.
        allowed_starts: bool (tags,). Which tags may come first. None: all.
        allowed_transitions: bool (tags, tags). [i, j]: whether tag j may follow
            tag i. None: all.
        allowed_ends: bool (tags,). Which tags may come last. None: all.

    Call arguments:
        emissions: float (batch, time, tags). Each token's score for each tag.
        mask: bool (batch, time). True = real token, right-padded.

    Returns:
        The best path, see `decode`.

    Masking:
        Padding has no part in any path; its emissions and tags may be anything.
        A row without real tokens has the empty path, of score 0 and probability 1.

    Raises:
        ValueError: `tags` < 1; rules of another shape, or without any start or end; emissions of another width.

    Reference:
        Lafferty, McCallum and Pereira (2001), Conditional random fields. ICML. The recursions:
        Rabiner (1989), A tutorial on hidden Markov models, section III. Proc. IEEE 77 (2).
    """

    def __init__(
        self,
        *,
        tags: int,
        allowed_starts: Sequence[bool] | None = None,
        allowed_transitions: Sequence[Sequence[bool]] | None = None,
        allowed_ends: Sequence[bool] | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        if tags < 1:
            raise ValueError(f"tags must be at least 1, not {tags}.")
        self.tags = tags
        self._allowed = {
            "allowed_starts": _rules("allowed_starts", allowed_starts, (tags,)),
            "allowed_transitions": _rules("allowed_transitions", allowed_transitions, (tags, tags)),
            "allowed_ends": _rules("allowed_ends", allowed_ends, (tags,)),
        }

    def build(self, emissions_shape: tuple[int | None, ...]) -> None:
        """Creates the scores of transitions, starts and ends."""
        for name, shape in (("transitions", (self.tags, self.tags)), ("start", (self.tags,)), ("end", (self.tags,))):
            weight = self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float32", autocast=False)
            setattr(self, name, weight)

    def call(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the best path; see `decode`."""
        return self.decode(emissions, mask=mask)

    def log_likelihood(
        self, emissions: tf.Tensor, tags: tf.Tensor, *, mask: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns the logarithm of the probability of the given tags.

        Args:
            emissions: float (batch, time, tags).
            tags: int32 (batch, time), each from 0 to tags - 1.
            mask: bool (batch, time). True = real token.
            training: whether XLA compiles the loops, also those of the gradient. The numbers are the same.

        Returns:
            float32 (batch,), at most 0; 0 for a row without real tokens.
        """
        emissions = self._check(emissions, mask)
        tags = tf.where(mask, tags, 0)
        forward, backward = _COMPILED if training else (_filter, _smooth)

        @tf.custom_gradient
        def log_probability(*tensors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
            # A tape that saw the compiled functions would ask XLA for their gradients too.
            emissions, transitions, start, end = (tf.stop_gradient(tensor) for tensor in tensors)
            filtered, final = _over_time(forward, emissions, mask, transitions, start)
            value = _path_log_probability(filtered, final + end, tags, mask, transitions)

            def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
                # Everything on the way back is linear in the last token's distribution, hence weighted there.
                last = tf.nn.softmax(final + end) * upstream[:, tf.newaxis]
                marginals, pairs = _over_time(backward, filtered, mask, transitions, last)
                return _observed_less_expected(tags, mask, upstream, marginals, pairs)

            return value, gradient

        return log_probability(emissions, *self._scores())

    def decode(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the path of the highest score, by the Viterbi algorithm.

        Args:
            emissions: float (batch, time, tags).
            mask: bool (batch, time). True = real token.

        Returns:
            The path, int32 (batch, time), 0 at padding, and its score,
            float32 (batch,): a sum, no probability.
        """
        emissions, scores = self._check(emissions, mask), self._scores()
        path = chains.best_path(*_at_least_one_token(emissions, mask), scores)
        path = tf.where(mask, path[:, : _time(mask)], 0)
        return path, _path_score(emissions, path, mask, *scores)

    def decode_and_infer(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tuple[tf.Tensor, Lattice]:
        """Returns the path that `decode` finds and what `infer` returns, in the time of one of them.

        Arguments are those of `decode`.
        """
        some, tokens = _at_least_one_token(self._check(emissions, mask), mask)
        found = chains.best_path_and_marginals(some, tokens, self._scores())
        path, filtered, marginals = (result[:, : _time(mask)] for result in found)
        return tf.where(mask, path, 0), Lattice(filtered, tf.where(mask[:, :, tf.newaxis], marginals, 0.0))

    def infer(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> Lattice:
        """Finds what marginals and any number of spans need.

        Arguments are those of `decode`.
        """
        return self.decode_and_infer(emissions, mask=mask)[1]

    def marginals(self, emissions: tf.Tensor, *, mask: tf.Tensor) -> tf.Tensor:
        """Returns each token's distribution over the tags, float32 (batch, time, tags), 0 at padding."""
        return self.infer(emissions, mask=mask).marginals

    def span_probabilities(
        self, emissions: tf.Tensor, tags: tf.Tensor, *, mask: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns the probability that a path drawn at random has the given tags all along a span.

        Args:
            emissions: float (batch, time, tags).
            tags: int32 (batch, time), each from 0 to tags - 1, as decoded.
            mask: bool (batch, time). True = real token.
            starts: int32 (batch, spans). First tokens.
            ends: int32 (batch, spans). The tokens after the last.

        Returns:
            float32 (batch, spans); 0 where a span is empty or reaches into the padding.
        """
        lattice = self.infer(emissions, mask=mask)
        return self.lattice_span_probabilities(lattice, tf.where(mask, tags, 0), starts=starts, ends=ends)

    def lattice_span_probabilities(
        self, lattice: Lattice, tags: tf.Tensor, *, starts: tf.Tensor, ends: tf.Tensor
    ) -> tf.Tensor:
        """Returns what `span_probabilities` does, from a lattice; at padding too, tags must be from 0 to tags - 1."""
        positions = tf.range(tf.shape(tags)[1])
        starts, ends = starts[:, :, tf.newaxis], ends[:, :, tf.newaxis]  # (batch, spans, 1)
        # The last token by its marginal, each one before it given the one after it.
        marginals = tf.gather(lattice.marginals, tags, axis=2, batch_dims=2)[:, tf.newaxis]
        is_last = (positions == ends - 1) & (ends > starts)
        last = tf.reduce_sum(tf.where(is_last, marginals, 0.0), axis=-1)
        given_next = _given_next_tag(lattice.filtered, tags, self._scores()[0])[:, tf.newaxis]
        before_last = (positions >= starts) & (positions < ends - 1)
        return last * tf.exp(tf.reduce_sum(tf.where(before_last, given_next, 0.0), axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        rules = {name: None if rule is None else rule.tolist() for name, rule in self._allowed.items()}
        return {**super().get_config(), "tags": self.tags, **rules}

    def _check(self, emissions: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns float32 emissions that are 0 at padding."""
        emissions = tf.convert_to_tensor(emissions)
        check_mask(emissions, mask)
        if emissions.shape[-1] != self.tags:
            raise ValueError(f"emissions must have the width {self.tags}, one per tag, not {emissions.shape[-1]}.")
        return tf.where(mask[:, :, tf.newaxis], tf.cast(emissions, tf.float32), 0.0)

    def _scores(self) -> chains.Scores:
        """Returns the scores of transitions, starts and ends, those of the forbidden ones far below."""
        weights = {"allowed_transitions": self.transitions, "allowed_starts": self.start, "allowed_ends": self.end}
        return chains.Scores(*(_restrict(weight, self._allowed[name]) for name, weight in weights.items()))


def _restrict(weight: keras.Variable, allowed: np.ndarray | None) -> tf.Tensor:
    return weight + (0.0 if allowed is None else np.where(allowed, 0, FORBIDDEN).astype(np.float32))


def _rules(name: str, allowed: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    if allowed is None:
        return None
    rules = np.array(allowed)
    if rules.shape != shape or rules.dtype != bool:
        raise ValueError(f"{name} must be bool {shape}, not {rules.dtype} {rules.shape}.")
    if len(shape) == 1 and not rules.any():
        raise ValueError(f"{name} must allow at least one of the {shape[0]} tags.")
    return rules


# The loops of training. All sequences are time-major here, (time, batch, ...) with at least one step, and scores have
# their largest value per token taken off, which none of their uses can see.


def _filter(
    emissions: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what is known of each tag from the tokens so far, padding repeating the last token, and of the last."""

    def level(scores: tf.Tensor) -> tf.Tensor:
        return scores - tf.reduce_max(scores, axis=-1, keepdims=True)

    def body(index: tf.Tensor, before: tf.Tensor, array: tf.TensorArray) -> tuple:
        reached = _log_sum(before[:, :, tf.newaxis] + transitions)  # (batch, from, to) -> (batch, to)
        scores = tf.where(mask[index][:, tf.newaxis], level(reached + emissions[index]), before)
        return index + 1, scores, array.write(index, scores)

    time = tf.shape(mask)[0]
    first = level(emissions[0] + start)
    array = tf.TensorArray(tf.float32, time, element_shape=first.shape).write(0, first)
    _, final, array = _loop(lambda index, *_: index < time, body, (1, first, array))
    return array.stack(), final


def _log_sum(scores: tf.Tensor) -> tf.Tensor:
    peak = tf.reduce_max(scores, axis=1, keepdims=True)  # finite, as all scores are
    return tf.math.log(tf.reduce_sum(tf.exp(scores - peak), axis=1)) + peak[:, 0]


def _smooth(
    filtered: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor, last: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Carries the last token's distribution (batch, tags) back over time.

    In a gradient it comes times a weight per row, which all results then bear.

    Returns:
        Marginals (time, batch, tags), padding repeating the last token's, and
        the expected number of transitions (tags, tags), summed over the batch.
    """
    by_next = tf.transpose(transitions)

    def body(index: tf.Tensor, after: tf.Tensor, pairs: tf.Tensor, array: tf.TensorArray) -> tuple:
        real = mask[index + 1][:, tf.newaxis]
        scores = filtered[index][:, tf.newaxis] + by_next  # (batch, to, from)
        # A softmax over `from`, written out: XLA compiles the op itself to twice the time.
        powers = tf.exp(scores - tf.reduce_max(scores, axis=2, keepdims=True))
        shares = tf.where(real, after, 0.0) / tf.reduce_sum(powers, axis=2)
        joint = powers * shares[:, :, tf.newaxis]
        now = tf.where(real, tf.reduce_sum(joint, axis=1), after)
        return index - 1, now, pairs + tf.reduce_sum(joint, axis=0), array.write(index, now)

    time = tf.shape(mask)[0]
    array = tf.TensorArray(tf.float32, time, element_shape=last.shape).write(time - 1, last)
    start = (time - 2, last, tf.zeros_like(transitions), array)
    _, _, pairs, array = _loop(lambda index, *_: index >= 0, body, start)
    return array.stack(), tf.transpose(pairs)


_COMPILED = [tf.function(loop, jit_compile=True, autograph=False) for loop in (_filter, _smooth)]


def _loop(condition: Callable[..., tf.Tensor], body: Callable[..., tuple], start: tuple) -> tuple:
    # Each step needs the one before it: preparing several at once would only cost time.
    return tf.while_loop(condition, body, start, parallel_iterations=1)


def _over_time(
    loop: Callable[..., tuple[tf.Tensor, tf.Tensor]], sequence: tf.Tensor, mask: tf.Tensor, *others: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a loop on a batch-major sequence and mask of any length, 0 included."""
    some, tokens = _at_least_one_token(sequence, mask)
    results, other = loop(tf.transpose(some, [1, 0, 2]), tf.transpose(tokens), *others)
    return tf.transpose(results[: _time(mask)], [1, 0, 2]), other


def _at_least_one_token(sequence: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives a sequence (batch, time, tags) without any token one of padding, and so its mask."""
    missing = tf.cast(tf.equal(_time(mask), 0), tf.int32)
    return tf.pad(sequence, [[0, 0], [0, missing], [0, 0]]), tf.pad(mask, [[0, 0], [0, missing]])


def _time(mask: tf.Tensor) -> tf.Tensor:
    return tf.shape(mask)[1]


# What needs no loop: all tokens at once, batch-major.


def _next(sequence: tf.Tensor) -> tf.Tensor:
    """Moves a sequence (batch, time) one step ahead; 0 or False follows the last."""
    return tf.pad(sequence, [[0, 0], [0, 1]])[:, 1:]


def _given_next_tag(filtered: tf.Tensor, tags: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Returns log P(tag | next tag, emissions), (batch, time), meaningless where no real token follows."""
    arriving = tf.gather(tf.transpose(transitions), _next(tags))  # (batch, time, from)
    return tf.gather(tf.nn.log_softmax(filtered + arriving), tags, axis=2, batch_dims=2)


def _path_log_probability(
    filtered: tf.Tensor, final: tf.Tensor, tags: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor
) -> tf.Tensor:
    followed = _next(mask)
    given_next = tf.where(followed, _given_next_tag(filtered, tags, transitions), 0.0)
    last_tag = tf.reduce_sum(tf.where(mask & ~followed, tags, 0), axis=1)
    last = tf.gather(tf.nn.log_softmax(final), last_tag, axis=1, batch_dims=1)
    return tf.reduce_sum(given_next, axis=1) + tf.where(tf.reduce_any(mask, axis=1), last, 0.0)


def _path_score(
    emissions: tf.Tensor, tags: tf.Tensor, mask: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    followed = _next(mask)
    first = tf.range(tf.shape(mask)[1]) == 0
    steps = tf.gather_nd(transitions, tf.stack([tags, _next(tags)], axis=-1))
    scores = tf.gather(emissions, tags, axis=2, batch_dims=2) + tf.where(first, tf.gather(start, tags), 0.0)
    scores += tf.where(followed, steps, tf.gather(end, tags))
    return tf.reduce_sum(tf.where(mask, scores, 0.0), axis=1)


def _observed_less_expected(
    tags: tf.Tensor, mask: tf.Tensor, weights: tf.Tensor, marginals: tf.Tensor, pairs: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Returns the gradients with respect to emissions, transitions, start and end.

    The expected tags and transitions, `marginals` and `pairs`, bear the rows' weights (batch,) already.
    """
    count = pairs.shape[0]
    observed = tf.one_hot(tags, count) * weights[:, tf.newaxis, tf.newaxis]
    d_emissions = tf.where(mask[:, :, tf.newaxis], observed - marginals, 0.0)
    followed = _next(mask)
    counted = tf.where(followed, weights[:, tf.newaxis], 0.0)
    seen = tf.math.unsorted_segment_sum(counted, tags * count + _next(tags), count * count)
    d_start = tf.reduce_sum(d_emissions[:, :1], axis=[0, 1])
    d_end = tf.reduce_sum(tf.where((mask & ~followed)[:, :, tf.newaxis], d_emissions, 0.0), axis=[0, 1])
    return d_emissions, tf.reshape(seen, [count, count]) - pairs, d_start, d_end
