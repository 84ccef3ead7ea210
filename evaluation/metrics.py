"""Scores from predictions, and their intervals over groups.

Every classification metric is a function of the confusion matrix, so leaving out a group, or drawing groups anew, is a weighted sum of one
confusion matrix per group. The tests hold each function to scikit-learn's value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evaluation.intervals import (
    BOOTSTRAP_GROUPS,
    FEWEST_GROUPS,
    Interval,
    bootstrap_interval,
    bootstrap_weights,
    jackknife_interval,
    withheld,
)

__all__ = [
    "CLASSIFICATION_METRICS",
    "LOWER_IS_BETTER",
    "Interval",
    "accuracy",
    "balanced_accuracy",
    "bootstrap_weights",
    "classification_difference",
    "classification_scores",
    "confusion_matrices",
    "dice",
    "iou",
    "macro_f1",
    "mean_difference",
    "mean_scores",
    "positive_f1",
    "quadratic_weighted_kappa",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def accuracy(confusion: Floats) -> Floats:
    """Share of items on the diagonal; confusion is [..., true class, predicted class], the result [...] in [0, 1]."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall over the classes that occur; [..., C, C] to [...] in [0, 1]."""
    return _mean_defined(_ratio(_diagonal(confusion), confusion.sum(-1)))


def macro_f1(confusion: Floats) -> Floats:
    """Mean F1 over the classes that occur or are predicted; [..., C, C] to [...] in [0, 1]."""
    return _mean_defined(_ratio(2 * _diagonal(confusion), confusion.sum(-1) + confusion.sum(-2)))


def positive_f1(confusion: Floats) -> Floats:
    """F1 of the last class, the positive one of two; [..., C, C] to [...] in [0, 1]."""
    return _ratio(2 * confusion[..., -1, -1], confusion[..., -1, :].sum(-1) + confusion[..., :, -1].sum(-1))


def quadratic_weighted_kappa(confusion: Floats) -> Floats:
    """Agreement beyond chance with squared distances between grades (Cohen 1968); [..., C, C] to [...] in [-1, 1].

    Not a number where chance cannot disagree: all items and all predictions in one grade.
    """
    grade = np.arange(confusion.shape[-1])
    distance = (grade[:, None] - grade[None, :]) ** 2.0
    total = confusion.sum((-2, -1))
    by_chance = np.einsum("...i,...j,ij->...", confusion.sum(-1), confusion.sum(-2), distance)
    return 1.0 - _ratio((confusion * distance).sum((-2, -1)) * total, by_chance)


LOWER_IS_BETTER = ("hd95", "ece", "brier", "false_alarms_per_minute", "false_positives_per_minute", "false_positives_per_image")
"""metrics that are better the lower they are"""

CLASSIFICATION_METRICS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "f1": positive_f1,
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


def confusion_matrices(labels: Ints, predictions: Ints, groups: Ints, *, num_classes: int) -> Floats:
    """One confusion matrix per group, [num_groups, C, C]; groups are numbered from 0 without gaps."""
    counts = np.zeros((int(groups.max()) + 1, num_classes, num_classes))
    np.add.at(counts, (groups, labels, predictions), 1.0)
    return counts


