"""Scores of a rotation: one set divided into folds, each the test split in turn, or ten trainings for one test split.

A rotation has one value for each fold, their mean and standard deviation, and, if predictions were kept, one value of all of them
pooled. The pooled value has an interval over groups, so that a patient who is tested in several folds is drawn as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.intervals import withheld
from evaluation.metrics import CLASSIFICATION_METRICS, Interval, classification_scores, confusion_matrices, mean_scores
from warehouse.records import Score
from warehouse.store import content_id

__all__ = ["ROTATION", "FoldClasses", "FoldValues", "Rotation", "rotate_classes", "rotate_scores", "rotate_values", "rotation_rows"]

ROTATION = "all"
"""What the detail `fold` of a score says that is of all folds together."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldClasses:
    """Test predictions of one fold, [N] each, aligned."""

    predictions: Ints
    labels: Ints
    groups: tuple[str, ...]
    """names, so that a group is the same in every fold"""


@dataclass(frozen=True, slots=True)
class FoldValues:
    """Per-image test values of one fold, such as Dice, [N] each, aligned."""

    values: Floats
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """One metric over all folds."""

    values: tuple[float, ...]
    """one for each fold"""
    mean: float
    sd: float
    """sample standard deviation, not a number for one fold"""
    pooled: Interval | None
    """value of all predictions together; None if they were not kept"""


def rotate_scores(values: Sequence[float], pooled: Interval | None = None) -> Rotation:
    """Mean and standard deviation of the folds' values; a fold without a value (not a number) makes both not a number.

    Raises:
        ValueError: there is no fold.
    """
    if not values:
        raise ValueError("there are no folds; give the values of one or more")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Rotation(tuple(map(float, values)), float(np.mean(values)), sd, pooled)


def rotate_classes(folds: Sequence[FoldClasses], *, metric: str, num_classes: int, num_bootstrap: int, seed: int) -> Rotation:
    """One classification metric of each fold and of all predictions together.

    Args:
        folds: their test predictions.
        metric: a name in `CLASSIFICATION_METRICS`.
        num_classes: classes of the task.
        num_bootstrap: replicates of the pooled interval.
        seed: of these.

    Raises:
        ValueError: there is no fold.
    """
    one_group = [
        confusion_matrices(fold.labels, fold.predictions, np.zeros_like(fold.labels), num_classes=num_classes)[0] for fold in folds
    ]
    values = [float(CLASSIFICATION_METRICS[metric](confusion)) for confusion in one_group]
    if not folds:
        return rotate_scores(values)
    pooled = classification_scores(
        np.concatenate([fold.labels for fold in folds]),
        np.concatenate([fold.predictions for fold in folds]),
        _numbered([group for fold in folds for group in fold.groups]),
        num_classes=num_classes,
        names=(metric,),
        num_bootstrap=num_bootstrap,
        seed=seed,
    )
    return rotate_scores(values, pooled[metric])


def rotate_values(folds: Sequence[FoldValues], *, num_bootstrap: int, seed: int) -> Rotation:
    """The mean per-image value of each fold and of all images together; arguments and errors as of `rotate_classes`."""
    values = [float(fold.values.mean()) for fold in folds]
    if not folds:
        return rotate_scores(values)
    groups = _numbered([group for fold in folds for group in fold.groups])
    pooled = mean_scores(np.concatenate([fold.values for fold in folds]), groups, num_bootstrap=num_bootstrap, seed=seed)
    return rotate_scores(values, pooled)


