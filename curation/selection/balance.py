"""One order of all points of which every beginning is a balanced sample: so a small dataset lies within a larger one.

The rule is the hierarchical sampling of arXiv 2405.15613, section 3.3 (water-filling): of a budget all children of a cluster get the same
number x, or x + 1 where it does not come out even, except those too small for it, which give all they have. Computed for one budget it
says nothing about another; here the children take turns instead, which gives the same numbers for every budget at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curation.selection.draws import mix

__all__ = ["balanced_order", "check_tree"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DIGITS = 9
"""a cluster's weight is rounded to these, so that equal clusters stay equal whatever order their sums are taken in"""


def balanced_order(
    paths: npt.NDArray[np.integer], *, priority: npt.NDArray[Any], seed: int, weights: npt.NDArray[np.floating] | None = None
) -> Ints:
    """Order points so that the first M of them are balanced over the clusters of every level, for every M.

    A finest cluster orders its points by priority. A coarser one merges its children's orders: they take turns, each giving its next
    point, in an order drawn anew for each round, until all are empty. Why every beginning is balanced: let a beginning of the merged
    order end in round x. A child of a_i points has given one in each of the x complete rounds until it was empty, and one more where
    its turn in the open round is past: n_i is a_i, x or x + 1. What it has given are the first n_i of its own order, a beginning of that,
    so the same holds inside the child, and so on down. That is water-filling at every level, for every M.

    A child of weight w has its k-th turn at the time k / w: with weight 3 it gives three points while others give one. A child's weight
    is the mean of its children's, and a finest cluster's that of its points. So the points of weight w are w times as frequent in a
    sample as they are without weights, compared with those of weight 1, as long as there are enough of them: shares of siblings are in
    proportion to their means, and the product of the shares down to a point is its unweighted one times its weight, over a constant.
    A finest cluster whose points differ in weight gives its point of rank r of m at the time -log(1 - (r + 1/2) / m) / w: the exponential
    clock of weighted sampling without replacement (Efraimidis and Spirakis 2006), with the ranks for the random numbers.

    Args:
        paths: (n, T) cluster of each point at each level, finest first, numbered from 0.
        priority: (n,) lowest first within a finest cluster; ties by row. With priorities that differ, the rows' order does not matter.
        seed: of the order of turns.
        weights: (n,) above 0.

    Returns:
        (n,) all rows, each once.

    Raises:
        ValueError: the arrays do not fit each other, or a finer cluster lies in two coarser ones.
    """
    parents = check_tree(paths)
    num_points, num_levels = paths.shape
    for name, array in (("priority", priority), ("weights", weights)):
        if array is not None and array.shape != (num_points,):
            raise ValueError(f"{name} has shape {array.shape}; {num_points} paths need ({num_points},)")
    leaf = paths[:, 0]
    turn = _positions(np.lexsort((priority, leaf)), leaf)
    cluster_weights: Floats | None = None
    if weights is not None:
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise ValueError("a weight is not above 0; give finite positive weights")
        turn = _reweighted(turn, leaf, weights)
        cluster_weights = _mean_weights(leaf, weights)
    seeded = mix(np.array([seed], np.int64))
    for level in range(num_levels):
        time = (turn + 1).astype(np.float64)
        if cluster_weights is not None:
            time /= cluster_weights[paths[:, level]]
        # Who comes first at one time: the clusters' numbers scrambled one to one, so never a tie, and anew for each time and level.
        draw = mix(mix(time.view(np.uint64) ^ mix(seeded + np.uint64(level))) ^ paths[:, level].astype(np.uint64))
        if level + 1 < num_levels:
            parent = paths[:, level + 1]
            turn = _positions(np.lexsort((draw, time, parent)), parent)
            if cluster_weights is not None:
                cluster_weights = _mean_of_children(parents[level], cluster_weights)
    return np.lexsort((draw, time))


def check_tree(paths: npt.NDArray[np.integer]) -> list[Ints]:
    """For each level but the coarsest, the cluster above each cluster, -1 for a number that no point has.

    Raises:
        ValueError: the paths are no (n, T) numbers from 0, or a finer cluster lies in two coarser ones.
    """
    if paths.ndim != 2 or paths.shape[1] == 0:
        raise ValueError(f"paths have shape {paths.shape}; give (n, levels) with at least one level")
    if paths.min(initial=0) < 0:
        raise ValueError(f"a path holds cluster {paths.min()}; number clusters from 0")
    parents = []
    for level in range(paths.shape[1] - 1):
        parent = np.full(int(paths[:, level].max(initial=-1)) + 1, -1, np.int64)
        parent[paths[:, level]] = paths[:, level + 1]
        if not np.array_equal(parent[paths[:, level]], paths[:, level + 1]):
            raise ValueError(
                f"clusters of level {level} (finest is 0) lie in more than one cluster of the level above; paths must form a tree"
            )
        parents.append(parent)
    return parents


def _positions(order: Ints, group: npt.NDArray[np.integer]) -> Ints:
    """Each row's position within its group, where `order` sorts the rows by group."""
    counts = np.bincount(group, minlength=1)
    first = np.cumsum(counts) - counts
    positions = np.empty(len(order), np.int64)
    positions[order] = np.arange(len(order))
    positions -= first[group]
    return positions


def _reweighted(turn: Ints, leaf: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]) -> Ints:
    """Turns within finest clusters after points of higher weight have been let forward; the same where all weights of one are equal."""
    sizes = np.bincount(leaf, minlength=1)[leaf]
    time = -np.log1p(-(turn + 0.5) / sizes) / weights
    return _positions(np.lexsort((turn, time, leaf)), leaf)


def _mean_weights(leaf: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]) -> Floats:
    """The mean weight of each finest cluster's points, 1 for a number without points; summed over weights, not rows, to be exact."""
    counts = np.bincount(leaf, minlength=1)
    values, codes = np.unique(weights, return_inverse=True)
    mean = np.zeros(len(counts))
    for code, value in enumerate(values):
        mean += value * (np.bincount(leaf[codes == code], minlength=len(counts)) / np.maximum(counts, 1))
    return np.where(counts > 0, np.round(mean, _DIGITS), 1.0)


def _mean_of_children(parent: Ints, child_weights: Floats) -> Floats:
    """The mean weight of each cluster's children."""
    real = np.flatnonzero(parent >= 0)
    counts = np.bincount(parent[real], minlength=1)
    sums = np.bincount(parent[real], child_weights[real], minlength=1)
    return np.where(counts > 0, np.round(sums / np.maximum(counts, 1), _DIGITS), 1.0)
