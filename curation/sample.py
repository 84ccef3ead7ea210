"""Balanced sampling from a cluster hierarchy: equal shares at every level, as far as the clusters reach.

The rule is the hierarchical sampling of arXiv 2405.15613, section 3.3: a budget is divided over the children of a cluster so that
all get the same number x, except those too small for it, which give all they have.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["balanced_sample", "water_fill"]

Ints = npt.NDArray[np.int64]


def water_fill(sizes: npt.ArrayLike, total: int, rng: np.random.Generator) -> Ints:
    """Divide `total` over vessels of the given sizes, (n,): each gets x, or all it holds where that is less.

    What remains after the largest such whole x goes one each to randomly chosen vessels that hold more. So the sum is exactly
    min(total, sum of sizes), and every share is the vessel's size, x or x + 1.

    Raises:
        ValueError: a size or the total is negative.
    """
    capacity = np.asarray(sizes, dtype=np.int64)
    if total < 0 or (capacity < 0).any():
        raise ValueError(f"cannot divide {total} over sizes of which the smallest is {capacity.min(initial=0)}; none may be negative")
    if int(capacity.sum()) <= total:
        return capacity.copy()
    ascending = np.sort(capacity)
    below = np.concatenate([[0], np.cumsum(ascending)[:-1]])  # what the smaller vessels hold together
    remaining = len(capacity) - np.arange(len(capacity))
    # The first vessel that an equal share of what is left would not fill; it and all larger ones get the same level.
    first = int(np.argmax((total - below) // remaining < ascending))
    level = int((total - below[first]) // remaining[first])
    share = np.minimum(capacity, level)
    lucky = rng.choice(np.flatnonzero(capacity > level), total - int(share.sum()), replace=False)
    share[lucky] += 1
    return share


def balanced_sample(
    paths: npt.NDArray[np.integer],
    size: int,
    *,
    within_leaf: Literal["random", "closest"],
    distance: npt.NDArray[np.floating] | None = None,
    seed: int,
    groups: npt.NDArray[np.generic] | None = None,
    max_per_group: int | None = None,
) -> Ints:
    """Choose exactly `size` points, spread evenly over the clusters of each level; all points where there are fewer.

    The budget is divided by `water_fill` over the coarsest clusters, each one's share over its children, and so on down to points.
    With a cap per group, each larger group is first thinned to its cap by the same rule, so that its rarest views stay; the number
    taken is then the most the caps allow, if that is below `size`.

    Args:
        paths: (n, T) cluster of each point at each level, finest first, as `frame_paths` gives them.
        size: points wanted.
        within_leaf: take a finest cluster's points at random, or those closest to its centroid first (ties by index).
        distance: (n,) distance to the finest centroid; needed for closest.
        seed: of the remainders and the random picks.
        groups: (n,) for example the video of each point.
        max_per_group: most points of one group.

    Returns:
        Sorted indices of the chosen points, none twice.

    Raises:
        ValueError: the arrays do not fit each other, a finer cluster lies in two coarser ones, or something the options need is missing.
    """
    if paths.ndim != 2 or paths.shape[1] == 0:
        raise ValueError(f"paths have shape {paths.shape}; give (n, levels) with at least one level")
    if size < 0:
        raise ValueError(f"size {size} is negative; give the number of points wanted")
    if within_leaf == "closest" and distance is None:
        raise ValueError("taking the closest points of a cluster needs their distance; pass distance, or within_leaf='random'")
    for name, array in (("distance", distance), ("groups", groups)):
        if array is not None and array.shape != (len(paths),):
            raise ValueError(f"{name} has shape {array.shape}; {len(paths)} paths need ({len(paths)},)")
    if max_per_group is not None and (groups is None or max_per_group < 1):
        raise ValueError(f"max_per_group={max_per_group} needs groups and a cap of at least 1")
    rng = np.random.default_rng(seed)
    priority = (
        np.argsort(np.argsort(distance, kind="stable"))
        if within_leaf == "closest" and distance is not None
        else rng.permutation(len(paths))
    )
    candidates = np.arange(len(paths))
    if max_per_group is not None and groups is not None:
        candidates = _capped(paths, priority, groups, max_per_group, rng)
    return np.sort(candidates[_sample(paths[candidates], priority[candidates], size, rng)])


def _capped(
    paths: npt.NDArray[np.integer], priority: Ints, groups: npt.NDArray[np.generic], max_per_group: int, rng: np.random.Generator
) -> Ints:
    """Indices left when every group is thinned to its cap by balanced sampling within it."""
    codes = np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    kept = [order[(counts <= max_per_group)[codes[order]]]]
    starts = np.cumsum(counts) - counts
    for code in np.flatnonzero(counts > max_per_group):
        members = order[starts[code] : starts[code] + counts[code]]
        kept.append(members[_sample(paths[members], priority[members], max_per_group, rng)])
    return np.sort(np.concatenate(kept))


def _sample(paths: npt.NDArray[np.integer], priority: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Positions of a balanced sample; within a leaf, the points of lowest priority value."""
    if size >= len(paths):
        return np.arange(len(paths))
    num_levels = paths.shape[1]
    # Points sorted by path from the coarsest level, then by priority: every cluster is a run, and a leaf's first points are its sample.
    order = np.lexsort((priority, *(paths[:, level] for level in range(num_levels))))
    sorted_paths = paths[order]
    begins = np.zeros(len(paths), dtype=bool)
    begins[0] = True
    shares, run_starts = np.array([size]), np.array([0])
    for level in reversed(range(num_levels)):
        begins[1:] |= sorted_paths[1:, level] != sorted_paths[:-1, level]
        children = np.flatnonzero(begins)
        if len(np.unique(sorted_paths[children, level])) != len(children):
            raise ValueError(
                f"clusters of level {level} (finest is 0) lie in more than one cluster of the level above; paths must form a tree"
            )
        child_sizes = np.diff(np.append(children, len(paths)))
        first_child = np.searchsorted(children, np.append(run_starts, len(paths)))
        shares = np.concatenate(
            [water_fill(child_sizes[first_child[parent] : first_child[parent + 1]], int(share), rng) for parent, share in enumerate(shares)]
        )
        run_starts = children
    position_in_leaf = np.arange(len(paths)) - np.repeat(run_starts, np.diff(np.append(run_starts, len(paths))))
    leaf_share = np.repeat(shares, np.diff(np.append(run_starts, len(paths))))
    chosen: Ints = order[position_in_leaf < leaf_share]
    return chosen