def rotation_rows(
    folds: Sequence[Sequence[Score]],
    *,
    num_items: int,
    num_groups: int,
    pooled: Mapping[tuple[str, str, str], Interval | str] = MappingProxyType({}),
) -> tuple[Score, ...]:
    """One score for each model, head and metric that every fold has.

    The value is the pooled one if it is given, else the mean of the folds. The interval is the pooled one, and not a number without it: the
    folds' training images overlap, so their spread gives none. The detail `interval` says how it was made, or why there is none.

    Args:
        folds: the scores of each fold, in the order of folds.
        num_items: test images of all folds, each counted once.
        num_groups: their groups.
        pooled: by model id, head and metric; or why there is none.
    """
    keyed = [{(score.model_id, score.head, score.metric): score for score in scores if "shots" not in score.details} for scores in folds]
    data_id = content_id([scores[0].data_id for scores in folds if scores])
    rows = []
    for key, first in keyed[0].items():
        if not all(key in scores for scores in keyed):
            continue
        given = pooled.get(key, _unpooled(first))
        together = rotate_scores([scores[key].value for scores in keyed], given if isinstance(given, Interval) else None)
        interval = together.pooled or withheld(together.mean, str(given))
        details = {**_details([scores[key] for scores in keyed], together), **({"interval": interval.method} if interval.method else {})}
        identity = ["rotation", [scores[key].score_id for scores in keyed], details]
        rows.append(
            Score(
                score_id=content_id(identity),
                model_id=first.model_id,
                model=first.model,
                task=first.task,
                data_id=data_id,
                split="test",
                head=first.head,
                metric=first.metric,
                value=interval.value,
                ci_low=interval.low,
                ci_high=interval.high,
                num_items=num_items,
                num_groups=num_groups,
                seed=first.seed,
                details=details,
            )
        )
    return tuple(rows)


def _unpooled(score: Score) -> str:
    """Why a score has no stored predictions."""
    if "reference" in score.details:
        return "of a guess no predictions are kept"
    return "draws of weights have no common predictions" if "draws" in score.details else "no predictions are kept"


_OF_THE_SET = (
    "unit",
    "backbone",
    "backbone_config",
    "image_size",
    "own_image_size",
    "asked_image_size",
    "clip_frames",
    "context_frames",
    "frame_rate",
    "weights",
    "protocol",
    "split_protocol",
    "patients",
    "reference",
    "settings",
    "code",
)
"""Details of a fold's score that are true of all folds."""
_VERDICTS = ("leak", "leak_pretraining")


def _details(scores: Sequence[Score], rotation: Rotation) -> dict[str, str]:
    first = scores[0].details
    kept: dict[str, Any] = {name: first[name] for name in _OF_THE_SET if name in first}
    warnings = dict.fromkeys(score.details["warnings"] for score in scores if "warnings" in score.details)
    files = [score.details["predictions_file"] for score in scores if "predictions_file" in score.details]
    are_pooled = rotation.pooled is not None and len(files) == len(scores)
    return {
        **kept,
        **({"fold_predictions": " ".join(files), "fold_head": first["head_file"]} if are_pooled else {}),
        **_validation([score.details for score in scores]),
        **{name: _worst([score.details[name] for score in scores]) for name in _VERDICTS if all(name in score.details for score in scores)},
        **({"warnings": "; ".join(warnings)} if warnings else {}),
        "fold": ROTATION,
        "num_folds": str(len(rotation.values)),
        "fold_values": " ".join(f"{value:.4f}" for value in rotation.values),
        "mean": f"{rotation.mean:.4f}",
        "sd": f"{rotation.sd:.4f}",
        "value_is": "of all predictions pooled" if rotation.pooled else "the mean of the folds",
    }


def _validation(folds: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The means of the validation values that the heads were chosen by."""
    names = [name for name in folds[0] if name.startswith("val_") and all(name in details for details in folds)]
    return {name: f"{np.mean([float(details[name]) for details in folds]):.4f}" for name in names}


def _worst(verdicts: Sequence[str]) -> str:
    """The verdict of all folds: an overlap in any of them is one of the whole, and unknown is not clean."""
    overlaps = [int(verdict.split()[1]) for verdict in verdicts if verdict.startswith("overlap")]
    return f"overlap {max(overlaps)}" if overlaps else "unknown" if "unknown" in verdicts else verdicts[0]


def _numbered(groups: Sequence[str]) -> Ints:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
