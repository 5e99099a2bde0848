import itertools
import json
import random
from typing import Any

import pytest
import seqeval.metrics
from seqeval.scheme import IOB2, IOBES
from sklearn.metrics import f1_score

from nlp_rnn import tags
from nlp_rnn.tagging_metrics import confusion, tagging_metrics
from nlp_rnn.tags import Scheme


def measure(predicted: list[str], expected: list[str], scheme: Scheme | None = None, **options: Any) -> dict[str, Any]:
    """Sentences as strings; every score 1 and every token known unless said otherwise."""
    left, right = ([sentence.split() for sentence in side] for side in (predicted, expected))
    scores = options.get("scores", [[1.0] * len(sentence) for sentence in right])
    unseen = options.get("unseen", [[False] * len(sentence) for sentence in right])
    return tagging_metrics(left, right, scores=scores, unseen=unseen, scheme=scheme)


def random_corpus(names: list[str], seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [draw.choices(names, k=1 + number % 9) for number in range(200)]


def test_parts_of_speech_by_hand() -> None:
    found = measure(["N V N", "N"], ["N N V", "N"])
    assert found["accuracy"] == 0.5
    assert found["per_class"] == {
        "N": {"precision": 2 / 3, "recall": 2 / 3, "f1": pytest.approx(2 / 3), "support": 3},
        "V": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    }
    assert found["macro_f1"] == pytest.approx(1 / 3)
    assert found["weighted_f1"] == pytest.approx(0.5)
    assert "f1" not in found and "precision" not in found


def test_averages_are_those_of_scikit_learn() -> None:
    predicted, expected = random_corpus(["N", "V", "ADJ", "X"], 1), random_corpus(["N", "N", "V", "ADJ"], 2)
    ones = [[1.0] * len(sentence) for sentence in expected]
    found = tagging_metrics(predicted, expected, scores=ones, unseen=ones, scheme=None)
    left, right = list(itertools.chain(*expected)), list(itertools.chain(*predicted))
    for average in ("macro", "weighted"):
        assert found[f"{average}_f1"] == pytest.approx(f1_score(left, right, average=average, zero_division=0))


def test_spans_by_hand() -> None:
    """One right, one with a wrong end, one with a wrong label, one missed."""
    found = measure(
        ["B-per I-per O B-loc O O", "B-org O"], ["B-per I-per O B-loc I-loc O", "B-per B-org"], "bio"
    )  # fmt: skip
    assert found["accuracy"] == 5 / 8
    assert (found["precision"], found["recall"]) == (1 / 3, 1 / 4)
    assert found["f1"] == pytest.approx(2 / 7)
    assert found["per_class"] == {
        "loc": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "org": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "per": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
    }
    assert found["macro_f1"] == pytest.approx(2 / 9)
    assert found["weighted_f1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scheme", "names", "strict"),
    [
        ("bio", ["O", "B-x", "I-x", "B-y", "I-y"], IOB2),
        ("iobes", ["O", "B-x", "I-x", "E-x", "S-x", "B-y", "E-y", "S-y"], IOBES),
    ],
)
def test_span_figures_are_those_of_seqeval_s_report(scheme: Scheme, names: list[str], strict: type) -> None:
    """Of random tags, ill-formed ones among them."""
    predicted, expected = random_corpus(names, 3), random_corpus(names, 4)
    ones = [[1.0] * len(sentence) for sentence in expected]
    found = tagging_metrics(predicted, expected, scores=ones, unseen=ones, scheme=scheme)
    report = seqeval.metrics.classification_report(
        expected, predicted, mode="strict", scheme=strict, output_dict=True, zero_division=0
    )
    assert found["f1"] == pytest.approx(report["micro avg"]["f1-score"]) and 0 < found["f1"] < 1
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert found["weighted_f1"] == pytest.approx(report["weighted avg"]["f1-score"])
    for label in ("x", "y"):
        figures = found["per_class"][label]
        assert list(figures.values()) == pytest.approx(list(report[label].values()))


def test_an_ill_formed_prediction_is_no_span() -> None:
    """Strict mode: `I-x` alone begins nothing, though it names the right token and label."""
    assert measure(["O I-x"], ["O B-x"], "bio")["f1"] == 0.0
    assert measure(["B-x I-x"], ["B-x E-x"], "iobes")["f1"] == 0.0


