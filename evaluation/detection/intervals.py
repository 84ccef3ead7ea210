"""Scores of detections by name, each with its interval over videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evaluation.clinical import share_interval
from evaluation.clinical_rows import distance_interval
from evaluation.detection.metrics import Frame, Matches, OperatingPoint, average_precision, match_frames, operating_points
from evaluation.intervals import FEWEST_GROUPS, Interval, jackknife_interval, withheld

__all__ = ["RELEASED_THRESHOLD", "detection_scores", "false_positive_name"]

RELEASED_THRESHOLD = 0.5
"""score from which on Endo-FM's code takes a frame for one with a polyp"""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def false_positive_name(frames_per_s: float | None) -> str:
    """What false alarms are counted by: minutes of video, or images that are of none."""
    return "false_positives_per_minute" if frames_per_s else "false_positives_per_image"


def detection_scores(
    frames: Sequence[Frame], groups: Ints, *, classes: Sequence[str], threshold: float, frames_per_s: float | None
) -> dict[str, Interval]:
    """All scores of a test split.

    Args:
        frames: truth and predictions, a frame an item.
        groups: [F] the video of each, numbered from 0 without gaps.
        classes: their names, in class-index order.
        threshold: score from which on a prediction counts, chosen on the validation split; AP has none.
        frames_per_s: of the frames that are scored; None for stills.

    Returns:
        `ap50` and `ap` (the mean of IoU .5 to .95), over classes, `/CLASS` and `_agnostic`; `f1_iou50`, `presence_f1`,
        `presence_f1_at_half`, `lesion_recall`, and false positives a minute or an image.
    """
    by_class = [match_frames(frames, number) for number in range(len(classes))]
    shown = [number for number, matches in enumerate(by_class) if matches.num_truth.sum()]
    whole = match_frames([frame.without_classes for frame in frames], 0)
    found: dict[str, Interval] = {}
    for name, picked in (("ap50", slice(0, 1)), ("ap", slice(None))):
        found[name] = _ap_interval([by_class[number] for number in shown], groups, picked)
        found[f"{name}_agnostic"] = _ap_interval([whole], groups, picked) if len(classes) > 1 else found[name]
        if len(classes) > 1:
            found |= {f"{name}/{each}": _ap_interval([by_class[number]], groups, picked) for number, each in enumerate(classes)}
    chosen, released = operating_points(frames, (threshold, RELEASED_THRESHOLD))
    found["f1_iou50"] = _f1_interval(chosen, groups, lambda point: (point.true_positives, point.false_positives, point.missed))
    found["presence_f1"] = _f1_interval(chosen, groups, _presence)
    found["presence_f1_at_half"] = _f1_interval(released, groups, _presence)
    found["lesion_recall"] = _lesion_interval(frames, groups, chosen)
    rate = 60 * frames_per_s if frames_per_s else 1.0
    alarms = distance_interval(chosen.false_positives, groups)
    found[false_positive_name(frames_per_s)] = replace(alarms, value=rate * alarms.value, low=rate * alarms.low, high=rate * alarms.high)
    return found


def _ap_interval(parts: Sequence[Matches], groups: Ints, picked: slice) -> Interval:
    """Of the mean over classes and overlaps."""
    num_groups = int(groups.max()) + 1

    def score(among: npt.NDArray[np.bool_] | None) -> float:
        return float(np.mean([average_precision(matches, among=among)[picked].mean() for matches in parts])) if parts else float("nan")

    value = score(None)
    if num_groups < FEWEST_GROUPS:
        return withheld(value, f"below {FEWEST_GROUPS} groups")
    if any(len(np.unique(groups[matches.num_truth > 0])) < FEWEST_GROUPS for matches in parts) or not parts:
        return withheld(value, f"below {FEWEST_GROUPS} groups with boxes of the rarest class")
    without = np.array([score(groups != number) for number in range(num_groups)])
    return jackknife_interval(
        value, without, np.bincount(groups).astype(np.float64), num_items=float(sum(matches.num_truth.sum() for matches in parts))
    )


def _presence(point: OperatingPoint) -> tuple[Floats, Floats, Floats]:
    pairs = (point.shows & point.says, ~point.shows & point.says, point.shows & ~point.says)
    right, wrong, missed = (part.astype(np.float64) for part in pairs)
    return right, wrong, missed


def _f1_interval(point: OperatingPoint, groups: Ints, counts: Callable[[OperatingPoint], tuple[Floats, Floats, Floats]]) -> Interval:
    right, wrong, missed = (np.bincount(groups, part) for part in counts(point))
    total = 2 * right + wrong + missed
    value = float(2 * right.sum() / total.sum()) if total.sum() else float("nan")
    if len(right) < FEWEST_GROUPS:
        return withheld(value, f"below {FEWEST_GROUPS} groups")
    rest = total.sum() - total
    without = np.divide(2 * (right.sum() - right), rest, out=np.full(len(right), np.nan), where=rest > 0)
    sizes = np.bincount(groups).astype(np.float64)
    return jackknife_interval(value, without, sizes, num_items=max(float((right + missed).sum()), 1.0))


def _lesion_interval(frames: Sequence[Frame], groups: Ints, point: OperatingPoint) -> Interval:
    home = {name: int(group) for frame, group in zip(frames, groups, strict=True) for name in frame.lesions}
    if not home:
        return withheld(point.lesion_recall, "the lesions have no names" if point.lesions else "no lesion")
    names = sorted(home)
    right = np.array([name in point.found for name in names])
    return share_interval(right, np.ones(len(names), bool), np.array([home[name] for name in names], np.int64))