def classification_scores(
    labels: Ints, predictions: Ints, groups: Ints, *, num_classes: int, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> dict[str, Interval]:
    """The named metrics of [N] predictions with 95% intervals over groups (patients), which stay whole."""
    per_group = confusion_matrices(labels, predictions, groups, num_classes=num_classes)
    return {name: _confusion_interval(name, per_group, None, num_bootstrap=num_bootstrap, seed=seed) for name in names}


def classification_difference(
    labels: Ints, predictions: Ints, others: Ints, groups: Ints, *, num_classes: int, name: str, num_bootstrap: int, seed: int
) -> Interval:
    """A metric of [N] predictions less that of [N] others on the same items, with its 95% interval over groups."""
    first, second = (confusion_matrices(labels, p, groups, num_classes=num_classes) for p in (predictions, others))
    return _confusion_interval(name, first, second, num_bootstrap=num_bootstrap, seed=seed)


def mean_scores(values: Floats, groups: Ints, *, num_bootstrap: int, seed: int) -> Interval:
    """The mean of [N] per-image values from 0 to 1 with its 95% interval over groups."""
    return _mean_interval(values, groups, num_bootstrap=num_bootstrap, seed=seed, signed=False)


def mean_difference(values: Floats, others: Floats, groups: Ints, *, num_bootstrap: int, seed: int) -> Interval:
    """The mean of [N] values from 0 to 1 less that of [N] others of the same images, with its 95% interval over groups."""
    return _mean_interval(values - others, groups, num_bootstrap=num_bootstrap, seed=seed, signed=True)


def _confusion_interval(name: str, per_group: Floats, others: Floats | None, *, num_bootstrap: int, seed: int) -> Interval:
    """Of a metric of confusion matrices [G, C, C], or of its difference from that of others."""
    metric = CLASSIFICATION_METRICS[name]

    def score(matrices: Floats, less: Floats | None) -> Floats:
        return metric(matrices) if less is None else metric(matrices) - metric(less)

    whole, rest = per_group.sum(0), None if others is None else others.sum(0)
    value, num_groups = float(score(whole, rest)), len(per_group)
    held_by = (per_group.sum(2) > 0).sum(0)  # groups of each class
    rare = int(held_by.min())
    if num_groups < FEWEST_GROUPS or (name != "accuracy" and rare < FEWEST_GROUPS):
        what = "" if num_groups < FEWEST_GROUPS else f", of which the rarest class has {rare}"
        return withheld(value, f"below {FEWEST_GROUPS} groups{what}")
    sizes = per_group.sum((1, 2))
    signed = name == "quadratic_weighted_kappa" or others is not None
    if signed and num_groups >= BOOTSTRAP_GROUPS:

        def replicates(weights: Floats) -> Floats:
            drawn = [np.einsum("bg,gij->bij", weights, m, optimize=True) for m in (per_group, *([] if others is None else [others]))]
            return score(drawn[0], drawn[1] if others is not None else None)

        return bootstrap_interval(value, replicates, num_groups, num_bootstrap=num_bootstrap, seed=seed)
    without = score(whole - per_group, None if others is None or rest is None else rest - others)
    if signed:
        reach = 2.0 if name == "quadratic_weighted_kappa" and others is not None else 1.0
        return jackknife_interval(value, without, sizes, num_items=float(sizes.sum()), bounds=(-reach, reach))
    of_class = whole.sum(1)
    # a mean over classes is as uncertain as its rarest ones make it
    num_items = float(sizes.sum() if name == "accuracy" else len(of_class) ** 2 / (1 / of_class).sum())
    wrong = float(sizes.sum() - np.trace(whole))
    return jackknife_interval(value, without, sizes, num_items=num_items, num_errors=min(wrong, float(sizes.sum()) - wrong))


def _mean_interval(values: Floats, groups: Ints, *, num_bootstrap: int, seed: int, signed: bool) -> Interval:
    num_groups = int(groups.max()) + 1
    sums, sizes = np.bincount(groups, values, num_groups), np.bincount(groups, minlength=num_groups).astype(np.float64)
    value = float(values.mean())
    if signed and num_groups >= BOOTSTRAP_GROUPS:
        return bootstrap_interval(value, lambda w: (w @ sums) / (w @ sizes), num_groups, num_bootstrap=num_bootstrap, seed=seed)
    without = (sums.sum() - sums) / (sizes.sum() - sizes) if num_groups > 1 else np.full(1, np.nan)
    binary = not signed and bool(np.isin(values, (0.0, 1.0)).all())
    num_errors = float(min(values.sum(), len(values) - values.sum())) if binary else None
    bounds = (-1.0, 1.0) if signed else (0.0, 1.0)
    return jackknife_interval(value, without, sizes, num_items=float(len(values)), num_errors=num_errors, bounds=bounds)


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
