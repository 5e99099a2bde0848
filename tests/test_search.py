"""The search against an enumeration of all outputs, and against a plain search that never stops early."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from search_reference import (
    BOS,
    EOS,
    PAD,
    SOURCE,
    UNK,
    WORDS,
    Exported,
    Model,
    assert_ranked,
    of_very_different_lengths,
    outputs,
    rules,
)

from nlp_rnn.scoring import IMPOSSIBLE
from nlp_rnn.search import beam_search, greedy_search


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("coverage_penalty", [0.0, 0.4])
def test_wide_beam_returns_the_n_best_of_all_outputs(length_penalty, coverage_penalty):
    model = Model(seed=1, rows=6, length=4)
    search_rules = rules(length_penalty=length_penalty, coverage_penalty=coverage_penalty)
    found = model.beam(search_rules, beam_size=128, n_best=40)
    for row in range(6):
        assert_ranked(model, found, row, model.ranking(row, search_rules)[:40], search_rules)


def test_a_wide_beam_finds_what_greedy_search_misses():
    model = Model(seed=1, rows=12, length=4)
    greedy, beam = model.greedy(rules()), model.beam(rules(), beam_size=128, n_best=1)
    best = [model.ranking(row, rules())[0][0] for row in range(12)]
    assert [outputs(beam, row)[0] for row in range(12)] == best
    assert sum(outputs(greedy, row)[0] != best[row] for row in range(12)) >= 3


def test_greedy_search_takes_the_best_token_each_time():
    model = Model(seed=2, rows=20, length=4, end=0.5)
    found = model.greedy(rules(length_penalty=1.0))
    lengths = set()
    for row in range(20):
        output: tuple[int, ...] = ()
        while len(output) < 4:
            token = max((*WORDS, EOS), key=functools.partial(model.gain, row, output))
            if token == EOS:
                break
            output = (*output, token)
        lengths.add(len(output))
        assert_ranked(model, found, row, [(output, model.score(row, output, rules(length_penalty=1.0)))], rules())
    assert len(lengths) >= 3


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 3.0])
def test_stopping_early_loses_nothing(beam_size, length_penalty):
    """With the same beam, a search to the greatest length ranks no better."""
    model = Model(seed=3, rows=20, length=5, end=1.0)
    model.lengths = np.arange(20, dtype=np.int32) % 6  # each row has a bound of its own
    search_rules = rules(length_penalty=length_penalty)
    found = model.beam(search_rules, beam_size=beam_size)
    for row in range(20):
        expected = model.plain_beam(row, search_rules, beam_size)[:beam_size]
        assert_ranked(model, found, row, expected, search_rules)


def test_fewer_hypotheses_are_the_first_of_more():
    model = Model(seed=4, rows=20, length=5, end=1.0)
    more, fewer = (model.beam(rules(length_penalty=1.5), beam_size=4, n_best=n) for n in (6, 2))
    np.testing.assert_array_equal(fewer.scores, more.scores[:, :2])
    assert [outputs(fewer, row) for row in range(20)] == [outputs(more, row)[:2] for row in range(20)]


def test_beam_of_one_is_greedy_search_without_a_length_penalty():
    model = Model(seed=5, rows=40, length=5, end=0.5)
    greedy, beam = model.greedy(rules()), model.beam(rules(), beam_size=1)
    for one, other in zip(greedy, beam, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", [3, 12, 200])
def test_hypotheses_never_repeat_and_the_rest_is_marked(width):
    """There are 1 + 3 + 9 = 13 outputs; beams are narrower and wider than that and the vocabulary."""
    model = Model(seed=6, rows=4, length=2)
    found = model.beam(rules(), beam_size=width, n_best=width)
    for row in range(4):
        ranked = outputs(found, row)
        assert len(set(ranked)) == len(ranked) <= 13
        if width == 200:
            assert len(ranked) == 13
            assert (found.scores[row, 13:] == IMPOSSIBLE).numpy().all()
            assert (found.log_probabilities[row, 13:] == IMPOSSIBLE).numpy().all()
            assert (found.lengths[row, 13:] == 0).numpy().all()
    assert all(np.isfinite(values).all() for values in found)


def test_excluded_tokens_are_never_produced_though_the_best():
    model = Model(seed=7, rows=5, length=3)
    model.logits[:, :, [PAD, UNK, BOS]] += 5
    for forbidden in ((UNK,), (UNK, 5)):
        search_rules = rules(forbidden_tokens=forbidden)
        found = model.beam(search_rules, beam_size=64, n_best=10)
        for row in range(5):
            assert_ranked(model, found, row, model.ranking(row, search_rules)[:10], search_rules)


def test_unknown_token_is_produced_unless_forbidden():
    def step(tokens, state, memory):
        return tf.where(tokens[..., tf.newaxis] == BOS, [0.0, 9, 0, 0, 1], [0.0, 0, 0, 9, 0]), state, None

    for forbidden, expected in (((), [1]), ((UNK,), [4])):
        found = greedy_search(step, (), maximum_lengths=[1], rules=rules(forbidden_tokens=forbidden))
        assert found.tokens[0, 0].numpy().tolist() == expected


def test_lengths_keep_their_bounds_in_each_row():
    model = Model(seed=8, rows=6, length=5)
    model.lengths = np.array([0, 1, 2, 3, 4, 5], np.int32)
    search_rules = rules(minimum_length=2, length_penalty=0.8)
    found = model.beam(search_rules, beam_size=400, n_best=20)
    for row in range(6):
        assert_ranked(model, found, row, model.ranking(row, search_rules)[:20], search_rules)
    assert outputs(found, 0) == [()] and all(len(output) == 1 for output in outputs(found, 1))
    greedy = model.greedy(rules(minimum_length=5)).lengths
    assert greedy[:, 0].numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_coverage_penalty_by_hand():
    """One token, then the end: the two real places get 0.6 + 0.3 and 0.4 + 0.7; padding counts for nothing."""

    def step(tokens, state, memory):
        first = tokens[..., tf.newaxis] == BOS
        logits = tf.where(first, [-99.0, -99, -99, -99, 0], [-99.0, -99, -99, 0, -99])
        return logits, state, tf.where(first, [0.6, 0.4, 0.0], [0.3, 0.7, 0.0])

    found = beam_search(
        step,
        (),
        maximum_lengths=[3],
        rules=rules(coverage_penalty=0.5, length_penalty=1.0),
        beam_size=2,
        n_best=1,
        source_mask=tf.constant([[True, True, False]]),
    )
    assert found.tokens.numpy().tolist() == [[[4]]]
    np.testing.assert_allclose(found.scores, [[0.5 * math.log(0.9)]], atol=1e-6)
    np.testing.assert_allclose(found.attention, [[[[0.6, 0.4, 0.0]]]], atol=1e-6)


def test_no_attention_at_all_costs_a_finite_amount():
    def step(tokens, state, memory):
        return tf.one_hot(tf.fill(tf.shape(tokens), EOS), 5) * 50, state, tf.fill([1, 2, 2], 0.0) + [1.0, 0.0]

    found = beam_search(
        step,
        (),
        maximum_lengths=[3],
        rules=rules(coverage_penalty=1.0),
        beam_size=2,
        n_best=1,
        source_mask=tf.constant([[True, True]]),
    )
    np.testing.assert_allclose(found.scores, [[math.log(1e-10)]], rtol=1e-5)


@pytest.mark.parametrize("coverage_penalty", [0.0, 0.5])
def test_attention_belongs_to_the_hypothesis(coverage_penalty):
    model = Model(seed=9, rows=10, length=5)
    found = model.beam(rules(length_penalty=1.0, coverage_penalty=coverage_penalty), beam_size=4)
    for row in range(10):
        for rank, output in enumerate(outputs(found, row)):
            attention = found.attention[row, rank].numpy()
            np.testing.assert_array_equal(attention[: len(output)], model.attended(row, output)[:-1])
            assert (attention[len(output) :] == 0).all()


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_row_does_not_depend_on_its_neighbours(method):
    model = of_very_different_lengths(12)
    search_rules = rules(length_penalty=1.0, coverage_penalty=0.1)

    def search(part):
        return part.greedy(search_rules) if method == "greedy" else part.beam(search_rules, beam_size=3)

    together, turned = search(model), search(model.rows(slice(None, None, -1)))
    assert np.ptp(together.lengths[:, 0]) >= 4
    for row in range(12):
        alone = search(model.rows(slice(row, row + 1)))
        for other, place in ((together, row), (turned, 11 - row)):
            assert outputs(alone, 0) == outputs(other, place)
            # Vectorised logarithms may differ in their last bit with the place in the batch.
            np.testing.assert_allclose(alone.scores[0], other.scores[place], rtol=5e-7)
            np.testing.assert_allclose(alone.log_probabilities[0], other.log_probabilities[place], rtol=5e-7)
            length = alone.tokens.shape[2]
            np.testing.assert_array_equal(alone.attention[0], other.attention[place, :, :length])


@pytest.mark.parametrize("rows", [1, 12])
def test_compiled_for_one_batch_size_gives_what_eager_mode_does(rows):
    """Where the number of rows is known when the graph is built, it is not taken for that of the rows that go on."""
    model, search_rules = of_very_different_lengths(rows), rules(length_penalty=1.0, coverage_penalty=0.1)
    for search in (functools.partial(model.beam, search_rules, 3), functools.partial(model.greedy, search_rules)):
        for eager, compiled in zip(search(), tf.function(search)(), strict=True):
            np.testing.assert_allclose(compiled, eager, rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_step_goes_on_with_half_of_the_rows_when_the_others_are_done(compiled):
    """Eight rows of 0 to 7 tokens: after four of them have ended, the step sees four, then two, then the last one."""
    longest, seen = tf.constant([3, 0, 6, 1, 7, 5, 2, 4]), tf.Variable(tf.zeros([0], tf.int32), shape=[None])

    def step(tokens, state, memory):
        seen.assign(tf.concat([seen, memory, state[:1, 0]], axis=0))
        return tf.one_hot(tf.where(state >= memory[:, tf.newaxis], EOS, 4), 6) * 40, state + 1, None

    def search():
        limits = tf.fill([8], 20)
        return greedy_search(step, tf.zeros([8], tf.int32), maximum_lengths=limits, rules=rules(), memory=longest)

    found = tf.function(search)() if compiled else search()
    assert found.lengths[:, 0].numpy().tolist() == longest.numpy().tolist()
    assert found.tokens[2, 0].numpy().tolist() == [4] * 6 + [PAD]
    rows = [longest.numpy().tolist()] * 4 + [[6, 7, 5, 4]] * 2 + [[6, 7], [7]]
    assert seen.numpy().tolist() == [number for time, those in enumerate(rows) for number in (*those, time)]


def test_greedy_search_keeps_its_first_end_while_others_go_on():
    """The first row ends at once (0.6), though by this length penalty a longer output would score better."""

    def step(tokens, state, memory):
        ends = tf.math.log([0.0, 0.0, 0.0, 0.6, 0.4])
        goes_on = tf.one_hot(tf.where(state < 3, 4, EOS), 5) * 40
        return tf.where(((state == 0) & memory)[..., tf.newaxis], ends, goes_on), state + 1, None

    found = greedy_search(
        step,
        tf.zeros([2], tf.int32),
        maximum_lengths=[9, 9],
        rules=rules(length_penalty=4.0),
        memory=tf.constant([[True], [False]]),
    )
    assert found.lengths.numpy().tolist() == [[0], [3]]
    np.testing.assert_allclose(found.scores, [[math.log(0.6)], [0.0]], atol=1e-6)


@pytest.mark.parametrize(("method", "steps"), [("greedy", 3), ("beam", 3)])
def test_the_loop_stops_when_no_row_can_gain(method, steps):
    """Two tokens and a sure end: the third step is the last one, whatever the greatest length."""
    calls = []

    def step(tokens, state, memory):
        calls.append(1)
        sure = tf.where(state < 2, 4, EOS)
        return tf.one_hot(sure, 6) * 40, state + 1, None

    search = functools.partial(beam_search, beam_size=3, n_best=1) if method == "beam" else greedy_search
    found = search(step, tf.zeros([2], tf.int32), maximum_lengths=[100, 50], rules=rules(length_penalty=1.0))
    assert found.tokens.numpy().tolist() == [[[4, 4]], [[4, 4]]]
    assert len(calls) == steps


@pytest.mark.parametrize("size", [6, 2017])
def test_infinite_and_half_precision_logits_give_finite_scores(size):
    """A step may bar tokens by -inf: they are not produced; and an output can end all the same."""

    def step(tokens, state, memory):
        logits = tf.where(tf.range(size) == size - 1, tf.cast(1.0, tf.float16), tf.cast(-math.inf, tf.float16))
        return tf.zeros([1, 4, size], tf.float16) + logits, state, None

    found = beam_search(step, (), maximum_lengths=[2], rules=rules(), beam_size=4)
    assert found.scores.dtype == tf.float32 and np.isfinite(found.scores).all()
    assert outputs(found, 0)
    assert {token for output in outputs(found, 0) for token in output} <= {size - 1}


@pytest.mark.parametrize("numbers", [0, 7])
@pytest.mark.parametrize("size", [8, 2000])
def test_a_diverged_model_gives_hopeless_scores_and_ends(size, numbers):
    """All logits are NaN, or all but a number of them."""
    calls = []
    logits = tf.where(tf.range(size) < numbers, tf.cast(tf.range(size), tf.float32), math.nan)

    def step(tokens, state, memory):
        calls.append(1)
        assert len(calls) < 10 and tf.reduce_max(tokens) < size
        return tf.zeros([*tokens.shape, size]) + logits, state, None

    for search in (greedy_search, functools.partial(beam_search, beam_size=4)):
        found = search(step, (), maximum_lengths=[1, 3], rules=rules())
        assert (found.scores <= -1e8).numpy().all()  # false for NaN


@pytest.mark.parametrize("compiled", [False, True])
def test_empty_batch(compiled):
    model = Model(seed=12, rows=3, length=3).rows(slice(0, 0))
    search = functools.partial(model.beam, rules(coverage_penalty=0.1), 2)
    found = tf.function(search)() if compiled else search()
    assert [tuple(values.shape) for values in found] == [(0, 2, 1), (0, 2), (0, 2), (0, 2), (0, 2, 1, SOURCE)]


def test_saved_model_takes_any_batch_and_source_length(tmp_path):
    module = Exported()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.search})
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    generator = np.random.default_rng(13)
    for batch, length in ((3, 5), (1, 2), (0, 4)):
        memory = generator.normal(size=(batch, length, 8)).astype(np.float32)
        mask = np.arange(length) < generator.integers(1, length + 1, size=(batch, 1))
        result = served(memory=tf.constant(memory), mask=tf.constant(mask))
        with_python_loops = Exported.search.python_function(module, tf.constant(memory), tf.constant(mask))
        for name, value in with_python_loops.items():
            np.testing.assert_allclose(result[name], value, atol=1e-5, err_msg=name)
    names = {node.op for node in served.graph.as_graph_def().node}
    for function in served.graph.as_graph_def().library.function:
        names |= {node.op for node in function.node_def}
    assert not names & {"GatherTree", "PyFunc", "EagerPyFunc"}


def test_static_batch_of_one_with_an_unknown_step():
    """Shapes that are known better outside the step than inside it."""
    model = Model(seed=14, rows=1, length=3)

    def blur(tensor):
        return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])

    def step(tokens, state, memory):
        logits, state, _ = model.step(tokens, state, memory)
        return blur(logits), tf.nest.map_structure(blur, state), None

    @tf.function
    def search():
        given = {"maximum_lengths": [3], "rules": rules(), "memory": model.memory()}
        return beam_search(step, model.initial_state(), **given, beam_size=3).tokens

    np.testing.assert_array_equal(search(), model.beam(rules(), 3).tokens)


def test_without_a_source_mask_no_attention_is_kept():
    model = Model(seed=15, rows=2, length=3)
    without, given = model.beam(rules(), 3, attention=False), model.beam(rules(), 3)
    assert without.attention is None
    np.testing.assert_array_equal(without.tokens, given.tokens)


def test_wrong_calls_are_refused():
    model = Model(seed=16, rows=1, length=2)
    with pytest.raises(ValueError, match="coverage_penalty.*source_mask"):
        model.beam(rules(coverage_penalty=1.0), 2, attention=False)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        model.beam(rules(), 0)
    with pytest.raises(ValueError, match="at least 1, not 2 and 0"):
        model.beam(rules(), 2, n_best=0)
    with pytest.raises(ValueError, match="must return its attention"):
        greedy_search(
            lambda tokens, state, memory: (tf.zeros([1, 1, 5]), state, None),
            (),
            maximum_lengths=[1],
            rules=rules(),
            source_mask=tf.constant([[True]]),
        )
    with pytest.raises(ValueError, match="above the end_token, 3; .*3"):
        greedy_search(
            lambda tokens, state, memory: (tf.zeros([1, 1, 3]), state, None), (), maximum_lengths=[1], rules=rules()
        )
