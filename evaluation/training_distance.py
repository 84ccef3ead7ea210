"""How far an image lies from everything that a head was trained on, by the features that its evaluation kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbone import Backbone, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.features import found_features, found_maps
from evaluation.heads import MapsWanted, changes_backbone
from evaluation.replay import StoredScore
from evaluation.tasks import SplitStore, TaskData, TaskError, configured_task, readable_task
from evaluation.training_vectors import (
    FEATURES,
    OF_FROZEN,
    TrainingDistance,
    all_vectors,
    keep_training_vectors,
    kept_training_vectors,
)
from warehouse.forgotten import lake_key

__all__ = ["training_distance", "training_task", "video_distance"]


def training_distance(
    stored: StoredScore, backbone: Backbone, model: ModelRef, config: EvaluateConfig, *, wanted: MapsWanted | None, cache_dir: Path
) -> tuple[TrainingDistance | None, str]:
    """The training vectors of a stored head and their threshold; kept beside the head, so that the cache may go afterwards.

    Args:
        stored: the score.
        backbone: at the size that the head was trained at.
        model: that it was loaded from.
        config: of the evaluation.
        wanted: maps that the head reads; None for a head of classes.
        cache_dir: where the evaluation kept its features.

    Returns:
        The distance, or None and why there is none.
    """
    is_tuned = changes_backbone(stored.settings["head"])
    kept = stored.head.with_name(f"{stored.head.stem}.training.safetensors" if wanted or is_tuned else OF_FROZEN)
    if found := kept_training_vectors(kept):
        return found, ""
    if is_tuned:
        return None, f"the head changed its backbone, and the vectors that it kept of its training images, {str(kept)!r}, are gone"
    told: dict[str, Any] = {"seed": config.seed, "cache_dir": cache_dir}
    data_id = stored.settings["data_id"]
    if wanted is not None:
        sets = [found_maps(backbone, model, wanted, data_id=f"{data_id} {split}", **told) for split in ("train", "val")]
        if sets[0] is None or sets[1] is None:
            return None, f"the evaluation's maps of its training images are not below {str(cache_dir)!r} any more"
        train, val = (all_vectors(maps) for maps in sets if maps is not None)
    else:
        found_task = training_task(stored, config)
        if found_task is None:
            return None, f"the data under {str(stored.data)!r} are not those of the evaluation, which alone tell the splits"
        task, images_id = found_task
        features = found_features(backbone, model, data_id=images_id, **told)
        if features is None:
            return None, f"the evaluation's features of its training images are not below {str(cache_dir)!r} any more"
        splits = np.array([item.split for item in task.items])
        train, val = features[FEATURES][splits == "train"], features[FEATURES][splits == "val"]
    return keep_training_vectors(kept, train, val), ""


def video_distance(stored: StoredScore) -> tuple[TrainingDistance | None, str]:
    """The vectors of training clips or frames that the evaluation of a video head kept, or None and why there are none."""
    if changes_backbone(stored.settings["head"]):
        return None, "the head changed its network, of which no vectors of the training clips are kept"
    found = kept_training_vectors(stored.head.with_name(OF_FROZEN))
    return found, "" if found else "the evaluation kept no vectors of its training clips or frames, as older versions did not"


def training_task(stored: StoredScore, config: EvaluateConfig) -> tuple[TaskData, str] | None:
    """The evaluation set of a score as it is on disk, and the id of its images; None where it is gone or another."""
    fold = None if config.fold == "all" else config.fold
    key = lake_key(stored.root, is_kept=False)
    for name in (stored.settings["task"], "auto"):
        try:
            splits = SplitStore(folder=stored.root / "splits", data=stored.data, key=key, is_read_only=True)
            read = configured_task(name, stored.data, config, fold=fold, stored=splits)
            task, identity = readable_task(read, max_unreadable=config.max_unreadable, num_workers=config.num_workers)
            if identity.data_id == stored.settings["data_id"]:
                return task, identity.images_id
        except (TaskError, OSError):
            continue
    return None
