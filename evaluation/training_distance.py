"""How far an image lies from everything that a head was trained on, by the features that its evaluation kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from evaluation.backbone import Backbone, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.features import found_features, found_maps
from evaluation.heads import Maps, MapsWanted
from evaluation.replay import StoredScore
from evaluation.tasks import SplitStore, TaskData, TaskError, configured_task, readable_task
from warehouse.store import atomic_file

__all__ = ["FEATURES", "TrainingDistance", "map_vectors", "nearest_distances", "training_distance", "training_task"]

FEATURES = "last"
"""the feature set by which images of class heads are compared"""

THRESHOLD_PERCENTILE = 99.0
"""of the distances of validation images to the training images"""

MOST_VECTORS = 100_000
"""training images that are compared with; of more, as many evenly spaced"""

_ROWS_AT_ONCE = 256

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingDistance:
    """The training images as vectors, and from where on an image is unlike all of them."""

    vectors: Floats
    """[N, D], of unit length"""
    threshold: float
    """cosine distance that 1% of the validation images exceed"""

    def of(self, vectors: Floats) -> Floats:
        """Cosine distance, 0 to 2, of vectors [B, D] to the nearest training image; [B]."""
        return nearest_distances(vectors, self.vectors)


def nearest_distances(queries: Floats, gallery: Floats) -> Floats:
    """Cosine distance of each query [Q, D] to the nearest of the gallery [N, D], whose rows have unit length; [Q]."""
    parts = [1 - (_unit(queries[start : start + _ROWS_AT_ONCE]) @ gallery.T).max(1) for start in range(0, len(queries), _ROWS_AT_ONCE)]
    return np.concatenate([np.empty(0, np.float32), *parts]).clip(0, 2).astype(np.float32)


def map_vectors(maps: Maps) -> Floats:
    """The mean token [B, D] of the last level of maps [B, D, h, w]."""
    return np.asarray(np.asarray(maps[-1], np.float32).mean((2, 3)), np.float32)


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
    kept = stored.head.with_name(f"{stored.head.stem}.training.safetensors" if wanted else "training.safetensors")
    try:
        if kept.is_file():
            found = load_file(kept)
            return TrainingDistance(found["vectors"].astype(np.float32), float(found["threshold"][0])), ""
    except (SafetensorError, KeyError):
        pass  # it is made again
    told: dict[str, Any] = {"seed": config.seed, "cache_dir": cache_dir}
    data_id = stored.settings["data_id"]
    if wanted is not None:
        sets = [found_maps(backbone, model, wanted, data_id=f"{data_id} {split}", **told) for split in ("train", "val")]
        if sets[0] is None or sets[1] is None:
            return None, f"the evaluation's maps of its training images are not below {str(cache_dir)!r} any more"
        train, val = (_all_vectors(maps) for maps in sets if maps is not None)
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
    made = _made(train, val)
    with atomic_file(kept) as file:
        file.write(save({"vectors": made.vectors.astype(np.float16), "threshold": np.array([made.threshold], np.float32)}))
    return made, ""


def training_task(stored: StoredScore, config: EvaluateConfig) -> tuple[TaskData, str] | None:
    """The evaluation set of a score as it is on disk, and the id of its images; None where it is gone or another."""
    fold = None if config.fold == "all" else config.fold
    for name in (stored.settings["task"], "auto"):
        try:
            splits = SplitStore(folder=stored.root / "splits", data=stored.data)
            read = configured_task(name, stored.data, config, fold=fold, stored=splits)
            task, identity = readable_task(read, max_unreadable=config.max_unreadable, num_workers=config.num_workers)
            if identity.data_id == stored.settings["data_id"]:
                return task, identity.images_id
        except (TaskError, OSError):
            continue
    return None


def _made(train: Floats, val: Floats) -> TrainingDistance:
    vectors = _unit(train[:: -(-len(train) // MOST_VECTORS)]).astype(np.float16).astype(np.float32)  # as they are kept
    return TrainingDistance(vectors, float(np.percentile(nearest_distances(val, vectors), THRESHOLD_PERCENTILE)))


def _all_vectors(maps: Maps) -> Floats:
    """`map_vectors` of a memory map, some images at a time."""
    starts = range(0, len(maps[-1]), _ROWS_AT_ONCE)
    return np.concatenate([map_vectors((maps[-1][start : start + _ROWS_AT_ONCE],)) for start in starts])


def _unit(vectors: Floats) -> Floats:
    values = np.asarray(vectors, np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
