"""What stored predictions say beyond one number: who is taken for whom, how sure it is when it is right, and which patients are missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.labels import numbered
from evaluation.metrics import Interval, mean_scores

__all__ = ["ClassRow", "Confusion", "GroupRow", "ReliabilityBin", "SubgroupRow", "confusion", "group_rows", "reliability", "subgroup_rows"]

_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A true class: how its images were predicted."""

    name: str
    counts: tuple[int, ...]
    """by predicted class"""
    sensitivity: float
    specificity: float
    precision: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix with its classes' rates; a rate is not a number where nothing is in it."""

    classes: tuple[str, ...]
    rows: tuple[ClassRow, ...]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images whose most probable class has a probability in one tenth."""

    confidence: float
    """mean probability of the predicted class"""
    accuracy: float
    num_items: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One patient or sequence."""

    group: str
    num_items: int
    value: float
    """accuracy, mean Dice or mean F1"""


@dataclass(frozen=True, slots=True)
class SubgroupRow:
    """The images of one device or site."""

    name: str
    num_items: int
    num_groups: int
    """patients, or images without a patient"""
    score: Interval
    """accuracy, or mean Dice; no interval below five groups"""


def confusion(table: pa.Table, classes: Sequence[str]) -> Confusion:
    """The confusion matrix of predictions.

    Args:
        table: columns label and prediction.
        classes: in class-index order.
    """
    index = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for label, prediction in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True):
        counts[index[label], index[prediction]] += 1
    total = int(counts.sum())
    rows = []
    for i, name in enumerate(classes):
        positives, called, hits = int(counts[i].sum()), int(counts[:, i].sum()), int(counts[i, i])
        rows.append(
            ClassRow(
                name,
                tuple(map(int, counts[i])),
                _share(hits, positives),
                _share(total - positives - called + hits, total - positives),
                _share(hits, called),
            )
        )
    return Confusion(tuple(classes), tuple(rows))


def reliability(table: pa.Table) -> tuple[ReliabilityBin, ...]:
    """Ten equal bins of the predicted class's probability, empty ones left out; columns probabilities, label and prediction."""
    sure = np.array([max(row) for row in table["probabilities"].to_pylist()])
    right = np.array([a == b for a, b in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)])
    number = np.minimum((sure * _NUM_BINS).astype(int), _NUM_BINS - 1)
    return tuple(
        ReliabilityBin(float(sure[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (number == i for i in range(_NUM_BINS))
        if inside.any()
    )


def group_rows(table: pa.Table) -> tuple[GroupRow, ...]:
    """Each group's accuracy, mean Dice or mean F1 of boxes, the lowest first; of equals the one with more images.

    Args:
        table: column group, and either label and prediction, dice or frame_f1.
    """
    values = _values(table).tolist()
    by_group: dict[str, list[float]] = defaultdict(list)
    for group, value in zip(table["group"].to_pylist(), values, strict=True):
        by_group[group].append(value)
    rows = [GroupRow(group, len(found), float(np.mean(found))) for group, found in by_group.items()]
    return tuple(sorted(rows, key=lambda row: (row.value, -row.num_items, row.group)))


def subgroup_rows(table: pa.Table, column: str) -> tuple[SubgroupRow, ...]:
    """Accuracy or mean Dice of the images of each device or site, the lowest first; none if the data names fewer than two.

    Args:
        table: column group, and either label and prediction or dice.
        column: device or site; images without one are a row `not named`.
    """
    if column not in table.column_names or len(names := set(table[column].to_pylist())) < 2:
        return ()
    values, groups, told = _values(table), table["group"].to_pylist(), np.array(table[column].to_pylist())
    rows = []
    for name in names:
        inside = np.flatnonzero(told == name)
        own = numbered([groups[number] for number in inside])
        score = mean_scores(values[inside], own, num_bootstrap=1, seed=0)  # unsigned values have no bootstrap
        rows.append(SubgroupRow(name or "not named", len(inside), int(own.max()) + 1, score))
    return tuple(sorted(rows, key=lambda row: (row.score.value, -row.num_items, row.name)))


def _values(table: pa.Table) -> npt.NDArray[np.float64]:
    """Of each image: Dice, F1 of its boxes, or 1 if its class is right."""
    measure = next((name for name in ("dice", "frame_f1") if name in table.column_names), None)
    if measure is not None:
        return np.asarray(table[measure].to_numpy(zero_copy_only=False), np.float64)
    pairs = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    return np.array([float(label == prediction) for label, prediction in pairs])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
