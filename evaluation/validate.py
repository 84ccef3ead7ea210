"""Quick downstream scores of an exported backbone while it is still being trained; the test split is never read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, ModelRef, VectorNetwork, features_of, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.heads import choose_k, knn_predict
from evaluation.images import item_image, stream
from evaluation.labels import class_indices
from evaluation.tasks import Item, TaskError, most_unreadable
from evaluation.validation_tasks import ValidationTask, read_labelled
from evaluation.views import Views, view_scores

__all__ = ["CHOSEN_BY_VIEWS", "KnnScore", "checkpoint_scores", "knn_score", "knn_scores"]

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
        The metric that chooses, its value, and all others by name: those of the views, and those of each task. The number of images of a
        task that could not be read is among them if there are any.

    Raises:
        TaskError: data is not usable, too many of its images cannot be read, or it is a segmentation set.
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
        found = knn_scores(exported_folder, one, config=config, network=network)
        named[found.task] = found.metric, found.value
        scores[found.metric] = found.value
        if found.chance is not None:
            scores[f"{found.metric}_chance"] = found.chance
        if found.num_unreadable:
            scores[f"{found.task}/val/unreadable"] = float(found.num_unreadable)
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
    found = knn_scores(exported_folder, ValidationTask(task=task, data=Path(data)), k=k, config=config or EvaluateConfig())
    return found.metric, found.value


@dataclass(frozen=True, slots=True, kw_only=True)
class KnnScore:
    """The score of one labelled set."""

    task: str
    metric: str
    """such as landmarks/val/knn_balanced_accuracy"""
    value: float
    chance: float | None
    """the value by chance; None if the metric has none"""
    num_unreadable: int
    """images that were left out"""


def knn_scores(
    exported_folder: str, one: ValidationTask, *, k: int = 10, config: EvaluateConfig, network: NetworkOf | None = None
) -> KnnScore:
    """As `knn_score`, of a set with its order, division and limit of unreadable images."""
    found = read_labelled(one)
    items = tuple(item for item in found.items if item.split != "test")
    backbone = load_backbone(_model(exported_folder, network), device=config.device, image_size=config.side)
    features, is_read = _features(backbone, items, one, config)
    items = tuple(item for item, there in zip(items, is_read, strict=True) if there)
    labels = class_indices(items, found.classes)
    train = np.array([item.split == "train" for item in items])
    metric = found.protocol.primary
    told: dict[str, Any] = {"k": (k,), "num_classes": len(found.classes)}
    predictions = knn_predict(features[train], torch.from_numpy(labels[train]), features[~train], **told)
    _, value = choose_k(predictions, labels[~train], **told, metric=metric)
    chance = {"balanced_accuracy": 1 / len(found.classes), "quadratic_weighted_kappa": 0.0}.get(metric)
    num_unreadable = int((~is_read).sum())
    return KnnScore(task=found.name, metric=f"{found.name}/val/knn_{metric}", value=value, chance=chance, num_unreadable=num_unreadable)


def _features(
    backbone: Backbone, items: Sequence[Item], one: ValidationTask, config: EvaluateConfig
) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
    """Features of the images that can be read, and which those are; one bad file must not end a training of days."""
    faults: dict[int, str] = {}

    def load(number: int) -> npt.NDArray[np.uint8]:
        try:
            return item_image(items[number], size=backbone.image_size, interpolation=backbone.interpolation)
        except TaskError as error:
            faults[number] = str(error)
            return np.zeros((backbone.image_size, backbone.image_size, 3), np.uint8)

    batch_size = config.batch_size or backbone.batch_size
    batches = stream(load, range(len(items)), batch_size=batch_size, num_workers=config.num_workers)
    features = torch.cat([torch.from_numpy(features_of(backbone, pixels)["last"]) for pixels in batches])
    if len(faults) > most_unreadable(len(items), one.max_unreadable):
        raise TaskError(
            f"{len(faults):,} of {len(items):,} validation images in {str(one.data)!r} cannot be read, more than "
            f"--validation-max-unreadable {one.max_unreadable:g} allows; replace or remove them ({faults[min(faults)]})"
        )
    is_read = np.array([number not in faults for number in range(len(items))])
    return features[torch.from_numpy(is_read)], is_read


def _model(exported_folder: str, network: NetworkOf | None) -> ModelRef:
    return ModelRef(model_id="", label="", path=exported_folder, network=None if network is None else partial(network, exported_folder))
