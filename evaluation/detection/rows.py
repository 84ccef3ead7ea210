"""Test scores of heads that give boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from evaluation.backbone import Backbone, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.detection.fcos import Detections
from evaluation.detection.intervals import detection_scores
from evaluation.detection.maps import frozen_maps, maps_wanted, test_maps, trained_maps
from evaluation.detection.tables import box_item, box_table, frames_of, image_sizes
from evaluation.detection.training import FittedDetector, Part, fit_detector, load_detector, targets_of
from evaluation.features import cached_maps
from evaluation.heads import HeadError, SelectionSplit, chosen_heads, read_settings, read_tensors
from evaluation.labels import group_indices, numbered
from evaluation.stored_evaluation import Places, Rows, store
from evaluation.tasks import Item, TaskData

__all__ = ["detection_rows", "detection_value", "detection_value_again"]


def detection_rows(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places) -> Rows:
    """Fit a detector on train and val, store it with its predictions, and score those in pixels of the frames.

    Raises:
        HeadError: a head does not exist or does not serve boxes, or frames are asked for that the backbone does not take together.
        BackboneError: the network gives no maps.
    """
    if config.detection_frames != 1:
        raise HeadError(
            f"detection_frames is {config.detection_frames}, and {model.label} sees one frame at a time; give 1, or a video backbone"
        )
    scored: Rows = []
    is_trained = config.detection_backbone == "trained"
    for name in chosen_heads(config.heads, task.protocol.heads, task.kind):
        train, val = (_part(backbone, model, task, split, data_id, config, places) for split in ("train", "val"))
        fitted = fit_detector(
            train,
            val,
            trunk=backbone.module if is_trained else None,
            num_classes=len(task.classes),
            image_size=backbone.image_size,
            width=config.detection_width,
            learning_rates=config.detection_learning_rates,
            epochs=config.detection_epochs,
            seed=config.seed,
            device=backbone.device,
            frames_per_s=task.frames_per_s,
        )
        # from here on nothing is chosen any more, and the test split is read
        items = task.split("test")
        found = _found(fitted, backbone, items, config)
        table = box_table(
            items,
            places,
            found=found,
            sizes=image_sizes(items),
            image_size=backbone.image_size,
            classes=task.classes,
            threshold=fitted.threshold,
        )
        stored = store(places, name, fitted, table, model=model, task=task, data_id=data_id, image_size=backbone.image_size, config=config)
        rate = f"{task.frames_per_s:.4g} a second, {task.frame_rate_source}" if task.frames_per_s else "stills"
        details = {
            **fitted.details,
            "scored_at": "the frame's native size",
            "frame_rate": rate,
            **({"protocol": "fine-tuned with the detector; chosen on val, reported on test"} if is_trained else {}),
            **stored,
        }
        scores = detection_scores(
            frames_of(table, task.classes),
            group_indices(items),
            classes=task.classes,
            threshold=fitted.threshold,
            frames_per_s=task.frames_per_s,
        )
        scored += [(name, metric, interval, details) for metric, interval in scores.items()]
    return scored


def detection_value(table: pa.Table, settings: dict[str, Any], metric: str) -> float:
    """A score from stored predictions alone.

    Args:
        table: of a head that gives boxes.
        settings: the JSON beside the head.
        metric: of `detection_scores`.

    Raises:
        HeadError: there is no such metric.
    """
    scores = detection_scores(
        frames_of(table, settings["classes"]),
        numbered(table["group"].to_pylist()),
        classes=settings["classes"],
        threshold=settings["state"]["threshold"],
        frames_per_s=settings["state"]["frames_per_s"],
    )
    if metric not in scores:
        raise HeadError(f"the stored predictions have no {metric}; evaluate again to make them")
    return scores[metric].value


def detection_value_again(head: Path, table: pa.Table, metric: str, *, data: Path, backbone: Backbone, config: EvaluateConfig) -> float:
    """A score from the stored detector, on maps of the test frames that are computed anew.

    Args:
        head: file of its tensors.
        table: stored predictions, which name the frames.
        metric: of `detection_scores`.
        data: folder of the evaluation set.
        backbone: as it was scored, before any training of the detector.
        config: of the evaluation.

    Raises:
        HeadError: the head is gone or damaged.
        TaskError: a frame does not open.
    """
    settings = read_settings(head)
    fitted = load_detector(read_tensors(head), settings["state"], backbone.device)
    if fitted.trunk is not None:
        backbone.module.load_state_dict(dict(fitted.trunk))
    items = [box_item(row, data) for row in table.to_pylist()]
    again = box_table(
        items,
        Places(data, data, "", data, ""),  # nothing is written
        found=_found(fitted, backbone, items, config),
        sizes=image_sizes(items),
        image_size=fitted.image_size,
        classes=settings["classes"],
        threshold=fitted.threshold,
    )
    return detection_value(again, settings, metric)


def _part(
    backbone: Backbone, model: ModelRef, task: TaskData, split: SelectionSplit, data_id: str, config: EvaluateConfig, places: Places
) -> Part:
    items = task.split(split)
    targets = targets_of(items, image_sizes(items), classes=task.classes, image_size=backbone.image_size)
    if config.detection_backbone == "trained":
        return Part(trained_maps(backbone, items, num_workers=config.num_workers), targets)
    maps = cached_maps(
        backbone,
        model,
        items,
        maps_wanted(backbone),
        data_id=f"{data_id} {split}",
        seed=config.seed,
        cache_dir=places.cache,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
    return Part(frozen_maps(maps, backbone.device), targets)


def _found(fitted: FittedDetector, backbone: Backbone, items: Sequence[Item], config: EvaluateConfig) -> list[Detections]:
    batches = test_maps(backbone, items, is_trained=fitted.trunk is not None, batch_size=config.batch_size, num_workers=config.num_workers)
    return [one for maps in batches for one in fitted.detections(maps)]
