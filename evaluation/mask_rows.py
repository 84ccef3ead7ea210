"""Test scores of heads that give masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.backbone import Backbone, ModelRef
from evaluation.clinical_rows import CLINICAL_MASK_METRICS, distance_interval
from evaluation.config import EvaluateConfig
from evaluation.features import cached_maps
from evaluation.few_shot import FEW_SHOT_MASK_HEADS, few_shot_mask_rows
from evaluation.heads import (
    MASK_HEADS,
    TUNED_MASK_HEADS,
    FittedMasks,
    HeadSettings,
    Maps,
    MapsWanted,
    MaskLabelled,
    SelectionSplit,
    changes_backbone,
    chosen_heads,
    maps_wanted,
)
from evaluation.images import mask_pixels
from evaluation.labels import group_indices
from evaluation.maps import map_batches, resized_backbone
from evaluation.mask_scoring import View, image_scores, predicted_masks, target_masks
from evaluation.metrics import mean_scores
from evaluation.sequence_scores import sequence_scores
from evaluation.stored_evaluation import Places, Rows, mask_image, mask_table, store
from evaluation.tasks import Item, TaskData
from evaluation.training_vectors import keep_training_vectors, map_vectors
from evaluation.tuned_backbone import adapted_backbone, is_tuned_on, shown_pictures, trunk_of

__all__ = ["mask_rows", "scored_masks", "scoring_views"]


def mask_rows(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places) -> Rows:
    """Fit every head on train and val, store it with its predictions, and score those at the masks' native size.

    Raises:
        HeadError: a head does not exist, or does not serve masks.
        BackboneError: the network gives no patch tokens, or a head changes the backbone and it cannot be trained.
    """
    scored: Rows = []
    settings = HeadSettings(config=config, num_classes=len(task.classes), metric=task.protocol.primary, device=backbone.device)
    for name in chosen_heads(config.heads, task.protocol.heads, task.kind):
        if changes_backbone(name) and not is_tuned_on(model):
            continue
        wanted = maps_wanted(name) or MapsWanted(layout="tokens")
        sized = resized_backbone(backbone, model, wanted.input_scale(config), seed=config.seed)
        train, val = (_labelled(sized, model, task, split, wanted, data_id, config, places) for split in ("train", "val"))
        fitted: FittedMasks
        if changes_backbone(name):
            fitted, sized = _tuned(name, sized, task, train, val, wanted, settings, places)
            views = scoring_views(sized, model, task.split("test"), wanted, config)
        else:
            fitted = MASK_HEADS[name].fit(train, val, settings)
            views = _views(sized, model, task, wanted, data_id, config, places)
        # from here on nothing is chosen any more, and the test split is read
        items = task.split("test")
        finest = max(train.maps, key=lambda level: level.shape[2])
        predicted = _predicted(fitted, views, items, sized)
        scales = wanted.test_scales(config)
        seen = {
            "input_size": str(sized.image_size),
            "test_scales": " ".join(f"{scale:g}" for scale in scales),
            "test_views": str(len(views)),
        }
        sizes = seen if scales != (1.0,) else {}
        shape = {"tokens": f"{finest.shape[3]}x{finest.shape[2]}", **sizes}
        scored += scored_masks(name, fitted, predicted, model, task, data_id, config, places, image_size=backbone.image_size, told=shape)
        if config.few_shot and model.draw == 0 and name in FEW_SHOT_MASK_HEADS:
            scored += _curve(name, sized, model, task, train, val, wanted, settings, data_id, places)
    return scored


def _curve(
    name: str,
    backbone: Backbone,
    model: ModelRef,
    task: TaskData,
    train: MaskLabelled,
    val: MaskLabelled,
    wanted: MapsWanted,
    settings: HeadSettings,
    data_id: str,
    places: Places,
) -> Rows:
    """The few-shot curve of a head, by the task's primary metric."""
    items, primary = task.split("test"), task.protocol.primary

    def score(fitted: FittedMasks) -> float:
        views = _views(backbone, model, task, wanted, data_id, settings.config, places)
        return float(image_scores(_predicted(fitted, views, items, backbone), items)[0][primary].mean())

    patients = {part.split: group_indices(task.split(part.split)) for part in (train, val)}
    curve = few_shot_mask_rows(name, train, val, score, patients=patients, settings=settings)
    return [(row.head, primary, row.interval, row.details) for row in curve]


def _tuned(
    name: str,
    backbone: Backbone,
    task: TaskData,
    train: MaskLabelled,
    val: MaskLabelled,
    wanted: MapsWanted,
    settings: HeadSettings,
    places: Places,
) -> tuple[FittedMasks, Backbone]:
    """A head that changes the backbone, and the backbone as it changed it."""
    config = settings.config
    reading: dict[str, Any] = {"images_id": places.images_id, "cache_dir": places.cache, "num_workers": config.num_workers}
    shown = shown_pictures(backbone, task, (train, val), **reading)
    head = TUNED_MASK_HEADS[name].fit(shown[0], shown[1], replace(settings, trunk=trunk_of(backbone, wanted)))
    adapted = adapted_backbone(backbone, head)
    told: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.num_workers}
    vectors = [
        np.concatenate([map_vectors(maps) for maps in map_batches(adapted, task.split(split), wanted, **told)])
        for split in ("train", "val")
    ]
    keep_training_vectors(places.root / places.folder / f"{name}.training.safetensors", vectors[0], vectors[1])
    return head, adapted


