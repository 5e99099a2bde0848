"""From raw text to labels: what an exported classifier answers."""

import classifier_cases as cases
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.config import DataConfig
from nlp_rnn.families import ClassificationText
from nlp_rnn.models.classification import ClassificationModule


def module(side: ClassificationText, **changes: object) -> ClassificationModule:
    return ClassificationModule(
        network=cases.network(side, **changes),
        reader=side.reader,
        labels=side.labels,
        temperature=side.temperature,
        threshold=0.5,
        maximum_length=8,
    )


def test_the_best_label_has_the_highest_calibrated_probability() -> None:
    side = cases.text()
    made = module(side, members=2)
    answer = made.signatures["serving_default"](text=tf.constant(cases.TEXTS))
    scores = made.network.vote(made.network([cases.read(side, cases.TEXTS)]).scores).numpy().astype(np.float64) / 1.5
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(answer["score"], expected.max(1), atol=1e-5)
    assert [label.decode() for label in answer["label"].numpy()] == [cases.LABELS[i] for i in expected.argmax(1)]
    assert answer["labels"].numpy().tolist() == [[b"bad", b"fair", b"good"]] * 4
    assert not answer["truncated"].numpy().any()


def test_explain_says_what_was_read_and_what_it_weighs() -> None:
    side = cases.text()
    made = module(side)
    texts = tf.constant(cases.TEXTS)
    answer, plain = made.signatures["explain"](text=texts), made.signatures["serving_default"](text=texts)
    np.testing.assert_allclose(answer["probabilities"], plain["probabilities"], atol=1e-6)
    assert answer["tokens"].numpy()[0, :7].tolist() == [b"Anna", b"Smith", b"lives", b"in", b"New", b"York", b"."]
    assert answer["tokens"].numpy()[1].tolist() == [b"The", b"zebra", *[b""] * 5]
    assert answer["lengths"].numpy().tolist() == [7, 2, 1, 0]
    attention = answer["attention"].numpy()
    np.testing.assert_allclose(attention.sum(1), [1, 1, 1, 0], atol=1e-6)
    assert not attention[1, 2:].any()


def test_characters_are_explained_one_by_one() -> None:
    answer = module(cases.characters()).signatures["explain"](text=tf.constant(["Abz"]))
    assert answer["tokens"].numpy().tolist() == [[b"a", b"b", b"z"]]


def test_without_attention_there_is_nothing_to_explain() -> None:
    assert set(module(cases.text(), pools=("max",)).signatures) == {"serving_default"}


def test_what_is_too_long_is_cut_and_said_so() -> None:
    made = module(cases.text())
    nine = "the " * 9
    answer = made.signatures["serving_default"](text=tf.constant([nine, "the " * 8]))
    assert answer["truncated"].numpy().tolist() == [True, False]
    np.testing.assert_allclose(answer["probabilities"][0], answer["probabilities"][1], atol=1e-6)


@pytest.mark.parametrize("data", [DataConfig(), DataConfig(multi_label=True), DataConfig(text_pair_column="b")])
def test_nothing_and_nonsense_have_answers(data: DataConfig) -> None:
    made = module(cases.text(), data=data)
    names = ["text", "text_pair"][: 1 if data.text_pair_column is None else 2]
    strange = [b"", b" \t\n", b"a\xffb", "漢字 \N{WAVING HAND SIGN}".encode(), b"x" * 100_000, b"\x00"]
    for function in made.signatures.values():
        answer = function(**{name: tf.constant(strange) for name in names})
        assert np.isfinite(answer["probabilities"]).all()
        nothing = function(**{name: tf.zeros([0], tf.string) for name in names})
        assert nothing["probabilities"].shape == (0, 3)


def test_labels_of_several_are_selected_from_the_threshold_on() -> None:
    side = cases.text()
    made = module(side, data=DataConfig(multi_label=True))
    answer = made.signatures["serving_default"](text=tf.constant(cases.TEXTS))
    assert set(answer) == {"labels", "probabilities", "selected", "truncated"}
    scores = made.network.vote(made.network([cases.read(side, cases.TEXTS)]).scores).numpy().astype(np.float64) / 1.5
    np.testing.assert_allclose(answer["probabilities"], 1 / (1 + np.exp(-scores)), atol=1e-5)
    np.testing.assert_array_equal(answer["selected"], answer["probabilities"].numpy() >= 0.5)


def test_a_pair_is_explained_on_both_sides() -> None:
    made = module(cases.text(), data=DataConfig(text_pair_column="b"))
    answer = made.signatures["explain"](text=tf.constant(["York"]), text_pair=tf.constant(["The zebra"]))
    assert answer["tokens"].numpy().tolist() == [[b"York"]]
    assert answer["pair_tokens"].numpy().tolist() == [[b"The", b"zebra"]]
    np.testing.assert_allclose(tf.reduce_sum(answer["pair_attention"], axis=1), [1.0], atol=1e-6)
    assert answer["pair_lengths"].numpy().tolist() == [2]


def test_what_does_not_fit_together_is_refused() -> None:
    side = cases.text()
    settings = {"reader": side.reader, "temperature": 1.0, "threshold": 0.5, "maximum_length": 8}
    with pytest.raises(ValueError, match="labels must be the network's 3, not 2"):
        ClassificationModule(network=cases.network(side), labels=("a", "b"), **settings)
    with pytest.raises(ValueError, match="must compute in float32, not bfloat16"):
        ClassificationModule(network=cases.network(side, precision="mixed_bfloat16"), labels=side.labels, **settings)
