"""Search for the best output of a model that writes one token at a time.

The search sees the model only through `step(tokens, state, memory)`. In go int32
tokens (rows, beam), any nest of tensors (rows, beam, ...), and one (rows, ...) that
is constant over time, such as the encoder's outputs: shared by a row's hypotheses, it
is neither repeated nor reordered. Out come logits (rows, beam, vocabulary), the new
state, and the attention (rows, beam, source) or None.

Every row of a batch has its own greatest length, stops on its own and is frozen
from then on, so that its result does not depend on the rows beside it. Whenever at
least half of the rows are done, the step goes on with the others alone: a batch would
otherwise pay for all its rows until its longest one ends. So the number of rows falls
during a search, and whatever has an axis of rows must come through `state` or
`memory`, never by the step's closure.

Shapes: b batch, r rows that go on, k beam, n hypotheses returned, t output length,
s source length, c continuations considered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from nlp_rnn.scoring import IMPOSSIBLE, SearchRules, continuations, length_penalty

_ALIVE = 0.1 * IMPOSSIBLE
# Coverage is cut here before its logarithm: no attention at all counts as -23.
_LEAST_COVERAGE = 1e-10

Step = Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any, tf.Tensor | None]]


class Hypotheses(NamedTuple):
    """The outputs found, best first.

    Where a row has fewer than n, the rest is empty, and its scores and
    log-probabilities are IMPOSSIBLE.

    Attributes:
        tokens: int32 (b, n, t), right padded; neither beginning nor end token.
            t is the greatest length in the batch, and at least 1.
        lengths: int32 (b, n). Tokens before the end.
        scores: float32 (b, n). See `SearchRules`.
        log_probabilities: float32 (b, n). Of the tokens and the end token.
        attention: float32 (b, n, t, s). The attention at the step that gave
            each token; 0 after the end. None without a source mask.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    log_probabilities: tf.Tensor
    attention: tf.Tensor | None


def greedy_search(
    step: Step,
    initial_state: Any,
    *,
    maximum_lengths: tf.Tensor,
    rules: SearchRules,
    memory: Any = (),
    source_mask: tf.Tensor | None = None,
) -> Hypotheses:
    """Takes the most probable token at each step, until that is the end token.

    Arguments and errors are those of `beam_search`. The step is called with a
    beam of 1, and a row has one hypothesis, whose score alone the penalties change.
    """
    search = _Search(
        step=step,
        rules=rules,
        beam_size=1,
        n_best=1,
        attended=source_mask is not None,
        stop=lambda best_live, worst_finished, greatest: worst_finished > _ALIVE,
    )
    return search.run(initial_state, maximum_lengths, source_mask, memory)


def beam_search(
    step: Step,
    initial_state: Any,
    *,
    maximum_lengths: tf.Tensor,
    rules: SearchRules,
    beam_size: int,
    n_best: int | None = None,
    memory: Any = (),
    source_mask: tf.Tensor | None = None,
) -> Hypotheses:
    """Follows the most probable hypotheses side by side, and keeps the best finished ones.

    At each step the end of a live hypothesis competes with all continuations
    of its row: among the `beam_size` best, it is finished, scored once and for
    all, and kept if among the `n_best` so far. The `beam_size` best
    continuations live on.

    A row stops when no live hypothesis can get among its `n_best` any more:
    log-probabilities only fall, so none will score better than the best live
    log-probability over the length penalty of the row's greatest length. Hence
    the best hypotheses do not depend on `n_best`, but fewer are found sooner.

    Args:
        step: The model, see the module's docstring. Its vocabulary size must be static.
        initial_state: Nest of tensors (b, ...), without a beam axis.
        maximum_lengths: int32 (b,), at least 0. Most tokens of each row's output.
            Hypotheses that get there are ended, and pay for their end token.
        rules: What an output may look like, and how it is scored.
        beam_size: Live hypotheses of a row; may exceed the vocabulary.
        n_best: Hypotheses returned for a row; `beam_size` if None.
        memory: Nest of tensors (b, ...), constant over time; () for none.
        source_mask: bool (b, s), True = real token. If given, the step must return its
            attention, and the result holds that too; if not, it is ignored.

    Returns:
        The `n_best` hypotheses of each row, no two of them alike.

    Raises:
        ValueError: A size below 1; a coverage penalty without a source mask; a source mask but
            no attention; logits whose vocabulary is of unknown size or lacks the end token.
    """
    n_best = beam_size if n_best is None else n_best
    if beam_size < 1 or n_best < 1:
        raise ValueError(f"beam_size and n_best must be at least 1, not {beam_size} and {n_best}.")

    def stop(best_live: tf.Tensor, worst_finished: tf.Tensor, greatest: tf.Tensor) -> tf.Tensor:
        return best_live / length_penalty(greatest, rules) <= worst_finished

    search = _Search(
        step=step, rules=rules, beam_size=beam_size, n_best=n_best, attended=source_mask is not None, stop=stop
    )
    return search.run(initial_state, maximum_lengths, source_mask, memory)


