"""What a guess scores that looks at no picture: one box, the same on every frame."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from evaluation.detection.fcos import Detections
from evaluation.detection.intervals import detection_scores
from evaluation.detection.metrics import Frame
from evaluation.detection.tables import image_sizes
from evaluation.intervals import Interval
from evaluation.labels import group_indices
from evaluation.tasks import TaskData

__all__ = ["constant_box", "reference_box_rows"]


def reference_box_rows(task: TaskData) -> dict[str, tuple[Interval, dict[str, str]]]:
    """The test scores of the picture-blind guess by metric, with what was guessed."""
    test = task.split("test")
    sizes = image_sizes(test)
    guess = constant_box(task)
    index = {name: number for number, name in enumerate(task.classes)}
    frames = [
        Frame(
            truth=np.array([box.corners for box in item.boxes or ()], np.float64).reshape(-1, 4),
            truth_labels=np.array([index[box.label] for box in item.boxes or ()], np.int64),
            boxes=guess.boxes.double().numpy() * np.tile(size, 2),
            labels=guess.labels.numpy(),
            scores=guess.scores.double().numpy(),
            lesions=tuple(box.lesion for box in item.boxes or ()),
        )
        for item, size in zip(test, sizes, strict=True)
    ]
    scores = detection_scores(frames, group_indices(test), classes=task.classes, threshold=0.5, frames_per_s=task.frames_per_s)
    told = {"reference": "one box on all frames: the median of the training boxes"}
    return {name: (interval, told) for name, interval in scores.items()}


def constant_box(task: TaskData) -> Detections:
    """One box of the commonest class in shares of the frame's sides: the median of each side of the training boxes."""
    items = task.split("train")
    shares = [
        np.array(box.corners) / np.tile(size, 2) for item, size in zip(items, image_sizes(items), strict=True) for box in item.boxes or ()
    ]
    counts = Counter(box.label for item in items for box in item.boxes or ())
    commonest = min(counts.items(), key=lambda one: (-one[1], one[0]))[0]
    median = torch.from_numpy(np.median(np.stack(shares), axis=0)[None]).float()
    return Detections(median, torch.tensor([task.classes.index(commonest)]), torch.ones(1))
