"""Test scores of heads that tell classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.backbone import Backbone, ModelRef
from evaluation.clinical_rows import clinical_scores
from evaluation.config import EvaluateConfig
from evaluation.features import cached_features, extract_features
from evaluation.few_shot import few_shot_rows
from evaluation.heads import CLASS_HEADS, TUNED_CLASS_HEADS, FittedClasses, HeadSettings, Labelled, Pictures, chosen_heads
from evaluation.labels import class_indices, group_indices
from evaluation.metrics import Interval, classification_scores
from evaluation.stored_evaluation import Places, Rows, class_table, store
from evaluation.tasks import TaskData
from evaluation.training_vectors import FEATURES, keep_training_vectors
from evaluation.tuned_backbone import adapted_backbone, cached_pixels, is_tuned_on, trunk_of
from warehouse.store import content_id

__all__ = ["class_rows", "class_scores"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def class_rows(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places) -> Rows:
    """Fit every head on train and val, store it with its predictions, and score those.

    Raises:
        HeadError: a head does not exist, or does not serve the task's labels.
        BackboneError: a head changes the backbone, and it cannot be trained.
    """
    names = chosen_heads(config.heads, task.protocol.heads, task.kind)
    frozen, tuned = [name for name in names if name in CLASS_HEADS], [name for name in names if name in TUNED_CLASS_HEADS]
    features = cached_features(
        backbone,
        model,
        task.items,
        data_id=places.images_id,
        seed=config.seed,
        cache_dir=places.cache,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
    train, val = _labelled(task, features, "train"), _labelled(task, features, "val")
    test = {name: values[_rows(task, "test")] for name, values in features.items()}
    settings = HeadSettings(config=config, num_classes=len(task.classes), metric=task.protocol.primary, device=backbone.device)
    fitted: dict[str, FittedClasses] = {name: CLASS_HEADS[name].fit(train, val, settings) for name in frozen}
    predicted = {name: head.probabilities(test) for name, head in fitted.items()}
    for name in tuned if is_tuned_on(model) else ():
        fitted[name], predicted[name] = _tuned(name, backbone, task, train, val, settings, places)
    # from here on nothing is chosen any more, and the test labels are read
    items = task.split("test")
    labels, groups = class_indices(items, task.classes), group_indices(items)
    scored: Rows = []
    for name in fitted:
        table = class_table(items, places.data, classes=task.classes, probabilities=predicted[name])
        told: dict[str, Any] = {"model": model, "task": task, "data_id": data_id, "config": config}
        files = store(places, name, fitted[name], table, image_size=backbone.image_size, **told)
        intervals = class_scores(
            labels, predicted[name], groups, names=task.protocol.metrics, num_bootstrap=config.num_bootstrap, seed=config.seed
        )
        if config.clinical:
            intervals |= clinical_scores(labels, predicted[name], groups, classes=task.classes, cut=task.cut)
        scored += [(name, metric, interval, {**fitted[name].details, **files}) for metric, interval in intervals.items()]
    if config.few_shot and model.draw == 0:
        patients = {part.split: group_indices(task.split(part.split)) for part in (train, val)}
        curve = few_shot_rows(frozen, train, val, test, labels, patients=patients, settings=settings)
        scored += [(row.head, task.protocol.primary, row.interval, row.details) for row in curve]
    return scored


def _tuned(
    name: str, backbone: Backbone, task: TaskData, train: Labelled, val: Labelled, settings: HeadSettings, places: Places
) -> tuple[FittedClasses, Floats]:
    """A head that changes the backbone, and its probabilities of the test images."""
    config = settings.config
    shown = [
        Pictures(
            part,
            cached_pixels(
                backbone,
                task.split(part.split),
                data_id=f"{places.images_id} {_division(task, part.split)}",
                cache_dir=places.cache,
                num_workers=config.num_workers,
            ),
        )
        for part in (train, val)
    ]
    head = TUNED_CLASS_HEADS[name].fit(shown[0], shown[1], replace(settings, trunk=trunk_of(backbone)))
    adapted = adapted_backbone(backbone, head)
    told: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.num_workers}
    seen = [extract_features(adapted, task.split(split), **told) for split in ("train", "val", "test")]
    keep_training_vectors(places.root / places.folder / f"{name}.training.safetensors", seen[0][FEATURES], seen[1][FEATURES])
    return head, head.probabilities(seen[2])


def _division(task: TaskData, split: str) -> str:
    """Which images are of a split: folds of one set share the id of its images."""
    return content_id([item.split == split for item in task.items])


def class_scores(
    labels: Ints, probabilities: Floats, groups: Ints, *, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> dict[str, Interval]:
    """The named metrics of [N, C] probabilities; the most probable class is the prediction, the first of equals."""
    predictions = probabilities.argmax(1).astype(np.int64)
    num_classes = probabilities.shape[1]
    return classification_scores(labels, predictions, groups, num_classes=num_classes, names=names, num_bootstrap=num_bootstrap, seed=seed)


def _rows(task: TaskData, split: str) -> Ints:
    return np.flatnonzero([item.split == split for item in task.items])


def _labelled(task: TaskData, features: dict[str, Floats], split: Any) -> Labelled:
    rows = _rows(task, split)
    return Labelled(split, {name: values[rows] for name, values in features.items()}, class_indices(task.split(split), task.classes))