def scored_masks(
    name: str,
    fitted: FittedMasks,
    predicted: Iterable[npt.NDArray[np.bool_]],
    model: ModelRef,
    task: TaskData,
    data_id: str,
    config: EvaluateConfig,
    places: Places,
    *,
    image_size: int,
    told: Mapping[str, str],
) -> Rows:
    """Store a fitted head with its predictions of the test items, and score these at the masks' native size.

    Args:
        name: of the head.
        fitted: the head.
        predicted: a mask for each test item, in order.
        model: the backbone.
        task: masks and splits.
        data_id: of the task.
        config: of the evaluation.
        places: where heads and predictions are kept.
        image_size: side in pixels that the model saw.
        told: details that stand with each score.
    """
    items = task.split("test")
    values, masks = image_scores(predicted, items, clinical=True)
    table = mask_table(items, places.data, values=values, predicted=[mask_image(mask) for mask in masks])
    what: dict[str, Any] = {"model": model, "task": task, "data_id": data_id, "config": config}
    files = store(places, name, fitted, table, image_size=image_size, **what)
    details = {**fitted.details, **told, "scored_at": "the mask's native size", **files}
    groups, wanted = group_indices(items), task.protocol.metrics
    drawn: dict[str, int] = {"num_bootstrap": config.num_bootstrap, "seed": config.seed}
    found = {
        metric: distance_interval(each, groups) if metric == "hd95" else mean_scores(each, groups, **drawn)
        for metric, each in values.items()
        if metric in wanted or (config.clinical and metric in CLINICAL_MASK_METRICS)
    }
    truth = [mask_pixels(item) for item in items] if "endofm_volume_dice" in wanted else []
    found |= sequence_scores(values, masks, truth, groups, names=wanted, **drawn)
    return [(name, metric, interval, details) for metric, interval in found.items()]


def scoring_views(backbone: Backbone, model: ModelRef, items: Sequence[Item], wanted: MapsWanted, config: EvaluateConfig) -> list[View]:
    """Maps of items as a head reads them for a score: at one scale, or at several and mirrored too. Nothing is cached.

    Args:
        backbone: at the size that the head was trained at.
        model: that it was loaded from.
        items: to segment.
        wanted: of the head.
        config: of the evaluation.
    """
    scales = wanted.test_scales(config)
    loading: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.num_workers}
    views: list[View] = []
    for scale in scales:
        sized = resized_backbone(backbone, model, scale, seed=config.seed)
        for is_mirrored in (False, True) if len(scales) > 1 else (False,):
            views.append((map_batches(sized, items, wanted, is_mirrored=is_mirrored, **loading), is_mirrored))
    return views


def _views(
    backbone: Backbone, model: ModelRef, task: TaskData, wanted: MapsWanted, data_id: str, config: EvaluateConfig, places: Places
) -> list[View]:
    """As `scoring_views`; the maps at the training images' own scale are cached."""
    if wanted.test_scales(config) != (1.0,):
        return scoring_views(backbone, model, task.split("test"), wanted, config)
    return [([_maps(backbone, model, task, "test", wanted, data_id, config, places)], False)]


def _predicted(fitted: FittedMasks, views: Sequence[View], items: Sequence[Item], backbone: Backbone) -> Iterator[npt.NDArray[np.bool_]]:
    sizes = (mask_pixels(item).shape for item in items)
    return predicted_masks(fitted, views, ((height, width) for height, width in sizes), device=backbone.device)


def _labelled(
    backbone: Backbone,
    model: ModelRef,
    task: TaskData,
    split: SelectionSplit,
    wanted: MapsWanted,
    data_id: str,
    config: EvaluateConfig,
    places: Places,
) -> MaskLabelled:
    maps = _maps(backbone, model, task, split, wanted, data_id, config, places)
    grid = max(level.shape[3] for level in maps)
    size = backbone.image_size if wanted.is_dense else max(4 * grid, backbone.image_size // 4)
    return MaskLabelled(split, maps, target_masks(task.split(split), size=size))


def _maps(
    backbone: Backbone,
    model: ModelRef,
    task: TaskData,
    split: str,
    wanted: MapsWanted,
    data_id: str,
    config: EvaluateConfig,
    places: Places,
) -> Maps:
    return cached_maps(
        backbone,
        model,
        task.split(split),
        wanted,
        data_id=f"{data_id} {split}",
        seed=config.seed,
        cache_dir=places.cache,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
