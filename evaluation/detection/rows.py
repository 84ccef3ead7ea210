"""Test scores of heads that give boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from evaluation.backbone import Backbone, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.detection.fcos import Detections
from evaluation.detection.found import open_detector
from evaluation.detection.intervals import detection_scores
from evaluation.detection.maps import MapsAt, frozen_maps, maps_wanted, test_maps, trained_maps
from evaluation.detection.tables import box_item, box_table, frames_of, image_sizes
from evaluation.detection.training import FittedDetector, Part, fit_detector, targets_of
from evaluation.features import cached_maps
from evaluation.heads import HeadError, SelectionSplit, chosen_heads, read_settings
from evaluation.labels import group_indices, numbered
from evaluation.stored_evaluation import Places, Rows, store
from evaluation.tasks import Item, TaskData
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_features import clip_device, num_frames_of
from evaluation.video.context_rows import context_batches, context_maps, keep_context_vectors

__all__ = ["detection_rows", "detection_value", "detection_value_again"]


_SELECTION: tuple[SelectionSplit, ...] = ("train", "val")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """One backbone on one task."""

    backbone: Backbone | ClipBackbone
    model: ModelRef
    task: TaskData
    data_id: str
    config: EvaluateConfig
    places: Places


def detection_rows(
    backbone: Backbone | ClipBackbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places
) -> Rows:
    """Fit a detector on train and val, store it with its predictions, and score those in pixels of the frames.

    A video network sees each frame in the middle of as many neighbours of its video as `clip_frames` says, in training and test alike.

    Raises:
        HeadError: a head does not exist or does not serve boxes, or a video network is to be trained.
        BackboneError: the network gives no maps.
    """
    scored: Rows = []
    is_trained = config.detection_backbone == "trained"
    if is_trained and not isinstance(backbone, Backbone):
        raise HeadError(f"detection_backbone is trained, and {model.label} is a video network; leave it frozen, or give an image backbone")
    num_frames = _num_frames(backbone, config)
    what = _Scored(backbone=backbone, model=model, task=task, data_id=data_id, config=config, places=places)
    if not isinstance(backbone, Backbone):  # of images the maps in the cache tell
        train_maps, val_maps = (_context(what, backbone, split) for split in _SELECTION)
        keep_context_vectors(train_maps, val_maps, places)
    for name in chosen_heads(config.heads, task.protocol.heads, task.kind):
        train, val = (_part(what, split) for split in _SELECTION)
        fitted = fit_detector(
            train,
            val,
            trunk=backbone.module if is_trained and isinstance(backbone, Backbone) else None,
            num_classes=len(task.classes),
            image_size=backbone.image_size,
            width=config.detection_width,
            learning_rates=config.detection_learning_rates,
            epochs=config.detection_epochs,
            seed=config.seed,
            device=_device(backbone, config),
            num_frames=num_frames,
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
            **(
                {"backbone": "fine-tuned", "protocol": "fine-tuned with the detector; chosen on val, reported on test"}
                if is_trained
                else {}
            ),
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


def detection_value_again(
    head: Path, table: pa.Table, metric: str, *, data: Path, backbone: Backbone | ClipBackbone, config: EvaluateConfig
) -> float:
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
    fitted = open_detector(head, backbone, _device(backbone, config))
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


def _part(scored: _Scored, split: SelectionSplit) -> Part:
    items = scored.task.split(split)
    targets = targets_of(items, image_sizes(items), classes=scored.task.classes, image_size=scored.backbone.image_size)
    return Part(_maps(scored, split), targets)


def _maps(scored: _Scored, split: SelectionSplit) -> MapsAt:
    backbone, model, data_id, config, places = scored.backbone, scored.model, scored.data_id, scored.config, scored.places
    device = _device(backbone, config)
    if not isinstance(backbone, Backbone):
        return frozen_maps((_context(scored, backbone, split),), device)
    items = scored.task.split(split)
    if config.detection_backbone == "trained":
        return trained_maps(backbone, items, num_workers=config.num_workers)
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
    return frozen_maps(maps, device)


def _context(scored: _Scored, backbone: ClipBackbone, split: SelectionSplit) -> npt.NDArray[np.float16]:
    """Patches of the frames in the middle of their neighbours."""
    config = scored.config
    told = (split, _num_frames(backbone, config), scored.data_id, config, scored.places, _device(backbone, config))
    return context_maps(backbone, scored.model, scored.task, *told)


def _found(fitted: FittedDetector, backbone: Backbone | ClipBackbone, items: Sequence[Item], config: EvaluateConfig) -> list[Detections]:
    batches: Iterable[list[torch.Tensor]]
    if isinstance(backbone, Backbone):
        batches = test_maps(
            backbone, items, is_trained=fitted.trunk is not None, batch_size=config.batch_size, num_workers=config.num_workers
        )
    else:
        device = _device(backbone, config)
        seen = context_batches(backbone, items, fitted.num_frames, config, device)
        batches = ([torch.from_numpy(patches).to(device).float()] for patches in seen)
    return [one for maps in batches for one in fitted.detections(maps)]


def _num_frames(backbone: Backbone | ClipBackbone, config: EvaluateConfig) -> int:
    """Frames that the network sees at once."""
    return 1 if isinstance(backbone, Backbone) else num_frames_of(backbone, config)


def _device(backbone: Backbone | ClipBackbone, config: EvaluateConfig) -> torch.device:
    return backbone.device if isinstance(backbone, Backbone) else clip_device(config.device)
