"""How sure a model is, against how right it is: by hand, by the papers' formulas, and on models known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_rnn.calibration import calibration_bins, expected_calibration_error, fit_share, fit_temperature


def test_bins_of_confidence_by_hand() -> None:
    """Five bins: borders belong to the bin below, 0 to the first."""
    scores, correct = [0.0, 0.2, 0.21, 0.6, 1.0, 0.9], [False, True, True, False, True, False]
    confidence, accuracy, count = calibration_bins(scores, correct, bins=5)
    assert count.tolist() == [2, 1, 1, 0, 2]
    np.testing.assert_allclose(confidence, [0.1, 0.21, 0.6, np.nan, 0.95])
    np.testing.assert_allclose(accuracy, [0.5, 1.0, 0.0, np.nan, 0.5])
    by_hand = (2 * 0.4 + 0.79 + 0.6 + 2 * 0.45) / 6
    assert expected_calibration_error(scores, correct, bins=5) == pytest.approx(by_hand)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_the_paper(predictions: list[tuple[float, bool]]) -> None:
    total = 0.0
    for m in range(1, 16):
        low, high = np.linspace(0, 1, 16)[m - 1 : m + 1]
        members = [(s, c) for s, c in predictions if low < s <= high or (m == 1 and s == 0)]
        if members:
            accuracy = sum(c for _, c in members) / len(members)
            confidence = sum(s for s, _ in members) / len(members)
            total += len(members) / len(predictions) * abs(accuracy - confidence)
    scores, correct = zip(*predictions, strict=True)
    assert expected_calibration_error(scores, correct) == pytest.approx(total, abs=1e-9)
    assert calibration_bins(scores, correct).counts.shape == (15,)


def test_rounding_may_leave_a_score_slightly_outside() -> None:
    confidence, _, count = calibration_bins([1.00001, -0.00001], [True, False])
    assert (count[0], count[-1], confidence[0], confidence[-1]) == (1, 1, 0.0, 1.0)


@pytest.mark.parametrize("score", [float("nan"), -2.3, 1.2])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match=f"scores between 0 and 1, not {score}"):
        calibration_bins([0.5, score], [True, True])


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="one score for each prediction, not 1 for 2"):
        calibration_bins([0.5], [True, True])
    with pytest.raises(ValueError, match="at least one prediction"):
        expected_calibration_error([], [])


# A temperature


def sampled(temperature: float, *, multi_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from a model's own probabilities, and its scores times the temperature."""
    generator = np.random.default_rng(5)
    scores = generator.normal(0, 2, (6000, 4))
    if multi_label:
        labels = generator.random(scores.shape) < 1 / (1 + np.exp(-scores))
    else:
        powers = np.exp(scores)
        below = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1) < generator.random((6000, 1))
        labels = np.eye(4)[np.minimum(below.sum(axis=1), 3)]
    return (scores * temperature).astype(np.float32), labels.astype(np.float32)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.25, 1.0, 5.0])
def test_the_temperature_of_a_model_known_beforehand_is_found(temperature: float, multi_label: bool) -> None:
    scores, labels = sampled(temperature, multi_label=multi_label)
    assert fit_temperature(scores, labels, multi_label=multi_label) == pytest.approx(temperature, rel=0.04)


def test_divided_by_it_scores_are_as_sure_as_they_are_right() -> None:
    scores, labels = sampled(3.0, multi_label=False)
    right = scores.argmax(axis=1) == labels.argmax(axis=1)

    def error(divisor: float) -> float:
        powers = np.exp(scores.astype(np.float64) / divisor)
        return expected_calibration_error((powers / powers.sum(axis=1, keepdims=True)).max(axis=1), right)

    assert error(1.0) > 0.1
    assert error(fit_temperature(scores, labels)) < 0.03


