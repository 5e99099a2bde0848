"""How near predicted labels come to the expected ones.

Rates lie between 0 and 1. A label that a model has never seen can be expected
but not predicted; it counts as an error like any other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from nlp_rnn.calibration import expected_calibration_error

Labels = Sequence[Sequence[str]]


def classification_metrics(
    predicted: Sequence[str], expected: Sequence[str], *, scores: Sequence[float]
) -> dict[str, Any]:
    """Returns what classifiers are measured by where one label is right.

    Args:
        predicted: A label for each example.
        expected: The right one.
        scores: Confidence in each predicted label, between 0 and 1.

    Returns:
        `accuracy`; `expected_calibration_error`, as the function of that name;
        `per_class`: `precision`, `recall`, `f1` and `support` of each label;
        `macro_f1`, the mean of the labels' F1, and `weighted_f1`, their mean
        weighted by support. What would be divided by zero is 0.

    Raises:
        ValueError: There are no examples, or not one of everything for each.
    """
    _require_alike(expected, predicted=predicted, scores=scores)
    correct = np.array([mine == theirs for mine, theirs in zip(predicted, expected, strict=True)])
    return {
        "accuracy": float(correct.mean()),
        "expected_calibration_error": expected_calibration_error(scores, correct),
        **class_figures(predicted, expected),
    }


def multi_label_metrics(predicted: Labels, expected: Labels) -> dict[str, Any]:
    """Returns what classifiers are measured by where any number of labels can be right.

    Args:
        predicted: Labels of each example, in any order.
        expected: The right ones.

    Returns:
        `accuracy`, the share of examples whose labels are all right and
        complete; `precision`, `recall` and `f1` of all labels of all examples
        together; `per_class`, `macro_f1` and `weighted_f1` as
        `classification_metrics`.

    Raises:
        ValueError: There are no examples, or not one prediction for each.
    """
    _require_alike(expected, predicted=predicted)
    labels = sorted({label for side in (predicted, expected) for chosen in side for label in chosen})
    left, right = (
        np.array([[label in chosen for label in labels] for chosen in side], bool).reshape(len(side), len(labels))
        for side in (expected, predicted)
    )
    # Not by scikit-learn, which takes a single column of truth values for two classes.
    columns = _rates(*(each.sum(axis=0) for each in (left & right, right, left)))
    precision, recall, f1, _ = map(float, _rates(*(each.sum() for each in (left & right, right, left))))
    return {
        "accuracy": float((left == right).all(axis=1).mean()),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        **summary({label: figures(*row) for label, *row in zip(labels, *columns, strict=True)}),
    }


def confusion(predicted: Sequence[str], expected: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Counts which label was predicted for which.

    Returns:
        The labels expected or predicted, sorted, and int (labels, labels): how
        many examples of the row's label were given the column's.
    """
    labels = sorted({*expected, *predicted})
    return labels, metrics.confusion_matrix(expected, predicted, labels=labels)


def class_figures(predicted: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """Returns `per_class`, `macro_f1` and `weighted_f1` of predictions; all classes on either side take part."""
    labels = sorted({*expected, *predicted})
    columns = metrics.precision_recall_fscore_support(expected, predicted, labels=labels, zero_division=0)
    return summary({label: figures(*row) for label, *row in zip(labels, *columns, strict=True)})


def figures(precision: Any, recall: Any, f1: Any, support: Any) -> dict[str, float]:
    """Returns a class's figures as Python's own numbers, which JSON knows."""
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}


def summary(classes: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Returns the classes' figures, and the mean of their F1, plain and weighted by support."""
    values = [row["f1"] for row in classes.values()]
    weights = [row["support"] for row in classes.values()]
    return {
        "macro_f1": float(np.mean(values)) if values else 0.0,
        "weighted_f1": float(np.average(values, weights=weights)) if sum(weights) else 0.0,
        "per_class": classes,
    }


def _rates(hits: Any, found: Any, wanted: Any) -> tuple[Any, Any, Any, Any]:
    """Returns precision, recall, F1 and support of counts of the same shape; 0 where nothing is divided."""
    f1 = 2 * hits / np.maximum(found + wanted, 1)
    return hits / np.maximum(found, 1), hits / np.maximum(wanted, 1), f1, wanted


def _require_alike(expected: Sequence[Any], **others: Sequence[Any]) -> None:
    if not len(expected):
        raise ValueError("Expected at least one example to measure, not none.")
    for name, other in others.items():
        if len(other) != len(expected):
            raise ValueError(f"Expected {name} of {len(expected)} examples, not of {len(other)}.")