@pytest.mark.parametrize("scheme", ["iob1", "iobes", "io"])
def test_every_scheme_gives_the_same_span_figures(scheme: Scheme) -> None:
    sides = [["B-x I-x O B-x", "B-y O"], ["B-x I-x O B-y", "B-y B-x"]]
    spelled = [
        [" ".join(tags.convert(sentence.split(), source="bio", target=scheme)[0]) for sentence in side]
        for side in sides
    ]
    found, wanted = measure(*spelled, scheme), measure(*sides, "bio")
    for name in ("precision", "recall", "f1", "macro_f1", "weighted_f1", "per_class"):
        assert found[name] == wanted[name]
    assert wanted["f1"] == pytest.approx(4 / 7)


def test_bilou_s_spelling_is_no_error() -> None:
    found = measure(["B-x E-x S-x"], ["B-x L-x U-x"], "iobes")
    assert (found["accuracy"], found["f1"]) == (1.0, 1.0)


@pytest.mark.parametrize("unknown", ["B-vehicle", "S-x", "NOUN", "-LRB-", "B-", "U", ""])
def test_an_unknown_expected_tag_is_an_error(unknown: str) -> None:
    sentence = ["B-x", "O", unknown]
    options: dict[str, Any] = {"scores": [[1.0] * 3], "unseen": [[False] * 3], "scheme": "bio"}
    found = tagging_metrics([["B-x", "O", "O"]], [sentence], **options)
    assert found["accuracy"] == 2 / 3
    assert (found["precision"], found["recall"]) == (1.0, 0.5)  # a span that is missed
    found = tagging_metrics([["A", "A", "A"]], [["A", "A", unknown]], **{**options, "scheme": None})
    assert found["accuracy"] == 2 / 3
    assert found["per_class"][unknown] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


@pytest.mark.parametrize("scheme", ["bio", "iob1", "iobes", "io"])
def test_without_spans_the_figures_are_0(scheme: Scheme) -> None:
    found = measure(["O O"], ["O O"], scheme)
    assert (found["accuracy"], found["f1"], found["macro_f1"], found["per_class"]) == (1.0, 0.0, 0.0, {})
    found = measure(["O O"], ["O I-x"] if scheme == "io" else ["O O"], scheme)
    assert (found["precision"], found["recall"]) == (0.0, 0.0)


def test_accuracy_of_unseen_tokens() -> None:
    predicted, expected = ["N V N", "N"], ["N N V", "N"]
    assert measure(predicted, expected)["out_of_vocabulary_accuracy"] is None
    found = measure(predicted, expected, unseen=[[False, True, True], [True]])
    assert found["out_of_vocabulary_accuracy"] == pytest.approx(1 / 3)


def test_all_figures_are_json() -> None:
    assert json.loads(json.dumps(measure(["B-x O"], ["B-x O"], "bio"), allow_nan=False))["f1"] == 1.0


def test_confusion_counts_expected_by_predicted() -> None:
    labels, matrix = confusion([["N", "V", "N"], ["X"]], [["N", "N", "V"], ["N"]])
    assert labels == ["N", "V", "X"]
    assert matrix.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_the_calibration_error_is_reported_of_the_tokens() -> None:
    found = measure(["N V"], ["N N"], scores=[[0.9, 0.7]])
    assert found["expected_calibration_error"] == pytest.approx((0.1 + 0.7) / 2)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        measure([], [])
    with pytest.raises(ValueError, match="at least one token"):
        confusion([[]], [[]])
    with pytest.raises(ValueError, match="predicted of 1 sentences|predicted of 2 sentences, not of 1"):
        measure(["N"], ["N", "N"])
    with pytest.raises(ValueError, match="Sentence 2 has 2 tokens, but predicted of 1"):
        measure(["N", "N"], ["N", "N N"])
    with pytest.raises(ValueError, match="Sentence 1 has 1 tokens, but scores of 2"):
        measure(["N"], ["N"], scores=[[1.0, 1.0]])
    with pytest.raises(ValueError, match="Sentence 1 has 1 tokens, but unseen of 0"):
        measure(["N"], ["N"], unseen=[[]])
