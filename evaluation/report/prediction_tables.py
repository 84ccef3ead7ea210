"""What stored predictions say beyond one number: who is taken for whom, how sure it is when it is right, and which patients are missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

__all__ = ["ClassRow", "Confusion", "GroupRow", "ReliabilityBin", "confusion", "group_rows", "reliability"]

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
    measure = next((name for name in ("dice", "frame_f1") if name in table.column_names), None)
    if measure is not None:
        values = table[measure].to_pylist()
    else:
        values = [float(a == b) for a, b in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)]
    by_group: dict[str, list[float]] = defaultdict(list)
    for group, value in zip(table["group"].to_pylist(), values, strict=True):
        by_group[group].append(value)
    rows = [GroupRow(group, len(found), float(np.mean(found))) for group, found in by_group.items()]
    return tuple(sorted(rows, key=lambda row: (row.value, -row.num_items, row.group)))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