def test_a_temperature_by_hand() -> None:
    """Three of four are right at a margin of 2; with a doubt of 1/5 the best probability is 7/10."""
    labels = np.eye(2)[[0, 0, 1, 0]]
    expected = pytest.approx(2 / np.log(7 / 3), rel=1e-3)
    assert fit_temperature(np.array([[2.0, 0.0]] * 4), labels) == expected
    assert fit_temperature(np.array([[1002.0, 1000.0], [2.0, 0.0], [-5.0, -7.0], [0.0, -2.0]]), labels) == expected
    assert fit_temperature(np.full((4, 1), 2.0), labels[:, :1], multi_label=True) == expected


@pytest.mark.parametrize(("examples", "odds"), [(10, 21), (200, 401)])
def test_a_few_examples_that_are_all_right_make_nothing_certain(examples: int, odds: int) -> None:
    scores, right = np.array([[2.0, 0.0]] * examples), np.array([[1.0, 0.0]] * examples)
    assert fit_temperature(scores, right) == pytest.approx(2 / np.log(odds), rel=1e-3)
    assert fit_temperature(scores[:, :1], right[:, :1], multi_label=True) == pytest.approx(2 / np.log(odds), rel=1e-3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_temperature_stays_within_its_bounds(multi_label: bool) -> None:
    scores, right = np.array([[0.01, -0.01]] * 5000), np.array([[1.0, 0.0]] * 5000)
    assert fit_temperature(scores, right, multi_label=multi_label) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(scores, 1 - right, multi_label=multi_label) == pytest.approx(20.0, rel=1e-3)
    assert fit_temperature(np.zeros((0, 2)), np.zeros((0, 2)), multi_label=multi_label) == 1.0


# Two models' shares


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_share_is_found_that_labels_were_drawn_with(share: float, multi_label: bool) -> None:
    """Whatever the temperature."""
    generator = np.random.default_rng(5)
    one, other = generator.normal(size=(2, 40_000, 3))
    scores = 2.5 * ((1 - share) * one + share * other)
    if multi_label:
        labels = (generator.random(scores.shape) < 1 / (1 + np.exp(-scores))).astype(float)
    else:
        labels = np.eye(3)[(scores + generator.gumbel(size=scores.shape)).argmax(axis=1)]
    assert fit_share(one, other, labels, multi_label=multi_label) == pytest.approx(share, abs=0.02)


def test_a_model_that_is_never_right_has_no_share() -> None:
    labels = np.eye(3)[np.random.default_rng(3).integers(0, 3, 300)]
    right, wrong = 2 * labels + np.random.default_rng(4).normal(size=labels.shape), -3 * labels
    assert fit_share(right, wrong, labels) == pytest.approx(0.0, abs=1e-6)
    assert fit_share(wrong, right, labels) == pytest.approx(1.0, abs=1e-6)


def test_the_share_is_the_best_of_a_fine_grid() -> None:
    generator = np.random.default_rng(6)
    labels = np.eye(2)[generator.integers(0, 2, 60)]
    one, other = labels + generator.normal(size=(2, 60, 2)) * [[[1.0]], [[2.0]]]
    smooth = labels * (60 / 61) + 1 / 61 / 2

    def surprise(share: float) -> float:
        mixed = (1 - share) * one + share * other
        shares = [mixed * scale for scale in np.geomspace(0.05, 20, 200)]
        return min(
            -np.mean(np.sum(smooth * (s - np.log(np.exp(s).sum(axis=1, keepdims=True))), axis=1)) for s in shares
        )

    grid = np.linspace(0, 1, 101)
    best = grid[np.argmin([surprise(share) for share in grid])]
    assert 0 < best < 1
    assert fit_share(one, other, labels) == pytest.approx(best, abs=0.02)


def test_models_that_know_nothing_share_alike() -> None:
    nothing = np.zeros((4, 2))
    assert fit_share(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))) == 0.5
    assert fit_share(nothing, nothing, np.eye(2)[[0, 1, 0, 1]]) == 0.5
