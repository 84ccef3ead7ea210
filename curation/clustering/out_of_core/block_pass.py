"""One pass of k-means over vectors on disk: workers assign blocks of rows and sum them per centroid, the driver adds the sums up.

The centroids go to the workers, and labels, distances and sums come back, through files beside each other: nothing large is pickled, and
on several machines the folder has to be one that all of them see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curation.clustering.nearest import Floats, assign
from curation.clustering.points import Pass
from curation.embedding import VectorFile, open_vectors
from warehouse.store import atomic_file

__all__ = ["Block", "Map", "assign_block", "assign_blocks", "blocks_of"]

_LEAST_BLOCK_ROWS = 1 << 16
_ROWS_PER_CENTROID = 4
"""of a block: its sums, 8 bytes a value, are then no larger than its float16 vectors"""


class Map(Protocol):
    """Applies a module-level function to items, here or in other processes, and yields the results in the items' order."""

    def __call__(self, function: Callable[..., Any], items: Sequence[Any], **shared: Any) -> Iterable[Any]:
        """Yield `function(item, **shared)` for each item; raises what an item has failed by."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows start to stop of a file of vectors."""

    number: int
    start: int
    stop: int


def blocks_of(num_rows: int, num_clusters: int) -> tuple[Block, ...]:
    """Cut rows into blocks; the cut depends on these numbers alone, so that any number of workers gives the same sums."""
    rows = max(_LEAST_BLOCK_ROWS, _ROWS_PER_CENTROID * num_clusters)
    starts = range(0, num_rows, rows)
    return tuple(Block(number, start, min(start + rows, num_rows)) for number, start in enumerate(starts))


def assign_block(block: Block, *, vectors: str, folder: str, with_sums: bool) -> str:
    """Assign the rows of a block to the centroids in the folder; returns the .npz that it wrote there.

    Memory is the centroids twice, their sums, 12 bytes a row and 100 MiB of vectors.

    Raises:
        ValueError: a vector is not finite.
    """
    points = open_vectors(Path(vectors)).rows(block.start, block.stop)
    centroids = np.load(Path(folder, "centroids.npy"))
    sums = np.zeros(centroids.shape) if with_sums else None
    nearest, distance = assign(points, centroids, sums)
    path = Path(folder, f"block-{block.number:06d}.npz")
    with atomic_file(path, durable=False) as file:
        np.savez(file, nearest=nearest, distance=distance, sums=np.zeros(0) if sums is None else sums)
    return str(path)


def assign_blocks(vectors: VectorFile, centroids: Floats, *, folder: Path, run_map: Map, with_sums: bool = True) -> Pass:
    """Assign all vectors to their nearest centroids, block by block under `run_map`.

    Memory of the caller is the centroids, the sums and one block's labels; those of all points are mapped from files in `folder`, which
    the next pass with the same folder writes anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "centroids.npy", durable=False) as file:
        np.save(file, centroids)
    nearest = np.lib.format.open_memmap(folder / "nearest.npy", "w+", np.int32, (vectors.num_rows,))
    distance = np.lib.format.open_memmap(folder / "distance.npy", "w+", np.float32, (vectors.num_rows,))
    counts = np.zeros(len(centroids), np.int64)
    sums = np.zeros(centroids.shape)
    inertia = 0.0
    blocks = blocks_of(vectors.num_rows, len(centroids))
    results = run_map(assign_block, blocks, vectors=str(vectors.path), folder=str(folder), with_sums=with_sums)
    for block, path in zip(blocks, results, strict=True):
        with np.load(path) as found:
            nearest[block.start : block.stop], distance[block.start : block.stop] = found["nearest"], found["distance"]
            counts += np.bincount(found["nearest"], minlength=len(centroids))
            inertia += float(np.square(found["distance"], dtype=np.float64).sum())
            if with_sums:
                sums += found["sums"]
        Path(path).unlink()
    changed = np.ones(len(centroids), np.bool_)
    return Pass(centroids, nearest, distance, inertia=inertia, counts=counts, sums=sums, changed=changed)
