"""Vectors in groups, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.embedding import VectorFile, write_vectors

Floats = npt.NDArray[np.float32]


def blobs(num_points: int, dim: int = 8, num_blobs: int = 10, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_blobs, dim)) * 10
    return (centres[rng.integers(num_blobs, size=num_points)] + rng.standard_normal((num_points, dim))).astype(np.float32)


def serial(function: Callable[..., Any], items: Sequence[Any], **shared: Any) -> Iterator[Any]:
    return (function(item, **shared) for item in items)


def on_disk(folder: Path, points: npt.NDArray[Any]) -> VectorFile:
    return write_vectors(folder / "vectors.npy", [points], num_rows=len(points), dim=points.shape[1], dtype=points.dtype)


class Interrupted(Exception):
    pass
