"""Which of a set's scores stand side by side: a few columns of whole measures, and rows of the measures of each class.

A task of 23 classes has 92 clinical measures. As columns they leave every page; as rows, a class each, they stay four wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warehouse.records import Score

__all__ = ["ClassMeasures", "class_measures", "frames_words", "metric_name", "metrics_by_table", "seen_size", "size_words", "unit_of"]

_FIRST, _MORE = 4, 6
"""columns of the first table, which has the difference to a reference too, and of those after it"""

_MEASURES = ("sensitivity", "specificity", "auroc", "auprc", "ap50", "ap")
"""what stands before the class in `sensitivity/CLASS`, and behind the question in `QUESTION/auroc`"""

_ORDER = (
    *("accuracy", "balanced_accuracy", "macro_f1", "f1", "quadratic_weighted_kappa"),
    *("dice", "iou", "sequence_dice", "sequence_iou", "endofm_volume_dice", "precision", "recall", "hd95"),
    *("ap50", "ap50_agnostic", "ap", "ap_agnostic", "f1_iou50", "presence_f1", "presence_f1_at_half", "lesion_recall"),
    *("false_positives_per_minute", "false_positives_per_image"),
    *("brier", "ece"),
)
"""columns from left to right, of the measures of this project; those of others stand behind them"""

_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95, px",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ap": "AP",
    "ap50": "AP50",
    "ap_agnostic": "AP, classes as one",
    "ap50_agnostic": "AP50, classes as one",
    "f1_iou50": "F1 of boxes at IoU 0.5",
    "presence_f1": "presence F1",
    "presence_f1_at_half": "presence F1 at score 0.5",
    "sequence_dice": "sequence Dice",
    "sequence_iou": "sequence IoU",
    "endofm_volume_dice": "Endo-FM's volume Dice",
    "brier": "Brier score",
    "ece": "calibration error",
    "quadratic_weighted_kappa": "weighted kappa",
}
"""what a column is called where it is not the metric's own name"""


@dataclass(frozen=True, slots=True)
class ClassMeasures:
    """The measures of each class against the rest, and of yes-or-no questions, by model."""

    measures: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Score | None, ...]], ...]
    """class or question, what the model's row is called, and a score a measure; rows of one class stand together"""


def metric_name(metric: str) -> str:
    """What a column of a page is called."""
    return _NAMES.get(metric, metric.replace("_", " "))


def seen_size(score: Score) -> str:
    """Side in pixels of the images that the score's head read, which may be larger than the model's own; empty where it is not known."""
    return score.details.get("input_size", score.details.get("image_size", ""))


def unit_of(scores: Sequence[Score]) -> str:
    """What the test items of a set are, in the plural: clips, frames or images. Scores of older versions name it of clips alone."""
    units = (score.details.get("unit") or ("clips" if "clip_pooling" in score.details else "") for score in scores)
    return next(filter(None, units), "images")


def size_words(score: Score) -> str:
    """`seen_size`, and where they differ the model's own size and that which all models of the evaluation were asked to take.

    Such as `48 (own 224)`, or `504 (own 518, asked 512)`.
    """
    others = [f"{what} {size}" for what in ("own", "asked") if (size := score.details.get(f"{what}_image_size"))]
    return seen_size(score) + (f" ({', '.join(others)})" if others else "")


def frames_words(score: Score) -> str:
    """How many frames the model saw at once, such as `8 frames`; empty of models that saw single pictures."""
    context = score.details.get("context_frames", "")  # of a detector on single pictures too
    frames = score.details.get("clip_frames") or (context if context != "1" else "")
    return f"{frames} frame{'s' if frames != '1' else ''}" if frames else ""


def metrics_by_table(metrics: Sequence[str], *, primary: str = "") -> tuple[tuple[str, ...], ...]:
    """The measures of a whole set, without those of single classes, as columns of one table or more, each of at most six.

    Args:
        metrics: names; those that are not of this project keep their order.
        primary: that decides on the validation split; it comes first.
    """
    whole = [name for name in dict.fromkeys(metrics) if _of_class(name) is None]
    whole.sort(key=lambda name: (name != primary, _ORDER.index(name) if name in _ORDER else len(_ORDER)))
    later = whole[_FIRST:]
    return (tuple(whole[:_FIRST]), *(tuple(later[start : start + _MORE]) for start in range(0, len(later), _MORE)))


def class_measures(rows: Sequence[tuple[str, Mapping[str, Score]]]) -> ClassMeasures | None:
    """The measures of single classes; None if there are none.

    Args:
        rows: of a set: what each is called, and its scores by metric.
    """
    cells: dict[str, dict[int, dict[str, Score]]] = {}
    for number, (_, scores) in enumerate(rows):
        for metric, score in scores.items():
            if found := _of_class(metric):
                name, measure = found
                cells.setdefault(name, {}).setdefault(number, {})[measure] = score
    shown = {measure for by_row in cells.values() for found in by_row.values() for measure in found}
    measures = tuple(measure for measure in _MEASURES if measure in shown)
    told = tuple(
        (name, rows[number][0], tuple(found.get(measure) for measure in measures))
        for name, by_row in cells.items()
        for number, found in by_row.items()
    )
    return ClassMeasures(measures, told) if told else None


def _of_class(metric: str) -> tuple[str, str] | None:
    """The class or question of a metric, and its measure; None of one that is of the whole set."""
    first, _, name = metric.partition("/")
    if name and first in _MEASURES:
        return name, first
    question, _, last = metric.rpartition("/")
    return (question, last) if question and last in _MEASURES else None
