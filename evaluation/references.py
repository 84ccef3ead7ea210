"""What a guess scores that looks at no picture: the commonest class, or one mask for all. A model has to beat it."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt

from evaluation.images import mask_pixels
from evaluation.metrics import CLASSIFICATION_METRICS, Interval, classification_scores, dice, iou, mean_scores
from evaluation.tasks import Item, TaskData

__all__ = ["constant_mask", "reference_rows"]

_SIDE = 128
_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def reference_rows(
    task: TaskData, groups: npt.NDArray[np.int64], *, num_bootstrap: int, seed: int
) -> dict[str, tuple[Interval, dict[str, str]]]:
    """The test scores of the picture-blind guess by metric, with what was chosen.

    Args:
        task: its training split gives the guess, its validation split a mask's threshold.
        groups: [N] of the test items, numbered from 0 without gaps.
        num_bootstrap: draws of an interval that is bootstrapped.
        seed: of them.
    """
    test = task.split("test")
    if task.kind == "segmentation":
        share, threshold, val = constant_mask(task.split("train"), task.split("val"))
        details = {
            "reference": "one mask for all images: the training masks' mean",
            "threshold": f"{threshold:g}",
            "val_dice": f"{val:.4f}",
        }
        pairs = [(np.asarray(_at(share, mask.shape) > threshold), mask) for mask in map(mask_pixels, test)]
        found = {}
        for name, measure in (("dice", dice), ("iou", iou)):
            if name in task.protocol.metrics:
                values = np.array([measure(*pair) for pair in pairs])
                found[name] = mean_scores(values, groups, num_bootstrap=num_bootstrap, seed=seed), details
        return found
    commonest = min(Counter(str(item.label) for item in task.split("train")).items(), key=lambda one: (-one[1], one[0]))[0]
    place = {name: number for number, name in enumerate(task.classes)}
    labels = np.array([place[str(item.label)] for item in test], np.int64)
    scores = classification_scores(
        labels,
        np.full(len(labels), place[commonest], np.int64),
        groups,
        num_classes=len(task.classes),
        names=tuple(name for name in task.protocol.metrics if name in CLASSIFICATION_METRICS),
        num_bootstrap=num_bootstrap,
        seed=seed,
    )
    return {name: (interval, {"reference": f"always {commonest}"}) for name, interval in scores.items()}


def constant_mask(train: tuple[Item, ...], val: tuple[Item, ...]) -> tuple[Floats, float, float]:
    """The mean of the training masks as [128, 128] shares, and the threshold with the best mean Dice on validation, and that Dice."""
    share = np.zeros((_SIDE, _SIDE), np.float32)
    for item in train:
        share += _small(item) / len(train)
    masks = [np.asarray(_small(item) > 0.5) for item in val]
    scores = [float(np.mean([dice(np.asarray(share > threshold), mask) for mask in masks])) for threshold in _THRESHOLDS]
    best = int(np.argmax(scores))
    return share, _THRESHOLDS[best], scores[best]


def _small(item: Item) -> Floats:
    return _at(mask_pixels(item).astype(np.float32), (_SIDE, _SIDE))


def _at(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Shares on another grid; what gets smaller is averaged."""
    smaller = shape[0] * shape[1] < values.size
    resized = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
