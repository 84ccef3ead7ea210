"""Trees of clusters of points in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering import Level
from curation.clustering.in_memory import InMemory
from curation.clustering.kmeans import hierarchical_kmeans
from curation.clustering.out_of_core.on_disk import OnDisk
from curation.clustering.settings import KMeansSettings
from curation.embedding import VectorFile

__all__ = ["fit_tree", "fit_tree_on_disk", "frame_paths"]


def fit_tree(points: npt.NDArray[Any], **settings: Any) -> tuple[Level, ...]:
    """The levels of (n, d) points; see `KMeansSettings`."""
    return hierarchical_kmeans(InMemory(points), KMeansSettings(**settings))


def fit_tree_on_disk(vectors: VectorFile, settings: Mapping[str, Any], **place: Any) -> tuple[Level, ...]:
    """The levels of vectors in a file; see `OnDisk`."""
    return hierarchical_kmeans(OnDisk(vectors=vectors, **place), KMeansSettings(**settings))


def frame_paths(levels: Sequence[Level]) -> npt.NDArray[np.int32]:
    """(n, T) cluster of each point at each level, finest first: a point is where its centroid is, level after level."""
    paths = [levels[0].assignment]
    for level in levels[1:]:
        paths.append(level.assignment[paths[-1]])
    return np.stack(paths, axis=1)
