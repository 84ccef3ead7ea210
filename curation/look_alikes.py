"""Look-alikes by perceptual hash: for every 64-bit hash the closest one before it, exactly, without comparing all pairs.

Cut into r + 2 bands, two hashes that differ in at most r bits agree in at least two whole bands. So they meet in at least one of the
tables whose keys are two of the bands, and only hashes with equal keys are compared, exactly (the tables of Manku, Jain and Das Sarma,
"Detecting near-duplicates for web crawling", WWW 2007, section 3). Nothing within r is missed.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

__all__ = ["closest_before", "hash_tables", "merged", "unpacked"]

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

NOT_FOUND = np.iinfo(np.int64).max
_POSITION_BITS = 40
_HASH_BITS = 64


def hash_tables(radius: int) -> tuple[int, ...]:
    """The key masks of the tables that together hold every pair within `radius` bits."""
    edges = np.linspace(0, _HASH_BITS, radius + 3).round().astype(int).tolist()
    bands = [((1 << (high - low)) - 1) << low for low, high in itertools.pairwise(edges)]
    return tuple(one | other for one, other in itertools.combinations(bands, 2))


def closest_before(hashes: Hashes, mask: int, *, radius: int) -> Ints:
    """For each hash the closest one before it that agrees with it in the bits of `mask`; see `unpacked`.

    Args:
        hashes: (n,) by rank, each at most once: of equal ones the search would compare all pairs, and the answer is known.
        mask: bits of the key.
        radius: most differing bits.

    Returns:
        (n,) distance and position in one number that sorts by distance, then by position; NOT_FOUND where there is none.
    """
    keys = hashes & np.uint64(mask)
    order = np.argsort(keys, kind="stable")  # inside a key by rank
    keys, ordered = keys[order], hashes[order]
    ends = np.searchsorted(keys, keys, side="right")
    best = np.full(len(hashes), NOT_FOUND, np.int64)
    active = np.flatnonzero(ends - np.arange(len(keys)) > 1)
    step = 1
    while len(active):  # each with the one `step` places after it; no row occurs twice among those after
        bits = np.bitwise_count(ordered[active] ^ ordered[active + step]).astype(np.int64)
        near = bits <= radius
        later, earlier = order[active[near] + step], order[active[near]]
        best[later] = np.minimum(best[later], (bits[near] << _POSITION_BITS) | earlier)
        step += 1
        active = active[ends[active] - active > step]
    return best


def merged(results: list[Ints], num_hashes: int) -> Ints:
    """The best over all tables, (n,)."""
    return np.minimum.reduce(results) if results else np.full(num_hashes, NOT_FOUND, np.int64)


def unpacked(best: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """Distance in bits and position of the closest one before; -1 and -1 where there is none."""
    found = best != NOT_FOUND
    distance = np.where(found, best >> _POSITION_BITS, -1).astype(np.int32)
    return distance, np.where(found, best & ((1 << _POSITION_BITS) - 1), -1)
