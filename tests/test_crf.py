"""The conditional random field, against all paths one by one in float64."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from nlp_rnn.layers.crf import ConditionalRandomField

TAGS, TIME = 3, 4
LENGTHS = [4, 1, 0, 3]
BATCH = len(LENGTHS)
MASK = tf.sequence_mask(LENGTHS, TIME)
# As in a BIO scheme: O, B, I. I follows no O and comes not first; here B comes not last either.
RULES: dict[str, Any] = {
    "allowed_starts": [True, True, False],
    "allowed_transitions": [[True, True, False], [True, True, True], [True, True, True]],
    "allowed_ends": [True, False, True],
}
SCALES = [(1.0, 1.0), (50.0, 20.0)]  # of emissions, and of all other scores


class Numbers(NamedTuple):
    """In float64: emissions (time, tags) of one row, and the layer's scores without its rules."""

    emissions: np.ndarray
    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray


def layer_of(scale: float = 1.0, tags: int = TAGS, dtype: str = "float32", **rules: Any) -> ConditionalRandomField:
    layer = ConditionalRandomField(tags=tags, dtype=keras.DTypePolicy(dtype), **rules)
    layer.build((None, None, tags))
    generator = np.random.default_rng(5)
    for weight in layer.weights:
        weight.assign(generator.uniform(-scale, scale, size=weight.shape))
    return layer


def emissions_of(scale: float = 1.0, shape: tuple[int, ...] = (BATCH, TIME, TAGS)) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, [0, 1], -scale, scale)


def tags_of(rules: dict[str, Any], seed: int = 2) -> np.ndarray:
    """Paths drawn at random that keep the rules, 0 at padding."""
    paths = np.zeros([BATCH, TIME], np.int32)
    generator = np.random.default_rng(seed)
    for row, length in enumerate(LENGTHS):
        paths[row, :length] = generator.choice(list(legal_paths(length, rules)))
    return paths


def legal_paths(length: int, rules: dict[str, Any]) -> list[tuple[int, ...]]:
    def legal(path: tuple[int, ...]) -> bool:
        return not rules or (
            rules["allowed_starts"][path[0]]
            and rules["allowed_ends"][path[-1]]
            and all(rules["allowed_transitions"][one][two] for one, two in itertools.pairwise(path))
        )

    return [path for path in itertools.product(range(TAGS), repeat=length) if not length or legal(path)]


def score(path: tuple[int, ...], given: Numbers) -> float:
    if not path:
        return 0.0
    return (
        given.start[path[0]]
        + sum(given.emissions[index, tag] for index, tag in enumerate(path))
        + sum(given.transitions[one, two] for one, two in itertools.pairwise(path))
        + given.end[path[-1]]
    )


def probabilities(given: Numbers, length: int, rules: dict[str, Any]) -> dict[tuple[int, ...], float]:
    """All paths that keep the rules, and the logarithms of their probabilities."""
    paths = legal_paths(length, rules)
    scores = np.array([score(path, given) for path in paths])
    total = scores.max() + np.log(np.exp(scores - scores.max()).sum())
    return dict(zip(paths, scores - total, strict=True))


def numbers(layer: ConditionalRandomField, emissions: Any) -> list[Numbers]:
    weights = [weight.numpy().astype(np.float64) for weight in (layer.transitions, layer.start, layer.end)]
    return [Numbers(row, *weights) for row in np.array(emissions, np.float64)]


def both_rules(function: Callable) -> Callable:
    by_rules = pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
    by_scale = pytest.mark.parametrize(("emission_scale", "scale"), SCALES, ids=["small", "large"])
    return by_rules(by_scale(function))


@pytest.mark.parametrize("training", [False, True])
@both_rules
def test_log_likelihood_is_that_of_all_paths(emission_scale, scale, rules, training) -> None:
    layer, emissions = layer_of(scale, **rules), emissions_of(emission_scale)
    for seed in range(3):
        tags = tags_of(rules, seed)
        found = layer.log_likelihood(emissions, tags, mask=MASK, training=training)
        expected = [
            probabilities(row, length, rules)[tuple(tags[index, :length].tolist())]
            for index, (row, length) in enumerate(zip(numbers(layer, emissions), LENGTHS, strict=True))
        ]
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