class _Rows(NamedTuple):
    """The rows that go on, and what the search was given of them."""

    places: tf.Tensor  # int32 (r,): where they stand in the batch
    greatest: tf.Tensor  # int32 (r,)
    mask: Any  # bool (r, s), True = real token; () without a source mask
    memory: Any  # nest of (r, ...)


class _Live(NamedTuple):
    """The hypotheses that go on, best first."""

    log_probabilities: tf.Tensor  # float32 (r, k); IMPOSSIBLE where there is none
    tokens: tf.Tensor  # int32 (r, k), the last ones
    state: Any  # nest of (r, k, ...)
    coverage: Any  # float32 (r, k, s), the summed attention; () where it is not needed


class _Finished(NamedTuple):
    """The best hypotheses that ended, best first."""

    scores: tf.Tensor  # float32 (b, n); IMPOSSIBLE where there is none
    log_probabilities: tf.Tensor  # float32 (b, n)
    lengths: tf.Tensor  # int32 (b, n)
    slots: tf.Tensor  # int32 (b, n): where its last token stood among the live ones


class _History(NamedTuple):
    """What each step did; followed back once, at the end, so that nothing that grows is reordered at every step.

    After a row was left behind, its place holds what another row did. That is never read, being beyond its lengths.
    """

    tokens: tf.TensorArray  # int32 (b, k) a step
    parents: tf.TensorArray  # int32 (b, k) a step: each token's slot before the step
    attention: Any  # float32 (b, k, s) a step, by the slot before it; () without a source mask


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One loop for both searches; they differ in their sizes and in when a row stops."""

    step: Step
    rules: SearchRules
    beam_size: int
    n_best: int
    attended: bool  # a source mask was given, so that the attention is kept
    # best live log-probability, worst finished score, greatest length -> bool; all (r,)
    stop: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

    def run(self, initial_state: Any, maximum_lengths: Any, source_mask: tf.Tensor | None, memory: Any) -> Hypotheses:
        if source_mask is None and self.rules.coverage_penalty > 0:
            raise ValueError("A coverage_penalty above 0 needs the source_mask, bool (batch, source); it is None.")
        greatest = tf.convert_to_tensor(maximum_lengths, tf.int32)
        mask = () if source_mask is None else tf.convert_to_tensor(source_mask, tf.bool)
        rows = _Rows(
            tf.range(tf.shape(greatest)[0]), greatest, mask, tf.nest.map_structure(tf.convert_to_tensor, memory)
        )
        live, finished, history = self._start(rows, initial_state)
        rows, live = tf.nest.map_structure(_of_any_size, (rows, live))
        # Even an empty batch takes the first step: it gives the history its shapes.
        *_, finished, history = tf.while_loop(
            lambda time, rows, *_: (time == 0) | (tf.size(rows.places) > 0),
            self._with_these_rows,
            (0, rows, live, finished, history),
        )
        return _follow_back(finished, history, self.rules.padding_token)

    def _start(self, rows: _Rows, initial_state: Any) -> tuple[_Live, _Finished, _History]:
        def spread(tensor: tf.Tensor) -> tf.Tensor:
            return tf.repeat(tf.convert_to_tensor(tensor)[:, tf.newaxis], self.beam_size, axis=1)

        def array(dtype: tf.DType, *shape: int | None) -> tf.TensorArray:
            return tf.TensorArray(dtype, size=0, dynamic_size=True, element_shape=[None, self.beam_size, *shape])

        batch = tf.size(rows.places)
        live = _Live(
            # All slots begin alike: only one of them counts, so that no hypothesis comes twice.
            log_probabilities=tf.one_hot(tf.zeros([batch], tf.int32), self.beam_size, 0.0, IMPOSSIBLE),
            tokens=tf.fill([batch, self.beam_size], self.rules.beginning_token),
            state=tf.nest.map_structure(spread, initial_state),
            coverage=tf.cast(spread(rows.mask), tf.float32) * 0.0 if self.rules.coverage_penalty > 0 else (),
        )
        nothing, zeros = tf.fill([batch, self.n_best], IMPOSSIBLE), tf.zeros([batch, self.n_best], tf.int32)
        attention = array(tf.float32, None) if self.attended else ()
        return live, _Finished(nothing, nothing, zeros, zeros), _History(array(tf.int32), array(tf.int32), attention)

    def _with_these_rows(
        self, time: tf.Tensor, rows: _Rows, live: _Live, finished: _Finished, history: _History
    ) -> tuple[tf.Tensor, _Rows, _Live, _Finished, _History]:
        """Advances until at least half of the rows are done; keeps what those have found, and leaves them behind."""
        count = tf.size(rows.places)
        # The place among these rows of each row of the batch; those left behind are given the first, and never read.
        found_at = tf.scatter_nd(rows.places[:, tf.newaxis], tf.range(count), tf.shape(finished.lengths)[:1])
        start = (time, tf.zeros_like(rows.places, tf.bool), live, _gather(finished, rows.places), history)
        time, done, live, found, history = tf.while_loop(
            lambda time, done, *_: (time == 0) | (2 * tf.math.count_nonzero(done, dtype=tf.int32) < count),
            partial(self._advance, rows, found_at),
            start,
        )
        finished = tf.nest.map_structure(
            lambda whole, part: tf.tensor_scatter_nd_update(whole, rows.places[:, tf.newaxis], part), finished, found
        )
        going = tf.where(~done)[:, 0]
        return time, _gather(rows, going), _gather(live, going), finished, history

    def _advance(
        self,
        rows: _Rows,
        found_at: tf.Tensor,
        time: tf.Tensor,
        done: tf.Tensor,
        live: _Live,
        finished: _Finished,
        history: _History,
    ) -> tuple[tf.Tensor, tf.Tensor, _Live, _Finished, _History]:
        logits, state, attention = self._call(live, rows)
        coverage = live.coverage + attention if self.rules.coverage_penalty > 0 else ()
        tokens, gains, end_gains = continuations(logits, self.beam_size, self.rules)
        # Before the least length nothing ends; at a row's greatest length nothing goes on.
        full = (time >= rows.greatest)[:, tf.newaxis]
        ends = live.log_probabilities + tf.where(full | (time >= self.rules.minimum_length), end_gains, IMPOSSIBLE)
        totals = live.log_probabilities[:, :, tf.newaxis] + tf.where(full[:, tf.newaxis], IMPOSSIBLE, gains)
        # A row that is done may still go through the step, but nothing of that counts.
        ends = tf.where(done[:, tf.newaxis], IMPOSSIBLE, _among_best(ends, totals))
        slots = tf.zeros_like(ends, tf.int32)
        scores = self._score(ends, time, coverage, rows.mask)
        new_finished = _best(finished, _Finished(scores, ends, slots + time, slots + tf.range(self.beam_size)))
        new_live, parents = _go_on(totals, tokens, state, coverage)
        best_live = new_live.log_probabilities[:, 0]
        # Written so that NaN, from a model that has diverged, ends the row too.
        new_done = done | ~(best_live > _ALIVE) | self.stop(best_live, new_finished.scores[:, -1], rows.greatest)
        new = (new_done, new_live, new_finished)
        # The loop refuses a tensor whose shape is known less well after the step than before.
        tf.nest.map_structure(lambda after, before: after.set_shape(before.shape), new, (done, live, finished))
        did = _History(new_live.tokens, parents, () if attention is None else attention)
        history = tf.nest.map_structure(lambda array, now: array.write(time, tf.gather(now, found_at)), history, did)
        return time + 1, *new, history

    def _call(self, live: _Live, rows: _Rows) -> tuple[tf.Tensor, Any, tf.Tensor | None]:
        logits, state, attention = self.step(live.tokens, live.state, rows.memory)
        tf.nest.assert_same_structure(live.state, state)
        if logits.shape[-1] is None or logits.shape[-1] <= self.rules.end_token:
            raise ValueError(
                "The step's logits must be (batch, beam, vocabulary) with a static vocabulary size above the "
                f"end_token, {self.rules.end_token}; their shape is {logits.shape}."
            )
        if not self.attended:
            return tf.cast(logits, tf.float32), state, None
        if attention is None:
            raise ValueError("With a source_mask the step must return its attention, not None; or leave out the mask.")
        return tf.cast(logits, tf.float32), state, tf.cast(attention, tf.float32)

    def _score(self, log_probabilities: tf.Tensor, length: tf.Tensor, coverage: Any, mask: Any) -> tf.Tensor:
        """Scores what ends now, (r, k); IMPOSSIBLE stays so."""
        scores = log_probabilities / length_penalty(length, self.rules)
        if self.rules.coverage_penalty > 0:
            logarithms = tf.math.log(tf.clip_by_value(coverage, _LEAST_COVERAGE, 1.0))
            real = tf.where(mask[:, tf.newaxis], logarithms, 0.0)
            scores += self.rules.coverage_penalty * tf.reduce_sum(real, axis=-1)
        return tf.where(log_probabilities > _ALIVE, scores, IMPOSSIBLE)


def _of_any_size(tensor: tf.Tensor) -> tf.Tensor:
    """Makes the static size of the first axis unknown, as the loop changes it.

    The loop's shape invariants would do, did not graph optimisation take the rows to be as many as before the loop.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])


