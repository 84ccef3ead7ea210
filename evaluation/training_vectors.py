"""The images that a head was trained on as vectors, and how far another image lies from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from evaluation.heads import Maps
from warehouse.store import atomic_file

__all__ = [
    "FEATURES",
    "OF_FROZEN",
    "TrainingDistance",
    "all_vectors",
    "keep_training_vectors",
    "kept_training_vectors",
    "map_vectors",
    "nearest_distances",
]

FEATURES = "last"
"""the feature set by which images of class heads are compared"""

THRESHOLD_PERCENTILE = 99.0
"""of the distances of validation images to the training images"""

MOST_VECTORS = 100_000
"""training images that are compared with; of more, as many evenly spaced"""

OF_FROZEN = "training.safetensors"
"""file beside the heads of a frozen network that tell classes, or that are of a video network"""

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


def all_vectors(maps: Maps) -> Floats:
    """`map_vectors` of a memory map, some images at a time."""
    starts = range(0, len(maps[-1]), _ROWS_AT_ONCE)
    return np.concatenate([map_vectors((maps[-1][start : start + _ROWS_AT_ONCE],)) for start in starts])


def keep_training_vectors(path: Path, train: Floats, val: Floats) -> TrainingDistance:
    """Make the distance of the features of the training and validation images, [N, D] and [M, D], and write it."""
    vectors = _unit(train[:: -(-len(train) // MOST_VECTORS)]).astype(np.float16).astype(np.float32)  # as they are kept
    made = TrainingDistance(vectors, float(np.percentile(nearest_distances(val, vectors), THRESHOLD_PERCENTILE)))
    with atomic_file(path) as file:
        file.write(save({"vectors": made.vectors.astype(np.float16), "threshold": np.array([made.threshold], np.float32)}))
    return made


def kept_training_vectors(path: Path) -> TrainingDistance | None:
    """What `keep_training_vectors` wrote; None where it is not there or damaged."""
    try:
        found = load_file(path) if path.is_file() else {}
        return TrainingDistance(found["vectors"].astype(np.float32), float(found["threshold"][0]))
    except (SafetensorError, KeyError):
        return None


def _unit(vectors: Floats) -> Floats:
    values = np.asarray(vectors, np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
