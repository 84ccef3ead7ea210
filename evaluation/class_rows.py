"""Test scores of heads that tell classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, ModelRef
from evaluation.clinical_rows import clinical_scores
from evaluation.config import EvaluateConfig
from evaluation.features import cached_features, extract_features
from evaluation.few_shot import few_shot_rows
from evaluation.heads import CLASS_HEADS, TUNED_CLASS_HEADS, FittedClasses, HeadSettings, Labelled, chosen_heads
from evaluation.labels import class_indices, group_indices
from evaluation.metrics import CLASSIFICATION_METRICS, Interval, classification_scores
from evaluation.stored_evaluation import Places, Rows, class_table, store
from evaluation.tasks import TaskData
from evaluation.training_vectors import FEATURES, OF_FROZEN, keep_training_vectors
from evaluation.tuned_backbone import adapted_backbone, is_tuned_on, shown_pictures, trunk_of

__all__ = ["class_rows", "class_scores", "feature_rows", "mean_of_logits", "task_scores"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Tune = Callable[[str, Labelled, Labelled, HeadSettings], tuple[FittedClasses, Floats]]


def class_rows(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places) -> Rows:
    """Fit every head on train and val, store it with its predictions, and score those.

    Raises:
        HeadError: a head does not exist, or does not serve the task's labels.
        BackboneError: a head changes the backbone, and it cannot be trained.
    """
    chosen_heads(config.heads, task.protocol.heads, task.kind)
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
    tune = partial(_tuned, backbone, task, places) if is_tuned_on(model) else None
    shape: dict[str, Any] = {"device": backbone.device, "image_size": backbone.image_size}
    return feature_rows(features, model, task, data_id, config, places, tune=tune, **shape)


def feature_rows(
    features: dict[str, Floats],
    model: ModelRef,
    task: TaskData,
    data_id: str,
    config: EvaluateConfig,
    places: Places,
    *,
    device: torch.device,
    image_size: int,
    num_windows: int = 1,
    told: Mapping[str, str] = MappingProxyType({}),
    clips: Mapping[str, Any] | None = None,
    tune: Tune | None = None,
) -> Rows:
    """As `class_rows`, from the features of all items.

    Args:
        features: sets by name, [N * W, D] each; the windows of an item stand together.
        model: that gave them.
        task: labels and splits.
        data_id: of the task.
        config: of the evaluation.
        places: where heads and predictions are kept.
        device: that heads are fitted on.
        image_size: side in pixels that the model saw.
        num_windows: W. Each window of a training item is a sample of its own; a test item's logits are the mean of its windows'.
        told: details that stand with each score.
        clips: how clips are read, kept with the heads.
        tune: fits a head that changes the backbone and gives its probabilities of the test items; such heads are left out unless given.

    Raises:
        HeadError: a head does not exist, or does not serve the task's labels.
    """
    names = chosen_heads(config.heads, task.protocol.heads, task.kind)
    train, val = _labelled(task, features, "train", num_windows), _labelled(task, features, "val", num_windows)
    test = {name: values[_rows(task, "test", num_windows)] for name, values in features.items()}
    settings = HeadSettings(config=config, num_classes=len(task.classes), metric=task.protocol.primary, device=device)
    frozen, tuned = [name for name in names if name in CLASS_HEADS], [name for name in names if name in TUNED_CLASS_HEADS]
    fitted: dict[str, FittedClasses] = {name: CLASS_HEADS[name].fit(train, val, settings) for name in frozen}
    predicted = {name: mean_of_logits(head.probabilities(test), num_windows) for name, head in fitted.items()}
    if tune is not None:
        for name in tuned:
            fitted[name], predicted[name] = tune(name, train, val, settings)
    if clips is not None:  # of images the features in the cache tell
        keep_training_vectors(places.root / places.folder / OF_FROZEN, train.features[FEATURES], val.features[FEATURES])
    # from here on nothing is chosen any more, and the test labels are read
    items = task.split("test")
    labels, groups = class_indices(items, task.classes), group_indices(items)
    scored: Rows = []
    for name in fitted:
        table = class_table(items, places.data, classes=task.classes, probabilities=predicted[name])
        what: dict[str, Any] = {"model": model, "task": task, "data_id": data_id, "config": config, "clips": clips}
        files = store(places, name, fitted[name], table, image_size=image_size, **what)
        intervals = task_scores(labels, predicted[name], groups, task, config)
        scored += [(name, metric, interval, {**fitted[name].details, **told, **files}) for metric, interval in intervals.items()]
    if config.few_shot and model.draw == 0:
        patients = {part.split: group_indices(task.split(part.split)) for part in (train, val)}
        curve = few_shot_rows(frozen, train, val, test, labels, patients=patients, settings=settings)
        scored += [(row.head, task.protocol.primary, row.interval, row.details) for row in curve]
    return scored


def _tuned(
    backbone: Backbone, task: TaskData, places: Places, name: str, train: Labelled, val: Labelled, settings: HeadSettings
) -> tuple[FittedClasses, Floats]:
    """A head that changes the backbone, and its probabilities of the test images."""
    config = settings.config
    reading: dict[str, Any] = {"images_id": places.images_id, "cache_dir": places.cache, "num_workers": config.num_workers}
    shown = shown_pictures(backbone, task, (train, val), **reading)
    head = TUNED_CLASS_HEADS[name].fit(shown[0], shown[1], replace(settings, trunk=trunk_of(backbone)))
    adapted = adapted_backbone(backbone, head)
    told: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.num_workers}
    seen = [extract_features(adapted, task.split(split), **told) for split in ("train", "val", "test")]
    keep_training_vectors(places.root / places.folder / f"{name}.training.safetensors", seen[0][FEATURES], seen[1][FEATURES])
    return head, head.probabilities(seen[2])


def task_scores(labels: Ints, probabilities: Floats, groups: Ints, task: TaskData, config: EvaluateConfig) -> dict[str, Interval]:
    """The metrics of a task's protocol, and the clinical ones if they are asked for."""
    wanted = task.protocol.metrics
    names = tuple(name for name in wanted if name in CLASSIFICATION_METRICS)
    found = class_scores(labels, probabilities, groups, names=names, num_bootstrap=config.num_bootstrap, seed=config.seed)
    if config.clinical or len(names) < len(wanted):
        more = clinical_scores(labels, probabilities, groups, classes=task.classes, cut=task.cut)
        found |= more if config.clinical else {name: more[name] for name in wanted if name in more}
    return found


