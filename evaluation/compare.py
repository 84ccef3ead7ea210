"""Two models on the same test images: the difference of their scores, with an interval that knows the images are the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.labels import numbered
from evaluation.metrics import CLASSIFICATION_METRICS, confusion_matrices

__all__ = ["FEWEST_GROUPS", "CompareError", "PairedDifference", "paired_difference"]

FEWEST_GROUPS = 5
"""below it no interval is given"""

Floats = npt.NDArray[np.float64]


class CompareError(ValueError):
    """Predictions that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much better one model is than another."""

    first: float
    second: float
    difference: float
    """first minus second"""
    low: float
    """95% interval of the difference; not a number below `FEWEST_GROUPS` groups"""
    high: float
    num_items: int
    num_groups: int

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(first: pa.Table, second: pa.Table, *, metric: str, classes: Sequence[str] = ()) -> PairedDifference:
    """The difference of a metric, with the interval of the jackknife that leaves out one group (patient) at a time, and t's quantile.

    Args:
        first: stored predictions of a head (columns path, box, group, and label and prediction, or the metric itself).
        second: those of another one on the same test split.
        metric: a name in `CLASSIFICATION_METRICS`, or a column of per-image values such as dice.
        classes: in class-index order; of classification.

    Raises:
        CompareError: the predictions are of other images or labels, or lack the metric.
    """
    second = _aligned(first, second)
    groups = numbered(first["group"].to_pylist())
    num_groups = int(groups.max()) + 1
    if metric in CLASSIFICATION_METRICS:
        score = _of_classes(metric, classes, groups)
    elif metric in first.column_names and metric in second.column_names:
        score = _of_values(metric, groups, num_groups)
    else:
        raise CompareError(f"the stored predictions have no {metric}; compare another metric")
    (whole_a, without_a), (whole_b, without_b) = score(first), score(second)
    difference, without = whole_a - whole_b, without_a - without_b
    half = math.nan
    if num_groups >= FEWEST_GROUPS and bool(np.isfinite(without).all()):
        from scipy.stats import t

        variance = (num_groups - 1) / num_groups * float(((without - without.mean()) ** 2).sum())
        half = float(t.ppf(0.975, num_groups - 1)) * math.sqrt(variance)
    return PairedDifference(
        first=whole_a,
        second=whole_b,
        difference=difference,
        low=difference - half,
        high=difference + half,
        num_items=first.num_rows,
        num_groups=num_groups,
    )


_Scored = tuple[float, Floats]
"""value of all groups, and [G] values with each left out"""


def _of_classes(metric: str, classes: Sequence[str], groups: npt.NDArray[np.int64]) -> Callable[[pa.Table], _Scored]:
    index = {name: i for i, name in enumerate(classes)}

    def score(table: pa.Table) -> _Scored:
        labels, predictions = (
            np.array([index[name] for name in table[column].to_pylist()], np.int64) for column in ("label", "prediction")
        )
        per_group = confusion_matrices(labels, predictions, groups, num_classes=len(classes))
        whole = per_group.sum(0)
        function = CLASSIFICATION_METRICS[metric]
        return float(function(whole)), np.asarray(function(whole - per_group), np.float64)

    return score


def _of_values(metric: str, groups: npt.NDArray[np.int64], num_groups: int) -> Callable[[pa.Table], _Scored]:
    sizes = np.bincount(groups, minlength=num_groups)

    def score(table: pa.Table) -> _Scored:
        values = table[metric].to_numpy().astype(np.float64)
        sums = np.bincount(groups, values, num_groups)
        with np.errstate(invalid="ignore"):
            return float(values.mean()), (values.sum() - sums) / (len(values) - sizes)

    return score


def _aligned(first: pa.Table, second: pa.Table) -> pa.Table:
    """The second table in the order of the first."""
    keys = [_keys(table) for table in (first, second)]
    place = {key: row for row, key in enumerate(keys[1])}
    if len(place) != len(keys[1]) or set(keys[0]) != set(place):
        raise CompareError(
            f"predictions of {len(keys[0])} and {len(keys[1])} test images are not of the same ones; evaluate both on one set"
        )
    aligned = second.take([place[key] for key in keys[0]])
    if "label" in first.column_names and first["label"].to_pylist() != aligned["label"].to_pylist():
        raise CompareError("the labels of the two evaluations differ; evaluate both on one set")
    return aligned


def _keys(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["path"].to_pylist(), map(str, table["box"].to_pylist()), strict=True))
