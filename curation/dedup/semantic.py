"""Semantic deduplication: near-duplicates by cosine similarity of embeddings, looked for inside clusters (SemDeDup, arXiv 2303.09540).

One order over all frames says who stays, here and for exact copies and look-alikes (`keep_order`); a frame goes when one before it is too
like it, whether that one stays or not. Therefore each frame's score depends on no threshold, and a frame that is an exact copy of an
earlier one can be left out of every other search: whatever comes after the copy comes after its original, which is as like it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curation.dedup.config import DedupKeep
from curation.dedup.dedup_clusters import unit

__all__ = ["keep_order", "nearest_before"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def keep_order(keep: DedupKeep, *, distance: Floats, blur: Floats | None = None) -> Ints:
    """(n,) indices of the points, those to keep first; of equals the earlier index.

    Args:
        keep: the farthest from its cluster's centroid first, the closest first, or the sharpest first.
        distance: (n,) to the centroid of the point's cluster.
        blur: (n,) variance of the Laplacian, low is blurred; unknown (NaN) ranks last. Needed for "sharpest".

    Raises:
        ValueError: the sharpest are to be kept and no blur is given.
    """
    if keep != "sharpest":
        return np.argsort(-distance if keep == "farthest" else distance, kind="stable")
    if blur is None:
        raise ValueError("dedup_keep 'sharpest' needs the blur of every point; give it, or keep 'farthest' or 'closest'")
    return np.argsort(-np.nan_to_num(blur, nan=-np.inf), kind="stable")


def nearest_before(
    vectors: npt.NDArray[Any], members: Ints, *, first: int = 0, last: int | None = None, block_rows: int = 1024
) -> tuple[Ints, Floats]:
    """For each of the ranked members first to last, the position of the most similar member before it, and their cosine.

    -1 and -1 for the very first; of equally similar ones the earliest is named. Vectors are read and compared block_rows at a time, so
    that memory does not grow with the cluster.

    Args:
        vectors: (n, d) an array or a memmap, not scaled.
        members: (m,) rows of `vectors` that form one cluster, by rank.
        first: of the members that are looked up; those before are only compared with.
        last: end of the members that are looked up; all where not given.
        block_rows: members of a block.
    """
    last = len(members) if last is None else last
    nearest = np.full(last - first, -1, np.int64)
    similarity = np.full(last - first, -1, np.float32)
    for start in range(first, last, block_rows):
        stop = min(start + block_rows, last)
        best, cosine = nearest[start - first : stop - first], similarity[start - first : stop - first]  # views
        own = unit(vectors[members[start:stop]])
        for column in (*range(0, start, block_rows), start):
            is_own = column == start
            other = own if is_own else unit(vectors[members[column : min(column + block_rows, start)]])
            product = own @ other.T
            if is_own:
                product[np.triu_indices(len(product))] = -np.inf  # itself and those after it
            found = product.argmax(axis=1)
            value = np.clip(product[np.arange(len(product)), found], None, 1)
            # A later block must be strictly better; in the first block anything real beats the -1 of "none yet".
            better = (value > cosine) | ((best < 0) & np.isfinite(value))
            best[better], cosine[better] = column + found[better], np.maximum(value[better], -1)
    return nearest, similarity
