"""Held-out views that lie near candidates, by embedding and by perceptual hash: what is worth comparing picture with picture.

The held-out side streams by in blocks, so memory is that of one block and one pack of candidates, however much is held out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["Nearest", "hash_bytes", "in_turns", "nearest_by_embedding", "nearest_by_hash", "nothing_near", "retrieval_similarity"]

_QUANTILE = 0.005
"""of the probes' similarities: one copy in two hundred may lie farther from every view of its original than is looked at. At 0.02 recall
was .981 instead of .988, for 8% fewer comparisons (bench_holdout.py)"""


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each candidate, the nearest views found so far, the nearest first; places that are not filled have the view -1."""

    view: npt.NDArray[np.int64]
    """(n, k)"""
    value: npt.NDArray[np.float32]
    """(n, k) cosine, or the negative of the number of differing bits"""


def nothing_near(num_candidates: int, num_nearest: int) -> Nearest:
    """Before the first block."""
    return Nearest(np.full((num_candidates, num_nearest), -1, np.int64), np.full((num_candidates, num_nearest), -np.inf, np.float32))


def nearest_by_embedding(
    candidates: npt.NDArray[np.float32], views: npt.NDArray[np.float32], *, first_view: int, so_far: Nearest
) -> Nearest:
    """The most similar views among a further block, (m, d) unit vectors numbered from `first_view`, and those found before."""
    cosine, view = faiss.knn(candidates, views, min(so_far.view.shape[1], len(views)), metric=faiss.METRIC_INNER_PRODUCT)
    return _merged(so_far, np.where(view >= 0, view + first_view, -1), cosine.astype(np.float32))


def nearest_by_hash(candidates: npt.NDArray[np.uint8], views: npt.NDArray[np.uint8], *, first_view: int, so_far: Nearest) -> Nearest:
    """The same by Hamming distance; (n, 8) and (m, 8) bytes."""
    index = faiss.IndexBinaryFlat(64)
    index.add(views)
    distance, view = index.search(candidates, min(so_far.view.shape[1], len(views)))
    return _merged(so_far, np.where(view >= 0, view + first_view, -1), -distance.astype(np.float32))


def hash_bytes(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """(n,) 64-bit hashes as (n, 8) bytes."""
    return hashes.astype(">u8").view(np.uint8).reshape(-1, 8)


def retrieval_similarity(probes: Sequence[float]) -> float:
    """The similarity from which a find is looked at: what 99.5% of copies like those of `probes_of` have to a view of their original.

    Encoders differ in what they call similar, so no fixed number would do.

    Args:
        probes: each probe's cosine to the nearest view of its own picture.
    """
    return float(np.quantile(probes, _QUANTILE))


Found = TypeVar("Found", bound=Hashable)


def in_turns(one: Iterable[Found], other: Iterable[Found]) -> list[Found]:
    """What two searches found, each in its own order, taken from one and the other by turns and each only once.

    Dull pictures have the hash of many, and would push out of those that are compared the one that the embedding knows; or the other way.
    """
    pairs = zip_longest(dict.fromkeys(one), dict.fromkeys(other))
    return list(dict.fromkeys(found for pair in pairs for found in pair if found is not None))


def _merged(one: Nearest, view: npt.NDArray[np.int64], value: npt.NDArray[np.float32]) -> Nearest:
    views, values = np.concatenate([one.view, view], axis=1), np.concatenate([one.value, value], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, : one.view.shape[1]]
    return Nearest(np.take_along_axis(views, order, axis=1), np.take_along_axis(values, order, axis=1))
