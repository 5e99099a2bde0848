"""How near predicted tags come to the expected ones: tokens, spans and confidence.

Rates lie between 0 and 1. A tag that a model has never seen can be expected but
not predicted; it counts as an error like any other.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, IOBES, Entities
from sklearn import metrics

from nlp_rnn import tags
from nlp_rnn.calibration import expected_calibration_error
from nlp_rnn.classification_metrics import class_figures, figures, summary
from nlp_rnn.tags import Scheme

Tags = Sequence[Sequence[str]]


def tagging_metrics(
    predicted: Tags,
    expected: Tags,
    *,
    scores: Sequence[Sequence[float]],
    unseen: Sequence[Sequence[bool]],
    scheme: Scheme | None,
) -> dict[str, Any]:
    """Returns what taggers are measured by.

    Args:
        predicted: Tags of each sentence, one a token.
        expected: What they should be, in the same scheme.
        scores: Confidence in each predicted tag, between 0 and 1.
        unseen: Whether each token did not occur in the training data.
        scheme: How the tags spell spans; None if they stand for themselves.

    Returns:
        `accuracy`, the share of tokens with the right tag.
        `out_of_vocabulary_accuracy`, the same of unseen tokens; None without any.
        `expected_calibration_error`, as the function of that name.
        `per_class`: `precision`, `recall`, `f1` and `support` (how many are
        expected) of each tag or, with a scheme, of each label of spans. There
        a span is right if its label and both of its ends are.
        `macro_f1`, the mean of the classes' F1, and `weighted_f1`, their mean
        weighted by support. All classes expected or predicted take part.
        With a scheme also `precision`, `recall` and `f1` of all spans, by
        seqeval in strict mode: predicted spans count only if well-formed. IOB1
        and IO are converted to BIO for that.
        What would be divided by zero is 0.

    Raises:
        ValueError: There are no tokens, or not one of everything for each.

    Reference:
        Nakayama (2018), "seqeval: A Python framework for sequence labeling
        evaluation".
    """
    _require_alike(expected, predicted=predicted, scores=scores, unseen=unseen)
    if scheme is not None:
        predicted, expected = (
            [[tags.respell(tag) for tag in tagged] for tagged in side] for side in (predicted, expected)
        )
    correct = np.array(_flat(predicted)) == np.array(_flat(expected))
    is_unseen = np.array(_flat(unseen), bool)
    measured: dict[str, Any] = {
        "accuracy": float(correct.mean()),
        "out_of_vocabulary_accuracy": float(correct[is_unseen].mean()) if is_unseen.any() else None,
        "expected_calibration_error": expected_calibration_error(_flat(scores), correct),
    }
    return measured | (
        class_figures(_flat(predicted), _flat(expected)) if scheme is None else _of_spans(predicted, expected, scheme)
    )


def confusion(predicted: Tags, expected: Tags) -> tuple[list[str], np.ndarray]:
    """Counts which tag was predicted for which.

    Returns:
        The tags expected or predicted, sorted, and int (tags, tags): how many
        tokens of the row's tag were given the column's.

    Raises:
        ValueError: There are no tokens, or not one predicted tag for each.
    """
    _require_alike(expected, predicted=predicted)
    left, right = _flat(expected), _flat(predicted)
    labels = sorted({*left, *right})
    return labels, metrics.confusion_matrix(left, right, labels=labels)


def _of_spans(predicted: Tags, expected: Tags, scheme: Scheme) -> dict[str, Any]:
    sides = [[_strict(tagged, scheme) for tagged in side] for side in (expected, predicted)]
    strict = IOBES if scheme == "iobes" else IOB2
    found = [Entities(side, strict) for side in sides]
    options = {"scheme": strict, "zero_division": 0, "entities_true": found[0], "entities_pred": found[1]}
    labels = sorted(found[0].unique_tags | found[1].unique_tags)  # the order of seqeval's rows
    columns = precision_recall_fscore_support(*sides, average=None, **options)
    classes = {label: figures(*row) for label, *row in zip(labels, *columns, strict=True)}
    overall = figures(*precision_recall_fscore_support(*sides, average="micro", **options))
    return {name: overall[name] for name in ("precision", "recall", "f1")} | summary(classes)


def _strict(tagged: Sequence[str], scheme: Scheme) -> list[str]:
    """Returns BIO or IOBES, as ill-formed as given, but with nothing that seqeval would refuse."""
    if scheme in ("iob1", "io"):
        return tags.convert(tagged, source=scheme, target="bio")[0]
    prefixes = {(tags.split(tag) or ("", ""))[0] for tag in tagged}
    foreign = prefixes - set("OBIES" if scheme == "iobes" else "OBI")
    return tags.convert(tagged, source=scheme, target=scheme)[0] if foreign else list(tagged)


def _flat(nested: Sequence[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(nested))


def _require_alike(expected: Tags, **others: Sequence[Sequence[Any]]) -> None:
    lengths = [len(sentence) for sentence in expected]
    if not sum(lengths):
        raise ValueError("Expected at least one token to measure, not none.")
    for name, other in others.items():
        found = [len(sentence) for sentence in other]
        if len(found) != len(lengths):
            raise ValueError(f"Expected {name} of {len(lengths)} sentences, not of {len(found)}.")
        for number, (length, wanted) in enumerate(zip(found, lengths, strict=True), start=1):
            if length != wanted:
                raise ValueError(
                    f"Sentence {number} has {wanted} tokens, but {name} of {length}: expected one a token."
                )
