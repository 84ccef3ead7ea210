"""Scores of detections: average precision, F1 at one threshold, frame presence, lesions found and false alarms.

A prediction takes the free true box that it overlaps most, the surest prediction first, and each true box is taken once (COCO's rule).
Average precision has COCO's 101 points; the tests hold it to pycocotools' values. Boxes are x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = [
    "IOU_THRESHOLDS",
    "Boxes",
    "Frame",
    "Matches",
    "OperatingPoint",
    "average_precision",
    "best_threshold",
    "box_iou",
    "match_frames",
    "one_a_place",
    "operating_points",
]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""from .5 to .95, over which AP is averaged"""

MOST_DETECTIONS = 100
"""of one frame and class that count, the surest ones, as in COCO"""

_POINTS = np.linspace(0.0, 1.0, 101)
_SAME_PLACE = 0.6

Boxes = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a frame shows, and what a detector says of it."""

    truth: Boxes
    """[M, 4]"""
    truth_labels: Ints
    """[M] class indices"""
    boxes: Boxes
    """[N, 4]"""
    labels: Ints
    """[N]"""
    scores: Floats
    """[N] from 0 to 1"""
    lesions: tuple[str, ...] = ()
    """[M] which lesion each true box shows; each box one of its own unless given"""

    @cached_property
    def without_classes(self) -> Frame:
        """The frame as if there were one class: of predictions at one place the surest alone."""
        kept = one_a_place(self.boxes, self.scores)
        return Frame(
            truth=self.truth,
            truth_labels=np.zeros(len(self.truth), np.int64),
            boxes=self.boxes[kept],
            labels=np.zeros(len(kept), np.int64),
            scores=self.scores[kept],
            lesions=self.lesions,
        )


@dataclass(frozen=True, slots=True)
class Matches:
    """The predictions of one class over all frames, the surest first."""

    scores: Floats
    """[N]"""
    is_hit: npt.NDArray[np.bool_]
    """[N, T] whether each takes a true box, at T overlaps"""
    taken: Ints
    """[N, T] place of that box within its frame, -1 for none"""
    frames: Ints
    """[N] of which frame"""
    num_truth: Ints
    """[F] true boxes of each frame"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Counts over frames of a detector at one threshold, regardless of classes."""

    true_positives: Floats
    """[F] predictions that take a true box"""
    false_positives: Floats
    """[F] the other ones"""
    missed: Floats
    """[F] true boxes that none takes"""
    shows: npt.NDArray[np.bool_]
    """[F] frames with a true box"""
    says: npt.NDArray[np.bool_]
    """[F] frames with a prediction"""
    found: frozenset[str]
    """lesions of which one box at least was taken"""
    lesions: frozenset[str]
    """all lesions"""

    @property
    def f1(self) -> float:
        """F1 of boxes; not a number where there is neither truth nor prediction."""
        return _f1(self.true_positives.sum(), self.false_positives.sum(), self.missed.sum())

    @property
    def presence_f1(self) -> float:
        """F1 of whether a frame shows something at all, wherever it is."""
        return _f1(*(float(part.sum()) for part in (self.shows & self.says, ~self.shows & self.says, self.shows & ~self.says)))

    @property
    def lesion_recall(self) -> float:
        """Share of the lesions that were found."""
        return len(self.found) / len(self.lesions) if self.lesions else math.nan


def box_iou(first: Boxes, second: Boxes) -> Floats:
    """Overlap over union of each of [N, 4] boxes with each of [M, 4], [N, M]; 0 for boxes without area."""
    low, high = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (high - low).clip(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - overlap
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0))


def one_a_place(boxes: Boxes, scores: Floats, *, iou: float = _SAME_PLACE) -> Ints:
    """Places of [N, 4] boxes, the surest first, without those that overlap a surer one by more than `iou`, whatever their class."""
    order = np.argsort(-scores, kind="stable")
    overlaps = box_iou(boxes[order], boxes[order])
    kept: list[int] = []
    for place in range(len(order)):
        if not (overlaps[place, kept] > iou).any():
            kept.append(place)
    return np.asarray(order[kept], np.int64)


def match_frames(frames: Sequence[Frame], label: int, *, ious: Sequence[float] = IOU_THRESHOLDS) -> Matches:
    """Match the predictions of one class to its true boxes, frame by frame, at each overlap of `ious`."""
    parts = [_match(frame, label, np.asarray(ious)) for frame in frames]
    num_truth = np.array([int((frame.truth_labels == label).sum()) for frame in frames], np.int64)
    numbers = np.repeat(np.arange(len(frames)), [len(scores) for scores, _ in parts])
    scores = np.concatenate([scores for scores, _ in parts]) if parts else np.zeros(0)
    taken = np.concatenate([found for _, found in parts]) if parts else np.zeros((0, len(ious)), np.int64)
    order = np.argsort(-scores, kind="stable")
    return Matches(scores[order], taken[order] >= 0, taken[order], numbers[order], num_truth)


