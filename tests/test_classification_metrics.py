"""What classifiers are measured by: by hand, and by scikit-learn."""

import json
import random

import numpy as np
import pytest
from sklearn import metrics as sklearn

from nlp_rnn.classification_metrics import class_figures, classification_metrics, confusion, multi_label_metrics

NOTHING = {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_one_label_by_hand() -> None:
    found = classification_metrics(["a", "b", "a", "a"], ["a", "a", "b", "a"], scores=[0.9, 0.8, 0.6, 0.9])
    assert found["accuracy"] == 0.5
    assert found["per_class"] == {
        "a": {"precision": 2 / 3, "recall": 2 / 3, "f1": pytest.approx(2 / 3), "support": 3},
        "b": {**NOTHING, "support": 1},
    }
    assert found["macro_f1"] == pytest.approx(1 / 3)
    assert found["weighted_f1"] == pytest.approx(1 / 2)
    # Two right ones at 0.9, and wrong ones at 0.8 and 0.6.
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.1 + 0.8 + 0.6) / 4)


def test_one_label_as_by_scikit_learn() -> None:
    draw = random.Random(1)
    predicted, expected = draw.choices("abcd", k=300), draw.choices("aabce", k=300)
    found = class_figures(predicted, expected)
    for average in ("macro", "weighted"):
        wanted = sklearn.f1_score(expected, predicted, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(wanted)
    assert list(found["per_class"]) == list("abcde")


def test_a_label_never_seen_in_training_is_an_error_like_any_other() -> None:
    found = classification_metrics(["a", "a"], ["a", "new"], scores=[1.0, 1.0])
    assert found["accuracy"] == 0.5
    assert found["per_class"]["new"] == {**NOTHING, "support": 1}


def test_confusion_counts_expected_by_predicted() -> None:
    labels, matrix = confusion(["b", "a", "c"], ["a", "a", "a"])
    assert labels == ["a", "b", "c"]
    assert matrix.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_several_labels_by_hand() -> None:
    """Order does not matter; the second example has one too few, the third one too many, the last one none."""
    found = multi_label_metrics([["b", "a"], ["a"], ["a", "b"], []], [["a", "b"], ["a", "c"], ["b"], []])
    assert found["accuracy"] == 2 / 4
    assert (found["precision"], found["recall"], found["f1"]) == (4 / 5, 4 / 5, pytest.approx(4 / 5))
    assert found["per_class"] == {
        "a": {"precision": 2 / 3, "recall": 1.0, "f1": pytest.approx(4 / 5), "support": 2},
        "b": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2},
        "c": {**NOTHING, "support": 1},
    }
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1) / 3)
    assert found["weighted_f1"] == pytest.approx((2 * 4 / 5 + 2) / 5)


def test_several_labels_as_by_scikit_learn() -> None:
    draw = np.random.default_rng(2)
    sides = [draw.random((200, 5)) < share for share in (0.3, 0.5)]
    predicted, expected = ([[f"l{i}" for i in np.flatnonzero(row)] for row in side] for side in sides)
    found, (right, left) = multi_label_metrics(predicted, expected), sides
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(left, right))
    for average, keys in {"micro": ("precision", "recall", "f1"), "macro": (None, None, "macro_f1"),
                          "weighted": (None, None, "weighted_f1")}.items():  # fmt: skip
        wanted = sklearn.precision_recall_fscore_support(left, right, average=average, zero_division=0)
        for key, value in zip(keys, wanted, strict=False):
            assert key is None or found[key] == pytest.approx(value), key
    columns = sklearn.precision_recall_fscore_support(left, right, zero_division=0)
    for (label, figures), *row in zip(found["per_class"].items(), *columns, strict=True):
        assert list(figures.values()) == pytest.approx(row), label


def test_a_single_label_is_one_class() -> None:
    """A test set of several labels may hold but one of them."""
    found = multi_label_metrics([["a"], ["a"], []], [["a"], [], ["a"]])
    assert found["per_class"] == {"a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}}
    assert (found["accuracy"], found["f1"], found["macro_f1"], found["weighted_f1"]) == (1 / 3, 0.5, 0.5, 0.5)


def test_without_any_label_only_the_accuracy_is_not_0() -> None:
    found = multi_label_metrics([[], []], [[], []])
    assert found == {
        "accuracy": 1.0, **NOTHING, "macro_f1": 0.0, "weighted_f1": 0.0, "per_class": {},
    }  # fmt: skip
    missed = multi_label_metrics([[]], [["a"]])
    assert (missed["accuracy"], missed["precision"], missed["f1"]) == (0.0, 0.0, 0.0)


def test_all_figures_are_json() -> None:
    one = classification_metrics(["a"], ["a"], scores=np.float32([0.5]))
    several = multi_label_metrics([["a", "b"]], [["a"]])
    for found in (one, several):
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert all(type(row["support"]) is int for row in found["per_class"].values())


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example to measure, not none"):
        classification_metrics([], [], scores=[])
    with pytest.raises(ValueError, match="at least one example to measure, not none"):
        multi_label_metrics([], [])
    with pytest.raises(ValueError, match="Expected predicted of 2 examples, not of 1"):
        classification_metrics(["a"], ["a", "b"], scores=[1.0, 1.0])
    with pytest.raises(ValueError, match="Expected scores of 1 examples, not of 2"):
        classification_metrics(["a"], ["a"], scores=[1.0, 1.0])
    with pytest.raises(ValueError, match="Expected predicted of 1 examples, not of 2"):
        multi_label_metrics([["a"], ["b"]], [["a"]])
