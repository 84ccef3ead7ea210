"""Few-shot curves: heads fitted on few training images, drawn several times by patient.

A draw takes patients in a random order, and of each patient all images of a class, until the class has its number; a share is taken of
every class alike. The validation images by which a head is chosen are drawn from val in the same way and number, so that the curve tells
what so few labels give, twice over, and no large validation split helps in secret. Draws of one number are parts of those of larger ones.
Masks are drawn as images of one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from evaluation.heads import (
    BATCH,
    CLASS_HEADS,
    MASK_HEADS,
    FittedClasses,
    FittedMasks,
    HeadSettings,
    Labelled,
    MaskLabelled,
    SelectionSplit,
    VectorSets,
)
from evaluation.metrics import CLASSIFICATION_METRICS, Interval, confusion_matrices

__all__ = ["FEW_SHOT_MASK_HEADS", "FewShotRow", "draw_images", "few_shot_mask_rows", "few_shot_rows", "interval_of_draws"]

FEW_SHOT_MASK_HEADS = ("linear_segmentation", "fpn")
"""heads of masks that have a curve; the others take too long for forty trainings"""

_FEWEST_STEPS = 100
"""of one training of a head of masks: passes over a few images would be too few steps"""

Ints = npt.NDArray[np.int64]

Part = TypeVar("Part", Labelled, MaskLabelled)


@dataclass(frozen=True, slots=True)
class FewShotRow:
    """A point of the curve of one head: one draw, or the mean of all."""

    head: str
    interval: Interval
    """a draw has none; that of the mean is over draws, with the test split as it is"""
    details: dict[str, str]
    """shots, draw (a number, or mean), and how many images and patients were drawn"""


def few_shot_rows(
    heads: Sequence[str],
    train: Labelled,
    val: Labelled,
    test: VectorSets,
    test_labels: Ints,
    *,
    patients: Mapping[SelectionSplit, Ints],
    settings: HeadSettings,
) -> list[FewShotRow]:
    """The curve of every head, by the metric of `settings`.

    Args:
        heads: names of class heads.
        train: all training images.
        val: all validation images.
        test: features of the test images.
        test_labels: their classes; no head is fitted or chosen with them.
        patients: of train and val, numbers from 0.
        settings: those of the whole evaluation.
    """
    rows = []
    for name in heads:

        def fitted(few: Labelled, few_val: Labelled, name: str = name) -> tuple[FittedClasses, float]:
            head = CLASS_HEADS[name].fit(few, few_val, settings)
            return head, _value(test_labels, head.probabilities(test), settings)

        labels = {part.split: part.labels for part in (train, val)}
        rows += _curve(
            name, train, val, labels, settings.num_classes, ("per class", "per class"), fitted, patients=patients, settings=settings
        )
    return rows


def few_shot_mask_rows(
    name: str,
    train: MaskLabelled,
    val: MaskLabelled,
    score: Callable[[FittedMasks], float],
    *,
    patients: Mapping[SelectionSplit, Ints],
    settings: HeadSettings,
) -> list[FewShotRow]:
    """The curve of a head of masks.

    A head has at least 100 steps, so as many more passes over few images.

    Args:
        name: one of `FEW_SHOT_MASK_HEADS`.
        train: all training images.
        val: all validation images.
        score: the value of a fitted head on the test split.
        patients: of train and val, numbers from 0.
        settings: those of the whole evaluation.
    """

    def fitted(few: MaskLabelled, few_val: MaskLabelled) -> tuple[FittedMasks, float]:
        config = settings.config
        fewest = -(-_FEWEST_STEPS // -(-len(few) // BATCH))
        longer = replace(
            config, segmentation_epochs=max(config.segmentation_epochs, fewest), decoder_epochs=max(config.decoder_epochs, fewest)
        )
        head = MASK_HEADS[name].fit(few, few_val, replace(settings, config=longer))
        return head, score(head)

    labels = {part.split: np.zeros(len(part), np.int64) for part in (train, val)}
    return _curve(name, train, val, labels, 1, ("image", "images"), fitted, patients=patients, settings=settings)


def _curve(
    name: str,
    train: Part,
    val: Part,
    labels: Mapping[SelectionSplit, Ints],
    num_classes: int,
    units: tuple[str, str],
    fitted: Callable[[Part, Part], tuple[FittedClasses | FittedMasks, float]],
    *,
    patients: Mapping[SelectionSplit, Ints],
    settings: HeadSettings,
) -> list[FewShotRow]:
    """Every draw of every point, and the mean of each point's draws.

    Args:
        name: of the head.
        train: all training images.
        val: all validation images.
        labels: of both.
        num_classes: how many these are of.
        units: of a point's number in its name, for one and for more.
        fitted: (few, few_val) to the head and its value on the test split.
        patients: of train and val.
        settings: those of the whole evaluation.
    """
    rows = []
    for shots, counts in _points(labels["train"], num_classes, units, settings):
        values: list[float] = []
        drawn: list[FewShotRow] = []
        for draw in range(settings.config.few_shot_draws):
            parts = {}
            for split in labels:
                # counts are those of train, for val as well: it gives fewer if it has fewer
                rng = np.random.default_rng([settings.config.seed, draw, split == "val"])
                parts[split] = draw_images(labels[split], patients[split], counts, rng)
            head, value = fitted(train.subset(parts["train"]), val.subset(parts["val"]))
            details = {
                "shots": shots,
                "draw": str(draw),
                "train_images": str(len(parts["train"])),
                "train_patients": str(len(np.unique(patients["train"][parts["train"]]))),
                "val_images": str(len(parts["val"])),
            }
            values.append(value)
            drawn.append(FewShotRow(name, Interval(value, float("nan"), float("nan")), {**head.details, **details}))
        mean = {"shots": shots, "draw": "mean", "draws": str(len(values)), "interval": "t, over draws"}
        rows += [*drawn, FewShotRow(name, interval_of_draws(values), mean)]
    return rows


def draw_images(labels: Ints, patients: Ints, counts: Sequence[int], rng: np.random.Generator) -> Ints:
    """Image numbers, ascending: `counts[c]` of class c or all that there are, from as few patients as a random order gives.

    Args:
        labels: [N] class indices.
        patients: [N] numbers.
        counts: one a class.
        rng: of the order of patients, and of the images of each.
    """
    rank = rng.permutation(int(patients.max()) + 1)[patients]
    tie = rng.permutation(len(labels))
    order = np.lexsort((tie, rank))
    chosen = [order[labels[order] == label][:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def interval_of_draws(values: Sequence[float]) -> Interval:
    """The mean, and its 95% interval by Student's t over draws; no wider than the metrics, which end at 1."""
    from scipy.stats import t

    found = np.asarray(values, np.float64)
    half = float(t.ppf(0.975, len(found) - 1)) * float(found.std(ddof=1)) / np.sqrt(len(found))
    mean = float(found.mean())
    return Interval(mean, mean - half, min(1.0, mean + half))


def _points(labels: Ints, num_classes: int, units: tuple[str, str], settings: HeadSettings) -> Iterator[tuple[str, list[int]]]:
    """What each point is called, and how many images of each class it draws; a point that takes all images is none."""
    config = settings.config
    sizes = np.bincount(labels, minlength=num_classes)
    for number in config.few_shot_counts:
        if number < sizes.max():
            yield f"{number} {units[number > 1]}", [number] * len(sizes)
    for share in config.few_shot_shares:
        yield f"{share:.0%}", [max(1, round(share * size)) for size in sizes]


def _value(labels: Ints, probabilities: npt.NDArray[np.float32], settings: HeadSettings) -> float:
    one_group = np.zeros(len(labels), np.int64)
    predictions = probabilities.argmax(1).astype(np.int64)
    confusion = confusion_matrices(labels, predictions, one_group, num_classes=settings.num_classes)[0]
    return float(CLASSIFICATION_METRICS[settings.metric](confusion))
