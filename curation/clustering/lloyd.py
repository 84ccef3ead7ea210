"""One k-means fit: Lloyd's iterations, stopped early, with no empty cluster if the points allow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from curation.clustering.nearest import Floats, rows_of
from curation.clustering.points import Pass, Points, Progress, Rows
from curation.clustering.settings import FitSettings

__all__ = ["best_rows", "lloyd", "reseed_empty", "unit_length"]

_REPAIR_ROUNDS = 10
_SCAN_ROWS = 1 << 22
"""labels and distances looked at together: some 200 MiB while they are sorted"""


def lloyd(points: Points, progress: Progress, fit: FitSettings) -> Iterator[tuple[Progress, Pass]]:
    """Go on with a fit; yields after each pass, and is fitted at the last."""
    if progress.is_fitted:
        return
    centroids = progress.centroids.copy()
    found = points.run_pass(centroids, None, np.ones(fit.k, np.bool_))
    iteration = progress.iteration + 1
    while progress.inertia - found.inertia > fit.tolerance * found.inertia and iteration <= fit.max_iterations:
        filled = found.counts > 0
        moved = found.changed & filled
        means = (found.sums[moved] / found.counts[moved, None]).astype(np.float32)
        centroids[moved] = unit_length(means) if fit.spherical else means
        # with a cluster just reseeded the next pass is not the last, whatever it gains
        inertia = np.inf if reseed_empty(centroids, found.counts, points, found.distance) else found.inertia
        progress = replace(progress, iteration=iteration, inertia=inertia, centroids=centroids.copy())
        yield progress, found
        found = points.run_pass(centroids, found, moved | ~filled)
        iteration += 1
    for _ in range(_REPAIR_ROUNDS):
        if not reseed_empty(centroids, found.counts, points, found.distance):
            break
        found = points.run_pass(centroids, found, found.counts == 0)
    yield replace(progress, iteration=iteration, is_fitted=True, inertia=found.inertia, centroids=centroids), found


def reseed_empty(centroids: Floats, counts: npt.NDArray[np.int64], points: Points, distance: Floats) -> int:
    """Move each empty cluster's centroid, in place, to one of the points farthest from their own.

    Returns how many were moved.
    """
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return 0
    farthest = best_rows(len(distance), lambda rows: np.argsort(-distance[rows], kind="stable")[: len(empty)])
    farthest = farthest[distance[farthest] > 0]
    centroids[empty[: len(farthest)]] = rows_of(points.vectors, farthest)
    return len(farthest)


def best_rows(num_rows: int, choose: Callable[[Rows], Rows]) -> Rows:
    """Rows chosen from the best so far and some more at a time.

    `choose` gets rows and returns places in them.
    """
    best = np.empty(0, np.int64)
    for start in range(0, num_rows, _SCAN_ROWS):
        looked_at = np.concatenate([best, np.arange(start, min(start + _SCAN_ROWS, num_rows))])
        best = looked_at[choose(looked_at)]
    return best


def unit_length(centroids: Floats) -> Floats:
    """Centroids scaled to unit length, (k, d)."""
    unit: Floats = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return unit
