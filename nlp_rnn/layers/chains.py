"""Inference over chains of tags: the best path and all marginals from a single loop over time.

At batch 1 a loop takes its time for the number of operations it starts, not for their arithmetic. So what a
conditional random field wants to know of a sentence runs side by side, chain by chain in the same tensors:

    scores[t, i] = reached[t, i] + emissions[t, i]
    reached[t + 1, j] = the best, or the log-sum, over i of scores[t, i] + transitions[i, j]

with reached[0] = start. With the best this is Viterbi's recursion, with the log-sum the filter's. The filter of
the sentence turned round, with its transitions and ends, gives what a tag leads to: its reached[t] is the
logarithm of all ways from a tag to the end, that tag's own emission left out. Hence

    P(y_t = i) = softmax over i of scores[t, i] + turned_round[t, i],

scores being the filter's. All these are needed only up to a constant per token: the largest score is taken off at
each step, and float32 keeps its digits in sequences of any length. Padding goes through the loop like any
token, as nothing that comes after a sentence has a part in it, and is left out afterwards.

Shapes: chains, then b sentences, t tokens (at least one), n tags. A sentence without tokens gives anything finite.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Scores(NamedTuple):
    """What a path's score is made of, beside emissions; float32.

    Attributes:
        transitions: (n, n), [from, to].
        start: (n,). Of the first tag.
        end: (n,). Of the last tag.
    """

    transitions: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def best_path(emissions: tf.Tensor, mask: tf.Tensor, scores: Scores) -> tf.Tensor:
    """Finds the path of the highest score; of equal ones, the tag of the lowest number from the last token on.

    Args:
        emissions: float32 (b, t, n), finite at padding too.
        mask: bool (b, t). True = real token, right-padded.
        scores: All others.

    Returns:
        int32 (b, t); at padding it repeats the last token's tag.
    """
    reached, came_from = _run(_best, [emissions], scores.transitions[tf.newaxis], [scores.start])
    return _follow(came_from, mask, _last_tag(reached[0] + emissions, mask, scores))


def best_path_and_marginals(
    emissions: tf.Tensor, mask: tf.Tensor, scores: Scores
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds the best path and what is known of all others, in one loop; arguments are those of `best_path`.

    Returns:
        `best_path`; the filter's scores, float32 (b, t, n), see the module; and the marginals, float32 (b, t, n).
        Of the last two, padding holds anything finite.
    """
    transitions, start, end = scores
    lengths = tf.math.count_nonzero(mask, axis=1, dtype=tf.int32)
    turned = tf.reverse_sequence(emissions, lengths, seq_axis=1, batch_axis=0)
    reached, came_from = _run(
        _best_then_sums,
        [emissions, emissions, turned],
        tf.stack([transitions, transitions, tf.transpose(transitions)]),
        [start, start, end],
    )
    best, before, after = tf.unstack(reached)
    filtered = _level(before + emissions)
    marginals = tf.nn.softmax(filtered + tf.reverse_sequence(after, lengths, seq_axis=1, batch_axis=0))
    return _follow(came_from, mask, _last_tag(best + emissions, mask, scores)), filtered, marginals


def _run(
    combine: Callable[[tf.Tensor], tf.Tensor],
    emissions: Sequence[tf.Tensor],
    transitions: tf.Tensor,
    starts: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs the recursions of the module, one for each of the emissions (b, t, n).

    Args:
        combine: what a tag is reached with (chains, b, n), from all ways to it (chains, b, n from, n to).
        emissions: a chain's each.
        transitions: (chains, n, n).
        starts: a chain's each, (n,).

    Returns:
        `reached`, float32 (chains, b, t, n); and int32 (b, t, n): from which tag of token t the first chain best
        comes to each tag of the token after it.
    """
    steps = tf.transpose(tf.stack(emissions), [2, 0, 1, 3])  # (t, chains, b, n)
    transitions = transitions[:, tf.newaxis]
    last = tf.shape(steps)[0] - 1

    def body(index: tf.Tensor, reached: tf.Tensor, history: tf.TensorArray, pointers: tf.TensorArray) -> tuple:
        # A gather is one operation; an index in brackets would be four.
        scores = _level(reached + tf.gather(steps, index))
        ways = tf.expand_dims(scores, -1) + transitions
        came_from = tf.argmax(ways[0], axis=1, output_type=tf.int32)
        return index + 1, combine(ways), history.write(index, reached), pointers.write(index, came_from)

    reached = tf.stack(starts)[:, tf.newaxis] + tf.zeros_like(steps[0])
    history = tf.TensorArray(tf.float32, last + 1, element_shape=reached.shape)
    pointers = tf.TensorArray(tf.int32, last + 1, element_shape=reached.shape[1:])
    # Each step needs the one before it: preparing several at once would only cost time.
    _, reached, history, pointers = tf.while_loop(
        lambda index, *_: index < last, body, (0, reached, history, pointers), parallel_iterations=1
    )
    # No token follows the last one; but an array of which nothing was written cannot be stacked.
    pointers = pointers.write(last, tf.zeros_like(reached[0], tf.int32))
    return tf.transpose(history.write(last, reached).stack(), [1, 2, 0, 3]), tf.transpose(pointers.stack(), [1, 0, 2])


def _best(ways: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(ways, axis=2)


def _best_then_sums(ways: tf.Tensor) -> tf.Tensor:
    """Takes the best way in the first chain, and the log-sum of all ways in the others.

    The sums stay in the log domain: a matrix product of exponentials would lose a state that lies 88 or more below
    the best one and is yet the only way to the next tag.
    """
    best = tf.reduce_max(ways, axis=2, keepdims=True)  # finite, as all scores are
    others = tf.math.log(tf.reduce_sum(tf.exp(ways - best), axis=2))
    is_sum = [[[0.0]]] + [[[1.0]]] * (ways.shape[0] - 1)
    return tf.squeeze(best, 2) + others * is_sum


def _level(scores: tf.Tensor) -> tf.Tensor:
    return scores - tf.reduce_max(scores, axis=-1, keepdims=True)


def _last_tag(best: tf.Tensor, mask: tf.Tensor, scores: Scores) -> tf.Tensor:
    """Returns the tag of the last real token on the best path, int32 (b,), from the best scores (b, t, n)."""
    last = tf.maximum(tf.math.count_nonzero(mask, axis=1, dtype=tf.int32) - 1, 0)
    final = _level(tf.gather(best, last, axis=1, batch_dims=1))
    return tf.argmax(final + scores.end, axis=-1, output_type=tf.int32)


def _follow(came_from: tf.Tensor, mask: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Follows pointers (b, t, n) back from the last tag (b,), in logarithmically many steps.

    A token's pointers map the next token's tag to its own. Two neighbouring maps make one over two tokens, two of
    these one over four, and so on, for all tokens at once, until each token's map starts at the last token.
    """
    time = tf.shape(mask)[1]
    places = tf.range(time)
    followed = tf.pad(mask, [[0, 0], [0, 1]])[:, 1:, tf.newaxis]
    # From the last token on, padding included, a map changes nothing.
    maps = tf.where(followed, came_from, tf.range(came_from.shape[-1]))

    def double(reach: tf.Tensor, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ahead = tf.gather(maps, tf.minimum(places + reach, time - 1), axis=1)
        return 2 * reach, tf.gather(maps, ahead, batch_dims=2)

    _, maps = tf.while_loop(lambda reach, _: reach < time - 1, double, (1, maps), parallel_iterations=1)
    return tf.gather(maps, last, axis=2, batch_dims=1)
