"""Scores from predictions, and their bootstrap intervals over groups.

Every classification metric is a function of the confusion matrix, so a bootstrap replicate is a weighted sum of one confusion matrix per
group: thousands of replicates cost one matrix product. The tests hold each function to scikit-learn's value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "CLASSIFICATION_METRICS",
    "Interval",
    "accuracy",
    "balanced_accuracy",
    "bootstrap_weights",
    "classification_scores",
    "confusion_matrices",
    "dice",
    "iou",
    "macro_f1",
    "mean_scores",
    "quadratic_weighted_kappa",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95% percentile-bootstrap interval, whose ends are not a number where there is only one group to draw from."""

    value: float
    low: float
    high: float


def accuracy(confusion: Floats) -> Floats:
    """Share of items on the diagonal; confusion is [..., true class, predicted class], the result [...] in [0, 1]."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall over the classes that occur; [..., C, C] to [...] in [0, 1]."""
    return _mean_defined(_ratio(_diagonal(confusion), confusion.sum(-1)))


def macro_f1(confusion: Floats) -> Floats:
    """Mean F1 over the classes that occur or are predicted; [..., C, C] to [...] in [0, 1]."""
    return _mean_defined(_ratio(2 * _diagonal(confusion), confusion.sum(-1) + confusion.sum(-2)))


def quadratic_weighted_kappa(confusion: Floats) -> Floats:
    """Agreement beyond chance with squared distances between grades (Cohen 1968); [..., C, C] to [...] in [-1, 1].

    Not a number where chance cannot disagree: all items and all predictions in one grade.
    """
    grade = np.arange(confusion.shape[-1])
    distance = (grade[:, None] - grade[None, :]) ** 2.0
    total = confusion.sum((-2, -1))
    by_chance = np.einsum("...i,...j,ij->...", confusion.sum(-1), confusion.sum(-2), distance)
    return 1.0 - _ratio((confusion * distance).sum((-2, -1)) * total, by_chance)


CLASSIFICATION_METRICS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "quadratic_weighted_kappa": quadratic_weighted_kappa,
}


def dice(predicted: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> float:
    """2|P and M| / (|P| + |M|) of one image; 1 where both are empty."""
    sizes = int(predicted.sum()) + int(mask.sum())
    return 2.0 * int((predicted & mask).sum()) / sizes if sizes else 1.0


def iou(predicted: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> float:
    """|P and M| / |P or M| of one image; 1 where both are empty."""
    union = int((predicted | mask).sum())
    return int((predicted & mask).sum()) / union if union else 1.0


def bootstrap_weights(num_groups: int, num_bootstrap: int, seed: int) -> Floats:
    """How often each group is drawn in each replicate, [num_bootstrap, num_groups]; rows sum to num_groups."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=num_bootstrap).astype(np.float64)


def confusion_matrices(labels: Ints, predictions: Ints, groups: Ints, *, num_classes: int) -> Floats:
    """One confusion matrix per group, [num_groups, C, C]; groups are numbered from 0 without gaps."""
    counts = np.zeros((int(groups.max()) + 1, num_classes, num_classes))
    np.add.at(counts, (groups, labels, predictions), 1.0)
    return counts


def classification_scores(
    labels: Ints, predictions: Ints, groups: Ints, *, num_classes: int, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> dict[str, Interval]:
    """The named metrics of [N] predictions with 95% intervals over groups (patients), which are resampled whole."""
    per_group = confusion_matrices(labels, predictions, groups, num_classes=num_classes)
    weights = bootstrap_weights(len(per_group), num_bootstrap, seed)
    replicates = (weights @ per_group.reshape(len(per_group), -1)).reshape(-1, num_classes, num_classes)
    whole = per_group.sum(0)
    return {
        name: _interval(float(CLASSIFICATION_METRICS[name](whole)), CLASSIFICATION_METRICS[name](replicates), len(per_group))
        for name in names
    }


def mean_scores(values: Floats, groups: Ints, *, num_bootstrap: int, seed: int) -> Interval:
    """The mean of [N] per-image values with its 95% interval over groups."""
    num_groups = int(groups.max()) + 1
    sums, sizes = np.bincount(groups, values, num_groups), np.bincount(groups, minlength=num_groups).astype(np.float64)
    weights = bootstrap_weights(num_groups, num_bootstrap, seed)
    return _interval(float(values.mean()), (weights @ sums) / (weights @ sizes), num_groups)


def _interval(value: float, replicates: Floats, num_groups: int) -> Interval:
    defined = replicates[np.isfinite(replicates)]
    if num_groups < 2 or not len(defined) or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def _diagonal(confusion: Floats) -> Floats:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, not a number where the denominator is 0."""
    out = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) != 0)
    return out


def _mean_defined(values: Floats) -> Floats:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
