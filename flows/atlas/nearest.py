"""The points most similar to a vector, by an exact search of those on the map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NEAR", "nearest_rows"]

NEAR = 12
"""points that are found"""


def nearest_rows(vectors: npt.NDArray[np.float32], vector: npt.NDArray[np.floating[Any]], *, without: int = -1) -> list[tuple[int, float]]:
    """The rows of `vectors` (N, dim) most similar to a unit vector, with their cosines, the nearest first; never the row `without`."""
    cosines = vectors @ vector.astype(np.float32)
    if without >= 0:
        cosines[without] = -math.inf
    count = min(NEAR, len(cosines) - (without >= 0))
    best = np.argpartition(-cosines, count - 1)[:count]
    return [(int(place), round(float(cosines[place]), 4)) for place in best[np.argsort(-cosines[best])]]
