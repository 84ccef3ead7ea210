"""Quick downstream scores of an exported backbone while it is still being trained; the test split is never read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from evaluation.backbone import ModelRef, VectorNetwork, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.features import extract_features
from evaluation.heads import choose_k, knn_predict
from evaluation.labels import class_indices
from evaluation.validation_tasks import ValidationTask, read_labelled
from evaluation.views import Views, view_scores

__all__ = ["CHOSEN_BY_VIEWS", "checkpoint_scores", "knn_score", "knn_scores"]

NetworkOf = Callable[[str, str], VectorNetwork]
"""From an exported folder and a device to its network, if timm cannot build it."""

CHOSEN_BY_VIEWS = "views/matching"
"""Metric that chooses checkpoints without labels."""


def checkpoint_scores(
    exported_folder: str,
    *,
    views: Views | None = None,
    tasks: Sequence[ValidationTask] = (),
    chosen_by: str | None = None,
    config: EvaluateConfig | None = None,
    matched: Mapping[str, float] | None = None,
    network: NetworkOf | None = None,
) -> tuple[str, float, dict[str, float]]:
    """All scores of a checkpoint, and the one that chooses; a callback of pretraining.

    Without tasks, view matching chooses, and effective rank is recorded beside it. Rank does not choose: it is highest for features
    spread at random, which KoLeo alone gives and which match at chance, and a mean that all features share lowers it without harm. Nor
    need it guard: features that collapse match at chance.

    Args:
        exported_folder: config.json and model.safetensors.
        views: pairs of views of fixed images; None if `matched` has their scores.
        tasks: labelled sets, each scored by k-NN.
        chosen_by: name of the one that chooses; their weighted mean if not given.
        config: image and batch size, workers and device.
        matched: scores of views, as `view_scores` names them, of a network whose views are not images.
        network: gives the network of the folder, where timm cannot build it.

    Returns:
        The metric that chooses, its value, and all others by name: those of the views, and those of each task.

    Raises:
        TaskError: data is not usable, or is a segmentation set.
        BackboneError: the folder is not a usable backbone.
    """
    config = config or EvaluateConfig()
    if matched is None:
        if views is None:
            raise ValueError("neither views nor their scores are given; give one of the two")
        # at the model's own size: the views are of it
        matched = view_scores(load_backbone(_model(exported_folder, network), device=config.device), views)
    scores = {f"views/{name}": value for name, value in matched.items()}
    named: dict[str, tuple[str, float]] = {}
    for one in tasks:
        name, metric, value, chance = knn_scores(exported_folder, data=str(one.data), task=one.task, config=config, network=network)
        named[name] = metric, value
        scores[metric] = value
        if chance is not None:
            scores[f"{metric}_chance"] = chance
    if not tasks:
        return CHOSEN_BY_VIEWS, scores.pop(CHOSEN_BY_VIEWS), scores
    if chosen_by is None and len(tasks) > 1:
        total = sum(one.weight for one in tasks)
        mean = sum(one.weight * value for one, (_, value) in zip(tasks, named.values(), strict=True)) / total
        return f"mean/val/{'+'.join(sorted(named))}", mean, scores
    metric, value = named[chosen_by or next(iter(named))]
    del scores[metric]
    return metric, value, scores


def knn_score(
    exported_folder: str,
    *,
    data: str,
    task: str,
    k: int = 10,
    config: EvaluateConfig | None = None,
) -> tuple[str, float]:
    """k-NN score of the validation split against the training split; a callback for choosing checkpoints.

    Args:
        exported_folder: config.json and model.safetensors.
        data: folder of the evaluation data.
        task: a known task name, or auto.
        k: neighbours; one number, because choosing it here too would flatter the checkpoint.
        config: image and batch size, workers and device.

    Returns:
        The metric's name, such as landmarks/val/knn_balanced_accuracy, and its value.

    Raises:
        TaskError: the data is not usable, or is a segmentation set, which has no k-NN score.
        BackboneError: the folder is not a usable backbone.
    """
    _, metric, value, _ = knn_scores(exported_folder, data=data, task=task, k=k, config=config or EvaluateConfig())
    return metric, value


def knn_scores(
    exported_folder: str, *, data: str, task: str, k: int = 10, config: EvaluateConfig, network: NetworkOf | None = None
) -> tuple[str, str, float, float | None]:
    """As `knn_score`: the task's name, the metric's name, its value, and the value by chance if the metric has one."""
    found = read_labelled(task, Path(data))
    seen = replace(found, items=tuple(item for item in found.items if item.split != "test"))
    backbone = load_backbone(_model(exported_folder, network), device=config.device, image_size=config.image_size)
    features = torch.from_numpy(
        extract_features(backbone, seen.items, batch_size=config.batch_size, num_workers=config.num_workers)["last"]
    )
    labels = class_indices(seen.items, seen.classes)
    train = np.array([item.split == "train" for item in seen.items])
    metric = found.protocol.primary
    predictions = knn_predict(features[train], torch.from_numpy(labels[train]), features[~train], k=(k,), num_classes=len(seen.classes))
    _, value = choose_k(predictions, labels[~train], k=(k,), num_classes=len(seen.classes), metric=metric)
    chance = {"balanced_accuracy": 1 / len(seen.classes), "quadratic_weighted_kappa": 0.0}.get(metric)
    return found.name, f"{found.name}/val/knn_{metric}", value, chance


def _model(exported_folder: str, network: NetworkOf | None) -> ModelRef:
    return ModelRef(model_id="", label="", path=exported_folder, network=None if network is None else partial(network, exported_folder))
