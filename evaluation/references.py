"""What a guess scores that looks at no picture: the commonest class, or one mask for all. A model has to beat it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.images import mask_pixels
from evaluation.labels import class_indices, group_indices
from evaluation.metrics import CLASSIFICATION_METRICS, Interval, classification_scores, dice, iou, mean_scores
from evaluation.stored_evaluation import base_folder, class_table, mask_table
from evaluation.tasks import Item, TaskData

__all__ = ["Guess", "constant_mask", "picture_blind", "reference_rows"]

_SIDE = 128
_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Guess:
    """What the picture-blind guess says of the test split."""

    predictions: pa.Table
    """a row a test item, as evaluations store theirs"""
    details: dict[str, str]
    """what was guessed, and what was chosen for it"""


def picture_blind(task: TaskData, data: Path | None = None) -> Guess:
    """Guess the commonest class of the training split, or the mean of its masks.

    Args:
        task: its training split gives the guess, its validation split a mask's threshold.
        data: what paths of items are relative to; the deepest folder that holds all files unless given.
    """
    test, base = task.split("test"), base_folder(task, data)
    if task.kind == "segmentation":
        share, threshold, val = constant_mask(task.split("train"), task.split("val"))
        pairs = [(np.asarray(_at(share, mask.shape) > threshold), mask) for mask in map(mask_pixels, test)]
        values = {name: np.array([measure(*pair) for pair in pairs]) for name, measure in (("dice", dice), ("iou", iou))}
        details = {
            "reference": "one mask for all images: the training masks' mean",
            "threshold": f"{threshold:g}",
            "val_dice": f"{val:.4f}",
        }
        return Guess(mask_table(test, base, values=values, predicted=[b""] * len(test)), details)
    commonest = min(Counter(str(item.label) for item in task.split("train")).items(), key=lambda one: (-one[1], one[0]))[0]
    certain = np.zeros((len(test), len(task.classes)), np.float32)
    certain[:, task.classes.index(commonest)] = 1
    return Guess(class_table(test, base, classes=task.classes, probabilities=certain), {"reference": f"always {commonest}"})


def reference_rows(task: TaskData, guess: Guess, *, num_bootstrap: int, seed: int) -> dict[str, Interval]:
    """The test scores of the picture-blind guess by metric.

    Args:
        task: the evaluation set.
        guess: of `picture_blind`.
        num_bootstrap: draws of an interval that is bootstrapped.
        seed: of them.
    """
    test = task.split("test")
    groups = group_indices(test)
    if task.kind == "segmentation":
        return {
            name: mean_scores(guess.predictions[name].to_numpy(), groups, num_bootstrap=num_bootstrap, seed=seed)
            for name in ("dice", "iou")
            if name in task.protocol.metrics
        }
    return classification_scores(
        class_indices(test, task.classes),
        np.array([task.classes.index(name) for name in guess.predictions["prediction"].to_pylist()], np.int64),
        groups,
        num_classes=len(task.classes),
        names=tuple(name for name in task.protocol.metrics if name in CLASSIFICATION_METRICS),
        num_bootstrap=num_bootstrap,
        seed=seed,
    )


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
