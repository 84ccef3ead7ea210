"""How much better a model is than the best reference: the paired difference of their predictions of the same test images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.compare import SHARES, CompareError, paired_difference
from evaluation.metrics import CLASSIFICATION_METRICS
from warehouse.records import Score
from warehouse.store import content_id

__all__ = ["Rival", "constant_rivals", "rivals_of", "shown_difference", "with_differences"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A reference's score, and its predictions."""

    label: str
    head: str | None
    """whose rows it stands beside; None for those of every head"""
    metric: str
    value: float
    predictions: Callable[[], pa.Table]


def rivals_of(scores: Sequence[Score], root: Path, *, label: str) -> list[Rival]:
    """The scores of a reference model that have stored predictions; each stands beside rows of the same head.

    Args:
        scores: of the reference.
        root: the lake.
        label: what the table calls it.
    """
    read = cache(pq.read_table)

    def predictions(file: Path) -> Callable[[], pa.Table]:
        return lambda: read(file)

    return [
        Rival(
            label=label,
            head=score.head,
            metric=score.metric,
            value=score.value,
            predictions=predictions(root / score.details["predictions_file"]),
        )
        for score in scores
        if "predictions_file" in score.details
    ]


def constant_rivals(scores: Sequence[Score], predictions: pa.Table) -> list[Rival]:
    """The scores of the guess that looks at no picture; they stand beside rows of every head."""
    return [
        Rival(label=score.model, head=None, metric=score.metric, value=score.value, predictions=lambda: predictions) for score in scores
    ]


def with_differences(scores: Sequence[Score], rivals: Sequence[Rival], root: Path, *, classes: Sequence[str]) -> tuple[Score, ...]:
    """The scores, each with its difference from the best reference of the same head and metric in its details.

    The best is the reference with the highest value on the test split, which is the hardest to beat. The interval is over groups, which
    stay whole, and knows that both saw the same images. Scores without stored predictions, of metrics that are no such differences, or
    of images that cannot be told apart by their paths, stay as they are.

    Args:
        scores: of one model on one evaluation set.
        rivals: of all references on the same set.
        root: the lake.
        classes: of the task, in class-index order.
    """
    found = []
    for score in scores:
        beside = [
            rival for rival in rivals if rival.metric == score.metric and rival.head in (None, score.head) and math.isfinite(rival.value)
        ]
        is_paired = score.metric in CLASSIFICATION_METRICS or score.metric in SHARES
        if not beside or not is_paired or "predictions_file" not in score.details:
            found.append(score)
            continue
        best = max(beside, key=lambda rival: rival.value)
        own = pq.read_table(root / score.details["predictions_file"])
        try:
            difference = paired_difference(own, best.predictions(), metric=score.metric, classes=classes).difference
        except CompareError:
            found.append(score)
            continue
        told = {"difference": f"{difference.value:+.4f}", "difference_to": best.label}
        if math.isfinite(difference.low) and math.isfinite(difference.high):
            told |= {"difference_low": f"{difference.low:+.4f}", "difference_high": f"{difference.high:+.4f}"}
        found.append(replace(score, score_id=content_id([score.score_id, told]), details={**score.details, **told}))
    return tuple(found)


def shown_difference(score: Score) -> str:
    """The difference as tables have it, such as "+0.120 (0.080 to 0.160) over no picture"; empty where there is none."""
    told = score.details
    if "difference" not in told:
        return ""
    low, high = told.get("difference_low"), told.get("difference_high")
    interval = f"{float(low):+.3f} to {float(high):+.3f}" if low is not None and high is not None else "no interval"
    return f"{float(told['difference']):+.3f} ({interval}) over {told['difference_to']}"
