"""Look-alikes by perceptual hash: for every 64-bit hash the closest one before it, exactly, without comparing all pairs.

Cut into r + 2 bands, two hashes that differ in at most r bits agree in at least two whole bands. So they meet in at least one of the
tables whose keys are two of the bands, and only hashes with equal keys are compared, exactly (the tables of Manku, Jain and Das Sarma,
"Detecting near-duplicates for web crawling", WWW 2007, section 3). Nothing within r is missed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "SHARE_HASHES",
    "HashShare",
    "closest_before",
    "closest_in_share",
    "hash_shares",
    "hash_tables",
    "keep_best",
    "nothing_found",
    "share_rows",
    "unpacked",
]

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

NOT_FOUND = np.iinfo(np.int64).max
_POSITION_BITS = 40
_HASH_BITS = 64
SHARE_HASHES = 1 << 22
"""that a share of a table has, about"""
_SCANNED_HASHES = 1 << 20
_MIX = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: a product with it spreads keys that differ in few bits"""


@dataclass(frozen=True, slots=True)
class HashShare:
    """Those hashes of a table whose keys fall to one of several shares: hashes of equal keys are in the same."""

    mask: int
    """bits of the key"""
    number: int
    of: int
    """shares that the table is cut into"""


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
    best = nothing_found(len(hashes))
    active = np.flatnonzero(keys[1:] == keys[:-1])
    step = 1
    while len(active):  # each with the one `step` places after it; no row occurs twice among those after
        bits = np.bitwise_count(ordered[active] ^ ordered[active + step])
        near = bits <= radius
        keep_best(best, order[active[near] + step], (bits[near].astype(np.int64) << _POSITION_BITS) | order[active[near]])
        step += 1
        active = active[: np.searchsorted(active, len(keys) - step)]
        active = active[keys[active + step] == keys[active]]
    return best


def hash_shares(radius: int, num_hashes: int) -> tuple[HashShare, ...]:
    """All tables, each cut such that a share has about four million hashes."""
    num = max(1, -(-num_hashes // SHARE_HASHES))
    return tuple(HashShare(mask, number, num) for mask in hash_tables(radius) for number in range(num))


def closest_in_share(hashes: Hashes, share: HashShare, *, radius: int) -> tuple[npt.NDArray[np.int32], Ints]:
    """The hashes of a share that have a look-alike before them, and `closest_before` of each, by positions among all hashes.

    Memory is about 50 bytes a hash of the share, 200 MB, however many hashes there are.

    Args:
        hashes: (n,) as for `closest_before`, an array or a memmap; read once.
        share: of a table.
        radius: most differing bits.
    """
    rows = share_rows(hashes, share)
    best = closest_before(np.array(hashes[rows]), share.mask, radius=radius)
    found = np.flatnonzero(best != NOT_FOUND)
    bits, place = unpacked(best[found])
    return rows[found], (bits.astype(np.int64) << _POSITION_BITS) | rows[place]


def nothing_found(num_hashes: int) -> Ints:
    """(n,) before any table is searched."""
    return np.full(num_hashes, NOT_FOUND, np.int64)


def keep_best(best: Ints, rows: npt.NDArray[np.integer[Any]], found: Ints) -> None:
    """Take what was found at some rows, each at most once, in place where it is closer."""
    best[rows] = np.minimum(best[rows], found)


def unpacked(best: Ints) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    """Distance in bits and position of the closest one before; -1 and -1 where there is none."""
    found = best != NOT_FOUND
    distance = np.where(found, best >> _POSITION_BITS, -1).astype(np.int8)
    return distance, np.where(found, best & ((1 << _POSITION_BITS) - 1), -1).astype(np.int32)


def share_rows(hashes: Hashes, share: HashShare) -> npt.NDArray[np.int32]:
    """Ascending positions of a share's hashes."""
    rows = []
    for start in range(0, len(hashes), _SCANNED_HASHES):
        keys = hashes[start : start + _SCANNED_HASHES] & np.uint64(share.mask)
        # from the product's top bits: the others are 0 where a key has high bits alone
        number = ((keys * np.uint64(_MIX)) >> np.uint64(32)) * np.uint64(share.of) >> np.uint64(32)
        rows.append((start + np.flatnonzero(number == share.number)).astype(np.int32))
    return np.concatenate(rows) if rows else np.empty(0, np.int32)