def mean_of_logits(probabilities: Floats, num_windows: int) -> Floats:
    """Probabilities [N, C] of items from those [N * W, C] of their windows: the softmax of the mean of the windows' logits.

    Logits are known up to a constant a window, which the softmax takes out again. A probability of 0 counts as 1e-6.
    """
    if num_windows == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-6))
    mean = logits.reshape(-1, num_windows, probabilities.shape[1]).mean(1)
    shares = np.exp(mean - mean.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


def class_scores(
    labels: Ints, probabilities: Floats, groups: Ints, *, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> dict[str, Interval]:
    """The named metrics of [N, C] probabilities; the most probable class is the prediction, the first of equals."""
    predictions = probabilities.argmax(1).astype(np.int64)
    num_classes = probabilities.shape[1]
    return classification_scores(labels, predictions, groups, num_classes=num_classes, names=names, num_bootstrap=num_bootstrap, seed=seed)


def _rows(task: TaskData, split: str, num_windows: int) -> Ints:
    return np.flatnonzero(np.repeat([item.split == split for item in task.items], num_windows))


def _labelled(task: TaskData, features: dict[str, Floats], split: Any, num_windows: int) -> Labelled:
    rows = _rows(task, split, num_windows)
    labels = class_indices(task.split(split), task.classes).repeat(num_windows)
    return Labelled(split, {name: values[rows] for name, values in features.items()}, labels)
