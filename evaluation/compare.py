"""Two models on the same test images: the difference of their scores, with an interval that knows the images are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.clinical_rows import distance_interval
from evaluation.labels import numbered
from evaluation.metrics import (
    CLASSIFICATION_METRICS,
    Interval,
    classification_difference,
    classification_scores,
    mean_difference,
)

__all__ = ["SHARES", "CompareError", "PairedDifference", "paired_difference"]

SHARES = ("dice", "iou", "precision", "recall")
"""columns of per-image values from 0 to 1 that predictions of masks may have"""

_NUM_BOOTSTRAP = 1000
_SEED = 0


class CompareError(ValueError):
    """Predictions that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much better one model is than another."""

    first: float
    second: float
    difference: Interval
    """first minus second"""
    num_items: int
    num_groups: int

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0


def paired_difference(first: pa.Table, second: pa.Table, *, metric: str, classes: Sequence[str] = ()) -> PairedDifference:
    """The difference of a metric, with its 95% interval over groups (patients), which stay whole.

    Args:
        first: stored predictions of a head (columns path, box, group, and label and prediction, or the metric itself).
        second: those of another one on the same test split.
        metric: a name in `CLASSIFICATION_METRICS`, one of `SHARES`, or hd95.
        classes: in class-index order; of classification.

    Raises:
        CompareError: the predictions are of other images or labels, or lack the metric.
    """
    second = _aligned(first, second)
    groups = numbered(first["group"].to_pylist())
    told: dict[str, Any] = {"num_bootstrap": _NUM_BOOTSTRAP, "seed": _SEED}
    if metric in CLASSIFICATION_METRICS:
        labels = _numbers(first, "label", classes)
        predictions = [_numbers(table, "prediction", classes) for table in (first, second)]
        told |= {"num_classes": len(classes)}
        values = [classification_scores(labels, each, groups, names=(metric,), **told)[metric].value for each in predictions]
        difference = classification_difference(labels, predictions[0], predictions[1], groups, name=metric, **told)
    elif metric in (*SHARES, "hd95") and metric in first.column_names and metric in second.column_names:
        columns = [table[metric].to_numpy().astype(np.float64) for table in (first, second)]
        values = [float(column.mean()) for column in columns]
        if metric == "hd95":
            difference = distance_interval(columns[0] - columns[1], groups, is_signed=True)
        else:
            difference = mean_difference(columns[0], columns[1], groups, **told)
    else:
        raise CompareError(f"the stored predictions have no {metric}; compare another metric")
    return PairedDifference(
        first=values[0], second=values[1], difference=difference, num_items=first.num_rows, num_groups=int(groups.max()) + 1
    )


def _numbers(table: pa.Table, column: str, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in table[column].to_pylist()], np.int64)


def _aligned(first: pa.Table, second: pa.Table) -> pa.Table:
    """The second table in the order of the first."""
    keys = [_keys(table) for table in (first, second)]
    place = {key: row for row, key in enumerate(keys[1])}
    if len(place) != len(keys[1]) or set(keys[0]) != set(place):
        raise CompareError(f"predictions of {len(keys[0])} and {len(keys[1])} items are not of the same ones; evaluate both on one set")
    aligned = second.take([place[key] for key in keys[0]])
    if "label" in first.column_names and first["label"].to_pylist() != aligned["label"].to_pylist():
        raise CompareError("the labels of the two evaluations differ; evaluate both on one set")
    return aligned


def _keys(table: pa.Table) -> list[tuple[str, str]]:
    parts = [
        str([row["box"], row.get("span")]) for row in table.select([n for n in ("box", "span") if n in table.column_names]).to_pylist()
    ]
    return list(zip(table["path"].to_pylist(), parts, strict=True))