def _gather(nest: Any, rows: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), nest)


def _among_best(ends: tf.Tensor, totals: tf.Tensor) -> tf.Tensor:
    """Makes those ends (r, k) IMPOSSIBLE that are not among the k best of a row's ends and totals (r, k, c)."""
    kept = tf.math.top_k(tf.concat([ends, _flat(totals)], axis=1), ends.shape[1]).values
    return tf.where((ends >= kept[:, -1:]) & (ends > _ALIVE), ends, IMPOSSIBLE)


def _best(old: _Finished, new: _Finished) -> _Finished:
    """The n best of both. Of equals top_k takes the first, so what is IMPOSSIBLE among the new never gets in."""
    both = [tf.concat(pair, axis=1) for pair in zip(old, new, strict=True)]
    chosen = tf.math.top_k(both[0], old.scores.shape[1]).indices
    return _Finished(*(tf.gather(values, chosen, batch_dims=1) for values in both))


def _go_on(totals: tf.Tensor, tokens: tf.Tensor, state: Any, coverage: Any) -> tuple[_Live, tf.Tensor]:
    """Takes the k best of the continuations (r, k, c); returns each one's slot before the step too, (r, k)."""
    _, beam_size, count = totals.shape
    log_probabilities, chosen = tf.math.top_k(_flat(totals), beam_size)
    parents = chosen // count
    tokens = tf.gather(_flat(tokens), chosen, batch_dims=1)
    if beam_size > 1:
        state, coverage = tf.nest.map_structure(lambda x: tf.gather(x, parents, batch_dims=1), (state, coverage))
    return _Live(log_probabilities, tokens, state, coverage), parents


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, [tf.shape(tensor)[0], tensor.shape[1] * tensor.shape[2]])


