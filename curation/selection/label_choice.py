"""Which points to label next: typical ones of different groups at first, then those far from all labels whose class is open.

With few labels typical points teach the most, with many the uncertain ones (Hacohen et al. 2022, arXiv 2202.02794).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.clustering import FitSettings, fit_kmeans

__all__ = ["LabelChoice", "choose_for_labels"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

UNCERTAIN = 0.5
"""uncertainty from which a point is said to be chosen for it"""


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """Points in the order in which they were chosen."""

    rows: Ints
    """(m,)"""
    reasons: tuple[str, ...]
    """typical: the middle of its cluster; uncertain: the labels leave its class open; new: its class seems clear, but it is far from all
    labels"""
    scores: npt.NDArray[np.float64]
    """(m,) of the reason, 0 to 1: cosine to the cluster's mean; uncertainty; distance to the nearest point that was labelled or chosen
    before, as 1 less the cosine"""


def choose_for_labels(
    vectors: npt.NDArray[np.float32],
    size: int,
    *,
    is_labelled: Bools,
    uncertainty: Floats | None,
    seed: int,
    may_choose: Bools | None = None,
    groups: npt.NDArray[np.integer] | None = None,
    max_per_group: int | None = None,
) -> LabelChoice:
    """Choose `size` points without a label, or as many as there are and the cap allows.

    Without uncertainties the points are put into as many clusters as there will be labels. Clusters take turns, those with the fewest
    labels first, of equal ones the largest; each gives the point closest to its mean. With uncertainties the next point is always the one
    of the largest product of uncertainty and squared distance to all that are labelled or chosen, as in farthest-first traversal.

    Args:
        vectors: (n, d) unit vectors.
        size: points wanted.
        is_labelled: (n,) which points have a label.
        uncertainty: (n,) from 0 to 1, of a head that learned from the labels; None if there is none.
        seed: of the clusters.
        may_choose: (n,) points that may be chosen; all without a label unless given.
        groups: (n,) patient of each point, for the cap.
        max_per_group: most points chosen of a group.

    Raises:
        ValueError: the size is negative, the cap is below 1 or has no groups, or the arrays do not fit each other.
    """
    for name, array in (("is_labelled", is_labelled), ("uncertainty", uncertainty), ("may_choose", may_choose), ("groups", groups)):
        if array is not None and array.shape != (len(vectors),):
            raise ValueError(f"{name} has shape {array.shape}; {len(vectors)} vectors need ({len(vectors)},)")
    if size < 0 or (max_per_group is not None and (max_per_group < 1 or groups is None)):
        raise ValueError(f"size is {size} and max_per_group {max_per_group}; give 0 or more, and 1 or more with groups")
    free = ~is_labelled if may_choose is None else may_choose & ~is_labelled
    size = min(size, int(free.sum()))
    if not size:
        return LabelChoice(np.empty(0, np.int64), (), np.empty(0))
    room = _Room(free.copy(), groups, max_per_group)
    if uncertainty is None:
        return _typical(vectors, size, is_labelled, room, seed)
    return _far_and_open(vectors, size, is_labelled, uncertainty, room)


@dataclass(slots=True)
class _Room:
    """Which points may still be chosen."""

    free: Bools
    groups: npt.NDArray[np.integer] | None
    most: int | None

    def take(self, row: int, chosen: list[int]) -> None:
        """Choose a point; all of its group go once the group has as many as the cap allows."""
        chosen.append(row)
        self.free[row] = False
        if self.groups is not None and self.most is not None:
            group = self.groups[row]
            if int((self.groups[chosen] == group).sum()) >= self.most:
                self.free[self.groups == group] = False


def _typical(vectors: npt.NDArray[np.float32], size: int, is_labelled: Bools, room: _Room, seed: int) -> LabelChoice:
    num_clusters = min(len(vectors), int(is_labelled.sum()) + size)
    cluster = fit_kmeans(vectors, FitSettings(k=num_clusters), rng=np.random.default_rng(seed)).assignment
    means = np.zeros((num_clusters, vectors.shape[1]), np.float32)
    np.add.at(means, cluster, vectors)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    typicality = np.einsum("nd,nd->n", vectors, means[cluster])
    by_cluster = np.lexsort((-typicality, cluster))
    sizes = np.bincount(cluster, minlength=num_clusters)
    queues = np.split(by_cluster, np.cumsum(sizes)[:-1])
    turns = np.lexsort((-sizes, np.bincount(cluster, is_labelled, minlength=num_clusters)))
    waiting = [iter(queues[number].tolist()) for number in turns]
    chosen: list[int] = []
    while waiting and len(chosen) < size:
        waiting = [queue for queue in waiting if len(chosen) < size and _take_next(queue, room, chosen)]
    rows = np.array(chosen, np.int64)
    return LabelChoice(rows, ("typical",) * len(rows), np.clip(typicality[rows], 0, 1).astype(np.float64))


def _take_next(queue: Iterator[int], room: _Room, chosen: list[int]) -> bool:
    """Choose the first point of a cluster that may be; False if it has none."""
    for row in queue:
        if room.free[row]:
            room.take(row, chosen)
            return True
    return False


def _far_and_open(vectors: npt.NDArray[np.float32], size: int, is_labelled: Bools, uncertainty: Floats, room: _Room) -> LabelChoice:
    distance = np.full(len(vectors), 2.0, np.float32)
    for row in np.flatnonzero(is_labelled).tolist():
        np.minimum(distance, 1 - vectors @ vectors[row], out=distance)
    chosen: list[int] = []
    far: list[float] = []
    while len(chosen) < size and room.free.any():
        row = int(np.argmax(np.where(room.free, np.maximum(distance, 0) * uncertainty, -1)))
        far.append(float(np.clip(distance[row], 0, 1)))
        room.take(row, chosen)
        np.minimum(distance, 1 - vectors @ vectors[row], out=distance)
    rows = np.array(chosen, np.int64)
    is_open = uncertainty[rows] >= UNCERTAIN
    return LabelChoice(
        rows, tuple("uncertain" if found else "new" for found in is_open), np.where(is_open, uncertainty[rows], far).astype(np.float64)
    )