@both_rules
def test_decoding_finds_the_best_of_all_paths(emission_scale, scale, rules) -> None:
    layer, emissions = layer_of(scale, **rules), emissions_of(emission_scale)
    path, scores = layer.decode(emissions, mask=MASK)
    assert path.dtype == tf.int32 and scores.dtype == tf.float32
    for index, (row, length) in enumerate(zip(numbers(layer, emissions), LENGTHS, strict=True)):
        best = max(legal_paths(length, rules), key=lambda path, row=row: score(path, row))
        assert path[index].numpy().tolist() == [*best, *[0] * (TIME - length)]
        np.testing.assert_allclose(scores[index], score(best, row), rtol=1e-6, atol=1e-6)
    for one, two in zip(layer(emissions, mask=MASK), (path, scores), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(layer.decode_and_infer(emissions, mask=MASK)[0], path)


@both_rules
def test_marginals_are_sums_over_all_paths(emission_scale, scale, rules) -> None:
    layer, emissions = layer_of(scale, **rules), emissions_of(emission_scale)
    found = layer.marginals(emissions, mask=MASK)
    expected = np.zeros([BATCH, TIME, TAGS])
    for index, (row, length) in enumerate(zip(numbers(layer, emissions), LENGTHS, strict=True)):
        for path, log_probability in probabilities(row, length, rules).items():
            expected[index, range(length), path] += np.exp(log_probability)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=-1), MASK.numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.numpy()[~MASK.numpy()], 0)


@both_rules
def test_span_probabilities_are_sums_over_the_paths_that_agree(emission_scale, scale, rules) -> None:
    layer, emissions = layer_of(scale, **rules), emissions_of(emission_scale)
    every = [(start, end) for start in range(TIME + 1) for end in range(TIME + 1)]
    starts, ends = (np.tile(np.array(side, np.int32), [BATCH, 1]) for side in zip(*every, strict=True))
    # The best path, whose spans are likely, and one drawn at random.
    for tags in (layer.decode(emissions, mask=MASK)[0].numpy(), tags_of(rules)):
        found = layer.span_probabilities(emissions, tags, mask=MASK, starts=starts, ends=ends)
        expected = np.zeros([BATCH, len(every)])
        for index, (row, length) in enumerate(zip(numbers(layer, emissions), LENGTHS, strict=True)):
            all_paths = probabilities(row, length, rules)
            for column, (start, end) in enumerate(every):
                if start < end <= length:
                    wanted = tuple(tags[index, start:end].tolist())
                    agreeing = [value for path, value in all_paths.items() if path[start:end] == wanted]
                    expected[index, column] = np.exp(agreeing).sum()
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def gradients(layer: ConditionalRandomField, emissions: tf.Tensor, tags: Any, training: bool) -> list[np.ndarray]:
    """Of a sum in which every row weighs differently, one of them nothing."""
    sources = [emissions, layer.transitions.value, layer.start.value, layer.end.value]
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        found = layer.log_likelihood(emissions, tags, mask=MASK, training=training)
        total = tf.reduce_sum(found * row_weights())
    return [gradient.numpy() for gradient in tape.gradient(total, sources)]


def row_weights() -> np.ndarray:
    return np.array([1.0, -0.5, 3.0, 2.0], np.float32)


