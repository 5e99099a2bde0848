"""The classifier's network: what it computes, that padding does not matter, and what training minimises."""

import classifier_cases as cases
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.config import DataConfig
from nlp_rnn.models.classifier import Classifier

PAIRS = DataConfig(text_pair_column="other")


def test_members_differ_and_each_votes() -> None:
    side = cases.text()
    network = cases.network(side, members=2)
    votes = network([cases.read(side, cases.TEXTS)])
    assert votes.scores.shape == (3, 4, 3)  # two recurrent members and the linear one
    assert np.abs(votes.scores[0] - votes.scores[1]).max() > 0.1
    one, other, linear = votes.scores.numpy()
    np.testing.assert_allclose(network.vote(votes.scores), (one + other) / 4 + linear / 2, rtol=1e-5)
    np.testing.assert_allclose(network.sides(votes.scores), [(one + other) / 2, linear], rtol=1e-5)
    alone = cases.network(side, members=2, ngrams=0)
    np.testing.assert_allclose(alone.vote(votes.scores[:2]), (one + other) / 2, rtol=1e-5)
    (attention,) = votes.attention
    np.testing.assert_allclose(tf.reduce_sum(attention, axis=1), [1, 1, 1, 0], atol=1e-6)


def test_the_linear_member_is_the_sum_of_its_runs() -> None:
    side = cases.text()
    network = cases.network(side)
    texts = cases.read(side, ["Anna lives", "York"])
    linear = network.linear
    numbers = network.members[0].embedding.numbers(texts)
    expected = linear.tokens[0](numbers, mask=texts["mask"]) + linear.characters[0](
        texts["characters"], mask=texts["characters"] != 0, positions=texts["positions"], words_mask=texts["mask"]
    )
    np.testing.assert_allclose(network([texts]).scores[-1], expected, rtol=1e-6)


def test_runs_that_tell_labels_apart_count_more_once_they_are_weighed() -> None:
    side = cases.text()
    network = cases.network(side, data=PAIRS, ngram_buckets=4096)
    # The first text tells the label, and Anna more than York does; the second is the same of all.
    first = cases.read(side, ["Anna", "Anna", "York", "York"])
    second = cases.read(side, ["zebra"] * 4)
    labels = tf.constant([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], tf.float32)
    before = network([first, second]).scores[-1]
    network.weigh_runs([([first, second], labels)])
    weights = [layer._weighing.numpy() for layer in (*network.linear.tokens, *network.linear.characters)]
    for told, told_nothing in ((weights[0], weights[1]), (weights[2], weights[3])):
        assert told.max() > 1.2 * told_nothing.max()
    after = network([first, second]).scores[-1]
    assert np.abs(after - before).max() > 0.01
    stored = [weight.shape for weight in network.weights]
    network.settle(0.5)
    np.testing.assert_allclose(network([first, second]).scores[-1], after, rtol=1e-5, atol=1e-5)
    again = cases.network(side, data=PAIRS, ngram_buckets=4096)
    assert [weight.shape for weight in again.weights] == stored
    again.set_weights(network.get_weights())
    np.testing.assert_allclose(again([first, second]).scores[-1], after, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_settled_share_is_what_the_linear_model_counts(share: float) -> None:
    side = cases.text()
    network = cases.network(side, members=2)
    texts = cases.read(side, cases.TEXTS)
    one, other, linear = network([texts]).scores.numpy()
    network.settle(share)
    vote = network.vote(network([texts]).scores)
    np.testing.assert_allclose(vote, (1 - share) * (one + other) / 2 + share * linear, rtol=1e-4, atol=1e-5)


def test_a_network_without_linear_model_has_nothing_to_weigh_or_share() -> None:
    network = cases.network(cases.text(), ngrams=0)
    network.weigh_runs([])
    with pytest.raises(ValueError, match="Only a classifier with a linear model"):
        network.settle(0.5)


def test_padding_and_neighbours_change_nothing() -> None:
    side = cases.text()
    network = cases.network(side, members=2)
    together = network([cases.read(side, cases.TEXTS, width=17)]).scores.numpy()
    for row, text in enumerate(cases.TEXTS):
        alone = network([cases.read(side, [text])]).scores.numpy()
        np.testing.assert_allclose(together[:, row], alone[:, 0], atol=1e-5)


def test_tokens_need_no_words() -> None:
    side = cases.characters()
    network = cases.network(side)
    assert not network.linear.characters
    assert np.isfinite(network([cases.read(side, cases.TEXTS)]).scores).all()


def test_a_pair_is_read_in_its_order() -> None:
    side = cases.text()
    network = cases.network(side, data=PAIRS)
    first, second = cases.read(side, cases.TEXTS), cases.read(side, cases.TEXTS[::-1])
    votes = network([first, second])
    assert len(votes.attention) == 2
    assert np.abs(votes.scores - network([second, first]).scores).max() > 0.1


def test_the_loss_is_the_mean_cross_entropy_of_the_members() -> None:
    side = cases.text()
    network, texts = cases.network(side, members=2), cases.read(side, cases.TEXTS)
    labels, weights = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]], np.array([1, 2, 0.5, 0], np.float32)
    total, count = network.loss_sum([texts], labels, weights=weights, label_smoothing=0.3)
    scores = network([texts]).scores.numpy().astype(np.float64)
    log = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    target = 0.7 * labels + 0.1
    np.testing.assert_allclose(total, -(weights * (target * log).sum(-1)).sum(-1).mean(), rtol=1e-5)
    assert count == 3.5


def test_labels_of_several_are_decided_one_by_one() -> None:
    side = cases.text()
    network, texts = cases.network(side, data=DataConfig(multi_label=True)), cases.read(side, cases.TEXTS)
    labels, weights = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]], np.float32), np.ones(4, np.float32)
    total, _ = network.loss_sum([texts], labels, weights=weights)
    scores = network([texts]).scores.numpy().astype(np.float64)
    each = np.log1p(np.exp(-np.abs(scores))) + np.maximum(scores, 0) - labels * scores
    np.testing.assert_allclose(total, each.mean(-1).sum(-1).mean(), rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_weight_learns_in_every_precision(precision: str) -> None:
    side = cases.text()
    network = cases.network(side, precision=precision, members=2, character_encoder="convolution", character_size=4)
    texts = cases.read(side, cases.TEXTS)
    labels = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    with tf.GradientTape() as tape:
        total, _ = network.loss_sum([texts], labels, weights=np.ones(4, np.float32), training=True)
    assert total.dtype == tf.float32
    values = [variable.value for variable in network.trainable_variables]
    for variable, gradient in zip(network.trainable_variables, tape.gradient(total, values), strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


def test_members_share_the_vectors_that_do_not_change() -> None:
    network = cases.network(cases.text(vector_size=3), members=3)
    tables = [member.embedding.vectors for member in network.members]
    assert tables[0] is tables[1] is tables[2]
    assert sum("vectors" in weight.path for weight in network.weights) == 1


def test_a_network_is_rebuilt_from_its_arguments() -> None:
    side = cases.text()
    network, texts = cases.network(side, members=2), cases.read(side, cases.TEXTS)
    again = Classifier.from_config(network.get_config())
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again([texts]).scores, network([texts]).scores)
