"""How sure a model is, against how right it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special

BINS = 15  # of confidence; as in Guo et al. (2017)

# Beyond these, a model is right, or wrong, whatever its scores say.
_TEMPERATURES = (0.05, 20.0)


class Calibration(NamedTuple):
    """How often predictions of a like confidence are right, bin by bin.

    Attributes:
        confidence: float64 (bins,). Mean score of the bin; NaN in an empty one.
        accuracy: float64 (bins,). Share of right ones; NaN in an empty bin.
        counts: int64 (bins,).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray


def calibration_bins(scores: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Calibration:
    """Sorts predictions into bins of equal width by their scores.

    Args:
        scores: Confidence in each prediction, between 0 and 1; what rounding
            left slightly outside is moved to the border.
        correct: Whether each is right.
        bins: How many. Bin m of M takes scores above (m - 1) / M, up to m / M;
            the first one takes 0 as well.

    Raises:
        ValueError: A score is no number, or far from 0 to 1; or there is not
            one for each prediction.
    """
    confidences, right = np.asarray(scores, np.float64), np.asarray(correct, np.float64)
    if confidences.shape != right.shape:
        raise ValueError(f"Expected one score for each prediction, not {confidences.size} for {right.size}.")
    if not np.all((confidences > -1e-3) & (confidences < 1 + 1e-3)):
        wrong = confidences[~((confidences > -1e-3) & (confidences < 1 + 1e-3))][0]
        raise ValueError(f"Expected scores between 0 and 1, not {wrong}. Give probabilities.")
    confidences = np.clip(confidences, 0.0, 1.0)
    places = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidences, side="left")
    count = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights=values, minlength=bins) for values in (confidences, right))
    confidence, accuracy = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
    return Calibration(confidence, accuracy, count)


def expected_calibration_error(scores: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> float:
    """Returns how far confidence is from accuracy on average.

    Over the bins of `calibration_bins`, each weighted by its share of all
    predictions, the mean of |accuracy - mean score|.

    Raises:
        ValueError: There are no predictions, or as `calibration_bins`.

    Reference:
        Guo et al. (2017), "On Calibration of Modern Neural Networks", equation
        3. arXiv:1706.04599
    """
    confidence, accuracy, count = calibration_bins(scores, correct, bins)
    if not count.sum():
        raise ValueError("Expected at least one prediction to measure, not none.")
    return float(np.nansum(count * np.abs(accuracy - confidence)) / count.sum())


def fit_temperature(scores: np.ndarray, labels: np.ndarray, *, multi_label: bool = False) -> float:
    """Returns the number by which to divide scores, so that probabilities are as sure as they are right.

    The labels are smoothed by what one more example could say against them:
    where all of a few examples are right, the next one need not be.

    Args:
        scores: float (examples, classes). Unnormalised log-probabilities.
        labels: float (examples, classes). 1 where a label is right, else 0.
        multi_label: Whether each label is decided for itself.

    Returns:
        What makes the labels most likely, between 0.05 and 20; 1.0 without examples.

    Reference:
        Guo et al. (2017), section 4.2. arXiv:1706.04599. Smoothed targets:
        Platt (1999), "Probabilistic Outputs for Support Vector Machines".
    """
    scores = np.asarray(scores, np.float64)
    if not scores.size:
        return 1.0
    smooth = _smoothed(labels, multi_label)
    low, high = np.log(_TEMPERATURES)
    found = scipy.optimize.minimize_scalar(
        lambda logarithm: _surprise(scores / np.exp(logarithm), smooth, multi_label)[0],
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def fit_share(one: np.ndarray, other: np.ndarray, labels: np.ndarray, *, multi_label: bool = False) -> float:
    """Returns how much to believe the second of two models: what its scores count when both are added.

    Args:
        one: float (examples, classes). Unnormalised log-probabilities of the first.
        other: The same of the second.
        labels: As for `fit_temperature`, and smoothed like there.
        multi_label: Whether each label is decided for itself.

    Returns:
        Between 0 and 1, the share s for which (1 - s) * one + s * other, at
        the temperature that suits it, makes the labels most likely; 0.5
        without examples, or where neither model knows anything.

    Reference:
        Wolpert (1992), "Stacked Generalization".
    """
    both = np.stack([np.asarray(scores, np.float64) for scores in (one, other)])
    if not both.size:
        return 0.5
    smooth = _smoothed(labels, multi_label)

    def surprise(factors: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _surprise(np.einsum("m,mnc->nc", factors, both), smooth, multi_label)
        return value, np.einsum("nc,mnc->m", slope, both)

    # Convex in what both scores are multiplied by.
    found = scipy.optimize.minimize(surprise, [0.5, 0.5], jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2)
    return float(found.x[1] / found.x.sum()) if found.x.sum() > 0 else 0.5


def _smoothed(labels: np.ndarray, multi_label: bool) -> np.ndarray:
    labels = np.asarray(labels, np.float64)
    examples, classes = labels.shape
    doubt = 1 / (examples + 1)
    return (1 - doubt) * labels + doubt / (2 if multi_label else classes)


def _surprise(scores: np.ndarray, labels: np.ndarray, multi_label: bool) -> tuple[float, np.ndarray]:
    """Returns the mean cross-entropy of labels, and its gradient in the scores, (examples, classes)."""
    if multi_label:
        mean = float(np.mean(np.logaddexp(0, scores) - labels * scores))
        return mean, (scipy.special.expit(scores) - labels) / scores.size
    mean = float(np.mean(scipy.special.logsumexp(scores, axis=1) - np.sum(labels * scores, axis=1)))
    return mean, (scipy.special.softmax(scores, axis=1) - labels) / len(scores)