def average_precision(matches: Matches, *, among: npt.NDArray[np.bool_] | None = None) -> Floats:
    """COCO's 101-point average precision at each overlap, [T]; not a number without a true box.

    Args:
        matches: of one class.
        among: [F] the frames that count; all unless given.
    """
    num_truth = int(matches.num_truth.sum() if among is None else matches.num_truth[among].sum())
    num_ious = matches.is_hit.shape[1]
    if not num_truth:
        return np.full(num_ious, np.nan)
    hits = matches.is_hit if among is None else matches.is_hit[among[matches.frames]]
    if not len(hits):
        return np.zeros(num_ious)
    right = np.cumsum(hits, axis=0, dtype=np.float64)
    recall, precision = right / num_truth, right / np.arange(1, len(hits) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]  # of each recall the best precision from it on
    found = np.zeros(num_ious)
    for number in range(num_ious):
        places = np.searchsorted(recall[:, number], _POINTS, side="left")
        found[number] = np.append(precision[:, number], 0.0)[places].sum() / len(_POINTS)
    return found


def operating_points(frames: Sequence[Frame], thresholds: Sequence[float], *, iou: float = 0.5) -> list[OperatingPoint]:
    """Counts at each threshold: predictions from it on count, classes do not. Lesions without a name are one a box."""
    whole = [frame.without_classes for frame in frames]
    matches = match_frames(whole, 0, ious=(iou,))
    hit, taken = matches.is_hit[:, 0], matches.taken[:, 0]
    names = [frame.lesions or tuple(f"{number}-{box}" for box in range(len(frame.truth))) for number, frame in enumerate(whole)]
    shows = matches.num_truth > 0
    found = []
    for threshold in thresholds:
        said = matches.scores >= threshold  # the surest first, so matches do not depend on what is left out
        right = np.bincount(matches.frames[said & hit], minlength=len(frames)).astype(np.float64)
        wrong = np.bincount(matches.frames[said & ~hit], minlength=len(frames)).astype(np.float64)
        pairs = zip(matches.frames[said & hit].tolist(), taken[said & hit].tolist(), strict=True)
        found.append(
            OperatingPoint(
                true_positives=right,
                false_positives=wrong,
                missed=matches.num_truth - right,
                shows=shows,
                says=right + wrong > 0,
                found=frozenset(names[frame][box] for frame, box in pairs),
                lesions=frozenset(name for frame in names for name in frame),
            )
        )
    return found


def best_threshold(frames: Sequence[Frame], *, iou: float = 0.5) -> tuple[float, float]:
    """The score from which on predictions count so that F1 is highest, and that F1; 0.5 without predictions."""
    matches = match_frames([frame.without_classes for frame in frames], 0, ious=(iou,))
    if not len(matches.scores):
        return 0.5, 0.0
    last = np.append(np.flatnonzero(np.diff(matches.scores)), len(matches.scores) - 1)  # of each run of equal scores
    right = np.cumsum(matches.is_hit[:, 0])[last]
    scores = 2 * right / (last + 1 + int(matches.num_truth.sum()))
    best = int(np.argmax(scores))
    return float(matches.scores[last[best]]), float(scores[best])


def _match(frame: Frame, label: int, ious: Floats) -> tuple[Floats, Ints]:
    """Scores of a frame's predictions of a class, the surest first, and which true box each takes at each overlap."""
    mine = np.flatnonzero(frame.labels == label)
    mine = mine[np.argsort(-frame.scores[mine], kind="stable")][:MOST_DETECTIONS]
    places = np.flatnonzero(frame.truth_labels == label)
    overlaps = box_iou(frame.boxes[mine], frame.truth[places])
    taken = np.full((len(mine), len(ious)), -1, np.int64)
    for number, least in enumerate(np.minimum(ious, 1 - 1e-10)):
        free = np.ones(len(places), bool)
        for row in range(len(mine)) if len(places) else ():
            open_overlaps = np.where(free, overlaps[row], -1.0)
            best = len(places) - 1 - int(np.argmax(open_overlaps[::-1]))  # of equals the last, as COCO has it
            if open_overlaps[best] >= least:
                free[best] = False
                taken[row, number] = places[best]
    return frame.scores[mine], taken


def _f1(right: float, wrong: float, missed: float) -> float:
    total = 2 * right + wrong + missed
    return 2 * right / total if total else math.nan