def _follow_back(finished: _Finished, history: _History, padding_token: int) -> Hypotheses:
    """Reads the finished hypotheses from their last tokens back to their first ones."""
    lengths = finished.lengths
    longest = tf.maximum(tf.reduce_max(lengths), 1)  # the maximum of an empty batch is the least integer
    parents = history.parents.stack()[:longest]

    def back(time: tf.Tensor, slots: tf.Tensor, trace: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        slots = tf.where(lengths == time + 1, finished.slots, slots)
        before = tf.ensure_shape(tf.gather(parents[time], slots, batch_dims=1), lengths.shape)
        return time - 1, before, trace.write(time, slots)

    trace = tf.TensorArray(tf.int32, size=longest, element_shape=lengths.shape)
    *_, trace = tf.while_loop(lambda time, *_: time >= 0, back, (longest - 1, finished.slots, trace))
    slots = trace.stack()  # (t, b, n)
    real = tf.sequence_mask(lengths, longest)  # (b, n, t)
    tokens = tf.gather(history.tokens.stack()[:longest], slots, batch_dims=2)
    tokens = tf.where(real, tf.transpose(tokens, [1, 2, 0]), padding_token)
    found = Hypotheses(tokens, lengths, finished.scores, finished.log_probabilities, None)
    if history.attention == ():
        return found
    slots = tf.gather(parents, slots, batch_dims=2)  # those before the step
    weights = tf.gather(history.attention.stack()[:longest], slots, batch_dims=2)  # (t, b, n, s)
    return found._replace(attention=tf.where(real[..., tf.newaxis], tf.transpose(weights, [1, 2, 0, 3]), 0.0))