@both_rules
def test_gradients_are_those_of_finite_differences(emission_scale, scale, rules) -> None:
    layer, emissions, tags = layer_of(scale, **rules), emissions_of(emission_scale), tags_of(rules)
    given = numbers(layer, emissions)
    sources = [np.stack([row.emissions for row in given]), *given[0][1:]]

    def total() -> float:
        rows = [Numbers(row, *sources[1:]) for row in sources[0]]
        found = [
            probabilities(row, length, rules)[tuple(tags[index, :length].tolist())]
            for index, (row, length) in enumerate(zip(rows, LENGTHS, strict=True))
        ]
        return float(np.dot(row_weights(), found))

    expected = [np.zeros_like(source) for source in sources]
    for source, gradient in zip(sources, expected, strict=True):
        for index in np.ndindex(source.shape):
            kept, sides = source[index], []
            for step in (1e-4, -1e-4):
                source[index] = kept + step
                sides.append(total())
            source[index] = kept
            gradient[index] = (sides[0] - sides[1]) / 2e-4
    for training in (False, True):
        for found, wanted in zip(gradients(layer, emissions, tags, training), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_training_and_inference_give_the_same_numbers() -> None:
    layer, emissions, tags = layer_of(**RULES), emissions_of(), tags_of(RULES)
    values = [layer.log_likelihood(emissions, tags, mask=MASK, training=training) for training in (False, True)]
    np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-6)
    plain, compiled = (gradients(layer, emissions, tags, training) for training in (False, True))
    for one, two in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_sure_path_keeps_its_small_loss() -> None:
    """A partition function less a path score, both 10 000, would leave three digits after the point."""
    layer = layer_of(0.0)
    tags = np.random.default_rng(0).integers(TAGS, size=[1, 500])
    emissions = 10.0 * tf.one_hot(tags, TAGS) + 10.0
    found = layer.log_likelihood(emissions, tags, mask=tf.ones([1, 500], tf.bool))
    np.testing.assert_allclose(found, [-500 * np.log1p(2 * np.exp(-10.0))], rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_what_all_tags_of_a_token_share_costs_no_digits(training: bool) -> None:
    """250 tokens of 128 and more for every tag: sums near 32 000, between which float32 holds steps of 0.002."""
    layer, mask = layer_of(), tf.ones([1, 250], tf.bool)
    emissions = tf.round(emissions_of(shape=(1, 250, TAGS)) * 1024) / 1024  # exact with 128 added, too
    tags = np.random.default_rng(0).integers(TAGS, size=[1, 250])
    one, two = (
        layer.log_likelihood(given, tags, mask=mask, training=training) for given in (emissions, emissions + 128)
    )
    np.testing.assert_allclose(one, two, rtol=1e-6)
    one, two = (layer.marginals(given, mask=mask) for given in (emissions, emissions + 128))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_only_way_on_may_be_a_very_unlikely_tag(training: bool) -> None:
    """Tag 1 lies 200 below tag 0, and only tag 1 leads to tag 2, far better than the rest."""
    layer = layer_of(0.0, **(RULES | {"allowed_ends": None}))
    emissions = tf.constant([[[200.0, 0.0, 0.0], [0.0, 0.0, 500.0]]])
    mask = tf.ones([1, 2], tf.bool)
    assert layer.decode(emissions, mask=mask)[0].numpy().tolist() == [[1, 2]]
    np.testing.assert_allclose(layer.marginals(emissions, mask=mask)[0], [[0, 1, 0], [0, 0, 1]], atol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        value = layer.log_likelihood(emissions, tf.constant([[0, 0]]), mask=mask, training=training)
    np.testing.assert_allclose(value, [-300.0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, emissions)[0], [[1, -1, 0], [1, 0, -1]], atol=1e-6)


def test_what_is_forbidden_is_never_decoded_and_has_no_probability() -> None:
    layer = layer_of(**RULES)
    # Everything speaks for tag 2 at the start and after tag 0, and for tag 1 at the end.
    emissions = 50.0 * tf.one_hot([[2, 2, 0, 2, 1], [2, 1, 1, 1, 1], [0, 2, 2, 2, 1]], TAGS)
    mask = tf.sequence_mask([5, 4, 5], 5)
    path, _ = layer.decode(emissions, mask=mask)
    for row, length in zip(path.numpy().tolist(), [5, 4, 5], strict=True):
        assert RULES["allowed_starts"][row[0]] and RULES["allowed_ends"][row[length - 1]]
        assert all(RULES["allowed_transitions"][one][two] for one, two in itertools.pairwise(row[:length]))
    marginals = layer.marginals(emissions, mask=mask).numpy()
    np.testing.assert_array_equal(marginals[:, 0, 2], 0)
    np.testing.assert_array_equal(marginals[[0, 1, 2], [4, 3, 4], 1], 0)
    spans = {"starts": tf.constant([[1]] * 3), "ends": tf.constant([[3]] * 3)}
    broken = tf.constant([[0, 0, 2, 0, 0]] * 3)
    np.testing.assert_array_equal(layer.span_probabilities(emissions, broken, mask=mask, **spans), np.zeros([3, 1]))


@pytest.mark.parametrize("training", [False, True])
def test_a_path_that_breaks_the_rules_has_a_finite_loss_and_gradient(training: bool) -> None:
    layer, emissions = layer_of(**RULES), emissions_of()
    tags = np.full([BATCH, TIME], 2)  # starts with what may not come first
    value = layer.log_likelihood(emissions, tags, mask=MASK, training=training)
    np.testing.assert_allclose(value, [-1e4, -1e4, 0, -1e4], atol=20)
    for gradient in gradients(layer, emissions, tags, training):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() < 100


def test_where_every_path_breaks_a_rule_the_numbers_are_finite() -> None:
    """One token cannot be the first and the last here."""
    layer = layer_of(allowed_starts=[True, False, False], allowed_ends=[False, True, True])
    mask = tf.ones([1, 1], tf.bool)
    marginals = layer.marginals(tf.zeros([1, 1, TAGS]), mask=mask).numpy()
    np.testing.assert_allclose(marginals.sum(), 1.0, atol=1e-6)
    _, scores = layer.decode(tf.zeros([1, 1, TAGS]), mask=mask)
    np.testing.assert_allclose(scores, [-1e4], atol=5)


def everything(layer: ConditionalRandomField, emissions: tf.Tensor, tags: tf.Tensor, mask: tf.Tensor) -> list:
    """All results, and the gradients of the log-likelihoods."""
    starts, ends = tf.zeros_like(tags[:, :1]), tf.ones_like(tags[:, :1]) * 2
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        value = layer.log_likelihood(emissions, tags, mask=mask, training=True)
    spans = layer.span_probabilities(emissions, tags, mask=mask, starts=starts, ends=ends)
    sources = [emissions, layer.transitions.value, layer.start.value, layer.end.value]
    path, scores = layer.decode(emissions, mask=mask)
    return [value, scores, spans, path, layer.marginals(emissions, mask=mask), *tape.gradient(value, sources)]


def test_padding_and_neighbours_change_nothing() -> None:
    layer, emissions, tags = layer_of(**RULES), emissions_of(), tf.constant(tags_of(RULES))
    expected = everything(layer, emissions, tags, MASK)
    # Whatever stands at padding, even NaN, and however much of it.
    garbage = tf.where(MASK[:, :, tf.newaxis], emissions, np.nan)
    garbage = tf.pad(garbage, [[0, 0], [0, 3], [0, 0]], constant_values=1e30)
    wild = tf.pad(tf.where(MASK, tags, -7), [[0, 0], [0, 3]], constant_values=99)
    found = everything(layer, garbage, wild, tf.pad(MASK, [[0, 0], [0, 3]]))
    for index, (one, two) in enumerate(zip(found, expected, strict=True)):
        if index in (3, 4, 5):  # one value per token: nothing at the new ones
            np.testing.assert_array_equal(one[:, TIME:], np.zeros_like(one[:, TIME:]))
            one = one[:, :TIME]
        np.testing.assert_allclose(one, two, atol=1e-6)
    # Each row on its own; the gradients of shared scores are sums over the rows.
    alone = [everything(layer, emissions[i : i + 1], tags[i : i + 1], MASK[i : i + 1]) for i in range(BATCH)]
    for index, (wanted, *rows) in enumerate(zip(expected, *alone, strict=True)):
        together = np.concatenate(rows) if index < 6 else np.sum(rows, axis=0)
        np.testing.assert_allclose(together, wanted, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_tag(batch: int, time: int, training: bool) -> None:
    layer, mask = layer_of(**RULES), tf.zeros([batch, time], tf.bool)
    emissions, tags = tf.zeros([batch, time, TAGS]), tf.zeros([batch, time], tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        value = layer.log_likelihood(emissions, tags, mask=mask, training=training)
    np.testing.assert_array_equal(value, np.zeros([batch]))
    found = tape.gradient(value, [emissions, layer.transitions.value, layer.start.value, layer.end.value])
    for gradient, source in zip(found, [emissions, *layer.weights], strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(source.shape))
    path, scores = layer.decode(emissions, mask=mask)
    assert path.shape == (batch, time)
    np.testing.assert_array_equal(scores, np.zeros([batch]))
    assert layer.marginals(emissions, mask=mask).shape == (batch, time, TAGS)
    spans = {"starts": tf.zeros([batch, 2], tf.int32), "ends": tf.ones([batch, 2], tf.int32)}
    found = layer.span_probabilities(emissions, tags, mask=mask, **spans)
    np.testing.assert_array_equal(found, np.zeros([batch, 2]))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_half_precision_computes_in_float32(dtype: str) -> None:
    layer, same = layer_of(dtype=dtype, **RULES), layer_of(**RULES)
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    emissions, tags = tf.cast(emissions_of(), layer.compute_dtype), tags_of(RULES)
    exact = tf.cast(emissions, tf.float32)
    spans = {"starts": [[0]] * BATCH, "ends": [[2]] * BATCH}
    spans = {name: tf.constant(side) for name, side in spans.items()}
    for training in (False, True):
        found = layer.log_likelihood(emissions, tags, mask=MASK, training=training)
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, same.log_likelihood(exact, tags, mask=MASK, training=training))
        half, full = gradients(layer, emissions, tags, training), gradients(same, exact, tags, training)
        assert half[0].dtype == layer.compute_dtype  # as the layer below expects it
        np.testing.assert_allclose(half[0], full[0], rtol=1e-2, atol=1e-6)
        for one, two in zip(half[1:], full[1:], strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(layer.decode(emissions, mask=MASK), same.decode(exact, mask=MASK), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(layer.marginals(emissions, mask=MASK), same.marginals(exact, mask=MASK))
    one, two = (
        given.span_probabilities(values, tags, mask=MASK, **spans)
        for given, values in ((layer, emissions), (same, exact))
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("rules", [{}, RULES], ids=["free", "ruled"])
def test_save_and_load(rules: dict[str, Any], tmp_path: Path) -> None:
    layer = layer_of(**rules)
    emissions, mask = keras.Input([None, TAGS]), keras.Input([None], dtype="bool")
    model = keras.Model([emissions, mask], layer(emissions, mask=mask))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = next(layer for layer in loaded.layers if isinstance(layer, ConditionalRandomField))
    config = again.get_config()
    assert {name: config[name] for name in ("tags", *RULES)} == {"tags": TAGS} | dict.fromkeys(RULES) | rules
    values = emissions_of()
    for one, two in zip(loaded([values, MASK]), layer.decode(values, mask=MASK), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(again.marginals(values, mask=MASK), layer.marginals(values, mask=MASK))


class Served(tf.Module):
    """Everything the layer gives, as an export would hold it."""

    def __init__(self, layer: ConditionalRandomField):
        super().__init__()
        self.layer = layer

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, TAGS], name="emissions"),
            tf.TensorSpec([None, None], tf.bool, "mask"),
        ]
    )
    def serve(self, emissions: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        path, scores = self.layer.decode(emissions, mask=mask)
        lattice = self.layer.infer(emissions, mask=mask)
        starts = tf.zeros_like(path)
        ends = tf.cumsum(tf.ones_like(path), axis=1)
        return {
            "path": path,
            "scores": scores,
            "marginals": lattice.marginals,
            "spans": self.layer.lattice_span_probabilities(lattice, path, starts=starts, ends=ends),
            "log_likelihood": self.layer.log_likelihood(emissions, path, mask=mask),
        }


def test_an_export_takes_any_batch_and_length(tmp_path: Path) -> None:
    layer = layer_of(**RULES)
    layer.log_likelihood(emissions_of(), tags_of(RULES), mask=MASK, training=True)  # as a trained one has been
    module = Served(layer)
    tf.saved_model.save(module, tmp_path / "export", signatures={"serving_default": module.serve})
    content = saved_model_pb2.SavedModel.FromString((tmp_path / "export" / "saved_model.pb").read_bytes())
    graphs = [graph.graph_def for graph in content.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    assert {"While", "StatelessWhile"} & {node.op for node in nodes}
    assert not [node.name for node in nodes if node.attr["_XlaMustCompile"].b]

    serve = tf.saved_model.load(tmp_path / "export").signatures["serving_default"]
    for shape in ((BATCH, TIME), (0, 3), (2, 0), (0, 0), (1, 1)):
        emissions, mask = emissions_of(shape=(*shape, TAGS)), MASK[: shape[0], : shape[1]]
        found, expected = serve(emissions=emissions, mask=mask), module.serve(emissions, mask)
        for name, value in expected.items():
            assert found[name].shape == value.shape
            np.testing.assert_allclose(found[name], value, atol=1e-6)
    # A whole path is the longest of spans.
    found = module.serve(emissions_of(), MASK)
    np.testing.assert_allclose(found["spans"][0, -1], tf.exp(found["log_likelihood"][0]), rtol=1e-5)


def test_training_is_compiled_in_a_graph_for_any_shape() -> None:
    layer = layer_of()

    @tf.function(input_signature=[tf.TensorSpec([None, None, TAGS]), tf.TensorSpec([None, None], tf.int32)])
    def loss(emissions: tf.Tensor, tags: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(emissions)
            value = layer.log_likelihood(emissions, tags, mask=tf.ones_like(tags, tf.bool), training=True)
        return value, tape.gradient(value, emissions)

    graph = loss.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert sum(node.attr["_XlaMustCompile"].b for node in nodes) >= 2  # forward and backward
    for batch, time in ((2, 3), (3, 1)):
        emissions, tags = emissions_of(shape=(batch, time, TAGS)), tf.ones([batch, time], tf.int32)
        value, gradient = loss(emissions, tags)
        rows = [probabilities(row, time, {})[(1,) * time] for row in numbers(layer, emissions)]
        np.testing.assert_allclose(value, rows, rtol=1e-5)
        expected = tf.one_hot(tags, TAGS) - layer.marginals(emissions, mask=tf.ones_like(tags, tf.bool))
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": 0}, "tags must be at least 1, not 0"),
        ({"tags": 2, "allowed_starts": [True]}, r"allowed_starts must be bool \(2,\), not bool \(1,\)"),
        ({"tags": 2, "allowed_ends": [1, 0]}, r"allowed_ends must be bool \(2,\), not int64 \(2,\)"),
        ({"tags": 2, "allowed_transitions": [[True, True]]}, r"allowed_transitions must be bool \(2, 2\).*\(1, 2\)"),
        ({"tags": 2, "allowed_starts": [False, False]}, "allowed_starts must allow at least one of the 2 tags"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConditionalRandomField(**arguments)


def test_emissions_of_another_width_are_refused() -> None:
    message = "emissions must have the width 3, one per tag, not 4"
    with pytest.raises(ValueError, match=message):
        layer_of().marginals(tf.zeros([2, 3, 4]), mask=tf.ones([2, 3], tf.bool))
    with pytest.raises(ValueError, match="mask must be bool"):
        layer_of().marginals(tf.zeros([2, 3, TAGS]), mask=tf.ones([2, 4], tf.bool))
