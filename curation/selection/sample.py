"""Balanced sampling from a cluster hierarchy: equal shares at every level, as far as the clusters and the caps reach.

A sample is the beginning of one order of all candidates (`balanced_order`), so samples of different sizes lie within each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curation.selection.balance import balanced_order
from curation.selection.caps import within_caps
from curation.selection.diverse import Rows, farthest_first

__all__ = ["balanced_sample"]

Ints = npt.NDArray[np.int64]


def balanced_sample(
    paths: npt.NDArray[np.integer],
    size: int,
    *,
    within_leaf: Literal["random", "closest", "diverse"],
    draws: npt.NDArray[np.integer],
    seed: int,
    distance: npt.NDArray[np.floating] | None = None,
    vectors: Rows | None = None,
    weights: npt.NDArray[np.floating] | None = None,
    caps: Sequence[tuple[npt.NDArray[np.integer], int]] = (),
) -> tuple[Ints, int]:
    """Choose `size` points, spread evenly over the clusters of each level; the same call with a smaller size gives the beginning of it.

    With caps the candidates are thinned first: walking the balanced order of all of them, in which the rare come early, each is kept while
    its groups have room (`within_caps`). The sample is then balanced over what is left, so it is as large as asked or takes all of that.

    Args:
        paths: (n, T) cluster of each point at each level, finest first.
        size: points wanted.
        within_leaf: take a finest cluster's points at random; or those closest to its centroid first; or the closest, then always the one
            farthest from all taken before. Where there are caps as well, `diverse` spreads what random draws have left under them.
        draws: (n,) a random number of each point, best one that goes with its id (`draws_of_ids`): they settle what is random within a
            finest cluster, and ties. With draws that differ, the rows' order does not matter.
        seed: of the order in which clusters take turns.
        distance: (n,) distance to the finest centroid; needed for closest and diverse.
        vectors: (n, d) needed for diverse, an array or what gives rows as one does, read one finest cluster at a time, in their order.
        weights: (n,) how much more often than one of weight 1 a point is taken.
        caps: for each kind of group, the group of each point (n,), -1 where it is unknown and uncapped, and the most points of a group.

    Returns:
        Indices of the chosen points in the balanced order, none twice, and how many the caps allow.

    Raises:
        ValueError: the arrays do not fit each other, a finer cluster lies in two coarser ones, or something the options need is missing.
    """
    if size < 0:
        raise ValueError(f"size {size} is negative; give the number of points wanted")
    if within_leaf != "random" and distance is None:
        raise ValueError(f"{within_leaf} takes the closest point of a cluster first; pass distance, or within_leaf='random'")
    if within_leaf == "diverse" and vectors is None:
        raise ValueError("diverse needs the points' vectors; pass vectors, or within_leaf='random'")
    for name, array in (("distance", distance), ("draws", draws), ("vectors", vectors)):
        if array is not None and len(array) != len(paths):
            raise ValueError(f"{name} has length {len(array)}; {len(paths)} paths need as many")
    priority: npt.NDArray[Any] = draws
    if within_leaf == "closest" and distance is not None:
        priority = np.empty(len(paths), np.int64)
        priority[np.lexsort((draws, distance))] = np.arange(len(paths))
    order = balanced_order(paths, priority=priority, seed=seed, weights=weights)
    allowed = len(paths)
    if caps:
        rows = within_caps(order, caps)
        allowed = len(rows)
        if allowed < len(paths):
            order = rows[_order_of(rows, paths, priority, seed, weights)]
    if within_leaf == "diverse" and distance is not None and vectors is not None:
        spread = _spread(order, min(size, allowed), paths, draws, distance, vectors, weights)
        order = order[_order_of(order, paths, spread, seed, weights)]
    return order[:size], allowed


def _order_of(
    rows: Ints, paths: npt.NDArray[np.integer], priority: npt.NDArray[Any], seed: int, weights: npt.NDArray[np.floating] | None
) -> Ints:
    """The balanced order of some rows alone, as positions in `rows`."""
    return balanced_order(paths[rows], priority=priority[rows], seed=seed, weights=None if weights is None else weights[rows])


def _spread(
    order: Ints,
    size: int,
    paths: npt.NDArray[np.integer],
    draws: npt.NDArray[np.integer],
    distance: npt.NDArray[np.floating],
    vectors: Rows,
    weights: npt.NDArray[np.floating] | None,
) -> Ints:
    """A priority (n,) by which the points of each finest cluster come farthest first, as far as a sample of `size` reaches into it.

    How many points of a cluster a sample takes does not depend on which: the beginning of any balanced order tells.
    """
    leaf = paths[:, 0]
    wanted = np.bincount(leaf[order[:size]], minlength=int(leaf.max(initial=0)) + 1)
    by_leaf = order[np.lexsort((draws[order], leaf[order]))]
    priority = np.full(len(paths), len(paths), np.int64)
    for members in np.split(by_leaf, np.flatnonzero(np.diff(leaf[by_leaf])) + 1):
        num_points = int(wanted[leaf[members[0]]]) if len(members) else 0
        if num_points and weights is not None and np.ptp(weights[members]) > 0:
            num_points = len(members)  # a heavier point may overtake any of them
        if num_points:
            taken = farthest_first(vectors[members], num_points, first=int(np.argmin(distance[members])))
            priority[members[taken]] = np.arange(len(taken))
    return priority
