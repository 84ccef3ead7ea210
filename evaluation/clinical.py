"""What a clinician asks of a score: sensitivity and specificity, ranking, calibration, missed lesions and false alarms.

Every function takes what a head gives (labels, probabilities) or what a video gives (times), and the groups that an interval is over.
Scikit-learn is the reference of the tests; what is undefined is not a number, and never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.intervals import FEWEST_GROUPS, Interval, jackknife_interval, withheld

__all__ = [
    "Alarms",
    "auprc",
    "auroc",
    "brier_score",
    "calibration_error",
    "detections",
    "mask_precision_recall",
    "ranking_interval",
    "sensitivity_specificity",
    "share_interval",
    "surface_distance_95",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def sensitivity_specificity(labels: Ints, predictions: Ints, groups: Ints, *, num_classes: int) -> tuple[tuple[Interval, Interval], ...]:
    """Of each class against the rest: the share of its items that are found, and the share of others that are left alone.

    Args:
        labels: [N] true classes.
        predictions: [N] classes.
        groups: [N] patients, numbered from 0 without gaps.
        num_classes: how many classes there are.

    Returns:
        Sensitivity and specificity of each class, with 95% intervals over the groups that have such items.
    """
    return tuple(
        (share_interval(predictions == c, labels == c, groups), share_interval(predictions != c, labels != c, groups))
        for c in range(num_classes)
    )


def share_interval(right: Bools, among: Bools, groups: Ints) -> Interval:
    """The share that is right of the items that count."""
    if not among.any():
        return withheld(math.nan, "no such item")
    _, own = np.unique(groups[among], return_inverse=True)
    hits, sizes = np.bincount(own, right[among].astype(np.float64)), np.bincount(own).astype(np.float64)
    total, num = float(hits.sum()), float(sizes.sum())
    if len(sizes) < FEWEST_GROUPS:
        return withheld(total / num, f"below {FEWEST_GROUPS} groups")
    without = (total - hits) / (num - sizes)
    return jackknife_interval(total / num, without, sizes, num_items=num, num_errors=min(total, num - total))


def auroc(positive: Bools, scores: Floats) -> float:
    """Area under the ROC curve of [N] scores: how often a positive item ranks above a negative one, ties counted half."""
    num, others = int(positive.sum()), int((~positive).sum())
    if not num or not others:
        return math.nan
    from scipy.stats import rankdata

    return float((rankdata(scores)[positive].sum() - num * (num + 1) / 2) / (num * others))


def auprc(positive: Bools, scores: Floats) -> float:
    """Average precision of [N] scores: precision at each threshold, weighted by the recall that it adds; equal scores are one threshold."""
    num = int(positive.sum())
    if not num:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each run of equal scores
    hits = np.cumsum(positive[order])[last]
    return float((np.diff(hits, prepend=0) / num * (hits / (last + 1))).sum())


def ranking_interval(measure: Callable[[Bools, Floats], float], positive: Bools, scores: Floats, groups: Ints) -> Interval:
    """A ranking measure such as `auroc` of [N] scores, with its 95% interval over groups."""
    value = measure(positive, scores)
    numbers = np.unique(groups)
    if len(numbers) < FEWEST_GROUPS:
        return withheld(value, f"below {FEWEST_GROUPS} groups")
    for kind in (positive, ~positive):
        if len(np.unique(groups[kind])) < FEWEST_GROUPS:
            return withheld(value, f"below {FEWEST_GROUPS} groups of one of the two classes")
    without = np.array([measure(positive[groups != number], scores[groups != number]) for number in numbers])
    sizes = np.array([(groups == number).sum() for number in numbers], np.float64)
    rarer = float(min(positive.sum(), (~positive).sum()))
    return jackknife_interval(value, without, sizes, num_items=rarer)


def brier_score(labels: Ints, probabilities: Floats) -> float:
    """Mean squared distance of [N, C] probabilities from the truth, summed over classes: 0 is best, 2 is worst."""
    if not len(labels):
        return math.nan
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


def calibration_error(labels: Ints, probabilities: Floats, *, num_bins: int = 15) -> float:
    """How far the confidence of the likeliest class is from how often it is right (ECE, Guo et al. 2017), in equal bins.

    Args:
        labels: [N] true classes.
        probabilities: [N, C]; rows sum to 1.
        num_bins: of confidence, each open below and closed above.
    """
    if not len(labels):
        return math.nan
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gap = np.abs(np.bincount(bins, confidence, num_bins) - np.bincount(bins, right.astype(np.float64), num_bins))
    return float(gap.sum() / len(labels))


def mask_precision_recall(predicted: Bools, mask: Bools) -> tuple[float, float]:
    """Share of the predicted pixels that are in the mask, and of the mask's pixels that are predicted, of one [H, W] image.

    Both are 1 where both masks are empty. Precision is 0 where nothing is predicted of a mask, recall 0 where something is of none.
    """
    overlap, found, true = (int(part.sum()) for part in (predicted & mask, predicted, mask))
    if not found and not true:
        return 1.0, 1.0
    return (overlap / found if found else 0.0), (overlap / true if true else 0.0)


def surface_distance_95(predicted: Bools, mask: Bools) -> float:
    """HD95: the larger of the two 95th percentiles of distances between the outlines of two [H, W] masks, in pixels.

    0 where both are empty; the image's diagonal where one is, for a missed lesion must cost something.
    """
    if not predicted.any() and not mask.any():
        return 0.0
    if not predicted.any() or not mask.any():
        return float(np.hypot(*mask.shape))
    from scipy.ndimage import binary_erosion, distance_transform_edt

    outlines = [part & ~binary_erosion(part, border_value=0) for part in (predicted, mask)]
    far = [
        float(np.percentile(distance_transform_edt(~other)[own], 95))
        for own, other in ((outlines[0], outlines[1]), (outlines[1], outlines[0]))
    ]
    return max(far)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """How a detector did on a video."""

    lesion_recall: float
    """share of the lesions of which one frame at least was marked; not a number without lesions"""
    frame_recall: float
    """share of the frames with a lesion that were marked"""
    false_alarms_per_minute: float
    """runs of marked frames without a lesion, a minute of video"""
    num_false_alarms: int


def detections(marked: Bools, lesions: Sequence[tuple[int, int]], *, frames_per_s: float, merge_s: float = 1.0) -> Alarms:
    """Compare the marked frames of a video with where its lesions are to be seen.

    Args:
        marked: [T] whether the detector marks each frame.
        lesions: first frame, and the one after the last, of each lesion; they may overlap.
        frames_per_s: of the video.
        merge_s: false marks that are no further apart are one alarm.

    Raises:
        ValueError: the rate is not above 0, or a lesion lies outside the video.
    """
    if frames_per_s <= 0:
        raise ValueError(f"frames_per_s is {frames_per_s}; it must be above 0")
    for start, end in lesions:
        if not 0 <= start < end <= len(marked):
            raise ValueError(
                f"lesion ({start}, {end}) is not within the {len(marked)} frames; give its first frame and the one after the last"
            )
    shown = np.zeros(len(marked), bool)
    for start, end in lesions:
        shown[start:end] = True
    false = np.flatnonzero(marked & ~shown)
    num_false = int((np.diff(false) > merge_s * frames_per_s).sum()) + 1 if len(false) else 0
    minutes = len(marked) / frames_per_s / 60
    return Alarms(
        lesion_recall=float(np.mean([marked[start:end].any() for start, end in lesions])) if len(lesions) else math.nan,
        frame_recall=float(marked[shown].mean()) if shown.any() else math.nan,
        false_alarms_per_minute=num_false / minutes if minutes else math.nan,
        num_false_alarms=num_false,
    )
