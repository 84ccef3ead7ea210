"""The clinical measures of a head as rows beside its scores: by class, by yes-or-no question, and of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.clinical import (
    auprc,
    auroc,
    brier_score,
    calibration_error,
    mask_precision_recall,
    ranking_interval,
    sensitivity_specificity,
    share_interval,
    surface_distance_95,
)
from evaluation.intervals import FEWEST_GROUPS, Interval, withheld
from evaluation.tasks import BinaryCut

__all__ = ["CLINICAL_MASK_METRICS", "clinical_scores", "distance_interval"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CLINICAL_MASK_METRICS: Mapping[str, Callable[[Bools, Bools], float]] = {
    "precision": lambda predicted, mask: mask_precision_recall(predicted, mask)[0],
    "recall": lambda predicted, mask: mask_precision_recall(predicted, mask)[1],
    "hd95": surface_distance_95,
}
"""of one image, from its predicted and its true mask"""


def clinical_scores(
    labels: Ints, probabilities: npt.NDArray[np.float32], groups: Ints, *, classes: Sequence[str], cut: BinaryCut | None = None
) -> dict[str, Interval]:
    """Sensitivity, specificity, AUROC and AUPRC of each class against the rest, calibration, and the answers to a yes-or-no question.

    Args:
        labels: [N] true classes.
        probabilities: [N, C]; rows sum to 1. The likeliest class is the prediction.
        groups: [N] patients, numbered from 0 without gaps.
        classes: names of the C classes.
        cut: a question such as remission; it is answered yes from a probability of one half on.

    Returns:
        By metric: `sensitivity/CLASS` and so on, `brier`, `ece`, and `QUESTION/auroc` and so on. Calibration has no interval.
    """
    predictions = probabilities.argmax(1).astype(np.int64)
    found: dict[str, Interval] = {}
    shares = sensitivity_specificity(labels, predictions, groups, num_classes=len(classes))
    for number, (name, (sensitivity, specificity)) in enumerate(zip(classes, shares, strict=True)):
        positive, scores = labels == number, probabilities[:, number].astype(np.float64)
        found |= {f"sensitivity/{name}": sensitivity, f"specificity/{name}": specificity}
        found[f"auroc/{name}"] = ranking_interval(auroc, positive, scores, groups)
        found[f"auprc/{name}"] = ranking_interval(auprc, positive, scores, groups)
    exact = probabilities.astype(np.float64)
    found["brier"] = withheld(brier_score(labels, exact), "not made for calibration")
    found["ece"] = withheld(calibration_error(labels, exact), "not made for calibration")
    if cut is not None:
        numbers = [classes.index(name) for name in cut.positive if name in classes]
        positive, scores = np.isin(labels, numbers), exact[:, numbers].sum(1)
        found[f"{cut.name}/auroc"] = ranking_interval(auroc, positive, scores, groups)
        found[f"{cut.name}/sensitivity"] = share_interval(scores >= 0.5, positive, groups)
        found[f"{cut.name}/specificity"] = share_interval(scores < 0.5, ~positive, groups)
    return found


def distance_interval(values: npt.NDArray[np.float64], groups: Ints, *, is_signed: bool = False) -> Interval:
    """The mean of [N] distances in pixels, which have no upper bound, with Student's t interval of the jackknife over groups.

    Differences of distances have a sign; those without one are not below 0.
    """
    from scipy.stats import t

    value, num_groups = float(values.mean()), int(groups.max()) + 1
    if num_groups < FEWEST_GROUPS:
        return withheld(value, f"below {FEWEST_GROUPS} groups")
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    without = (values.sum() - sums) / (len(values) - sizes)
    variance = (num_groups - 1) / num_groups * float(((without - without.mean()) ** 2).sum())
    half = float(t.ppf(0.975, num_groups - 1)) * float(np.sqrt(variance))
    low = value - half if is_signed else max(0.0, value - half)
    return Interval(value, low, value + half, f"t, jackknife over {num_groups} groups")
