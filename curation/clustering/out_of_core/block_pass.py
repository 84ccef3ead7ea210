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
import numpy.typing as npt

from curation.clustering.nearest import Floats, Ints, assign, assign_and_sum
from curation.embedding import VectorFile, open_vectors
from warehouse.store import atomic_file

__all__ = ["Block", "Map", "Pass", "assign_block", "blocks_of", "run_pass"]

_LEAST_BLOCK_ROWS = 1 << 16
_ROWS_PER_CENTROID = 4
"""of a block: its sums, 8 bytes a value, are then no larger than its float16 vectors"""
_PIECE_VALUES = 1 << 24
"""float32 values that a worker holds at once: 64 MiB"""


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


@dataclass(frozen=True, slots=True)
class Pass:
    """Every point at its nearest centroid."""

    nearest: Ints
    """(n,) memory-mapped"""
    distance: Floats
    """(n,) Euclidean, memory-mapped"""
    inertia: float
    """sum of squared distances"""
    counts: npt.NDArray[np.int64]
    """(k,) points of each centroid"""
    sums: npt.NDArray[np.float64] | None
    """(k, d) sum of the points of each centroid, where it was asked for"""


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
    points = open_vectors(Path(vectors))
    centroids = np.load(Path(folder, "centroids.npy"))
    found: dict[str, npt.NDArray[Any]] = {
        "nearest": np.empty(block.stop - block.start, np.int32),
        "distance": np.empty(block.stop - block.start, np.float32),
    }
    if with_sums:
        found["sums"] = np.zeros(centroids.shape)
    rows = max(1, _PIECE_VALUES // points.dim)
    for start in range(block.start, block.stop, rows):
        piece = points.read(start, min(start + rows, block.stop))
        place = slice(start - block.start, start - block.start + len(piece))
        if with_sums:
            found["nearest"][place], found["distance"][place], sums = assign_and_sum(piece, centroids)
            found["sums"] += sums
        else:
            found["nearest"][place], found["distance"][place] = assign(piece, centroids)
    path = Path(folder, f"block-{block.number:06d}.npz")
    with atomic_file(path, durable=False) as file:
        np.savez(file, **found)  # type: ignore[arg-type]  # numpy's stub takes the keywords for allow_pickle
    return str(path)


def run_pass(vectors: VectorFile, centroids: Floats, *, folder: Path, run_map: Map, with_sums: bool = True) -> Pass:
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
    sums = np.zeros(centroids.shape) if with_sums else None
    inertia = 0.0
    blocks = blocks_of(vectors.num_rows, len(centroids))
    results = run_map(assign_block, blocks, vectors=str(vectors.path), folder=str(folder), with_sums=with_sums)
    for block, path in zip(blocks, results, strict=True):
        with np.load(path) as found:
            nearest[block.start : block.stop], distance[block.start : block.stop] = found["nearest"], found["distance"]
            counts += np.bincount(found["nearest"], minlength=len(centroids))
            inertia += float(np.square(found["distance"], dtype=np.float64).sum())
            if sums is not None:
                sums += found["sums"]
        Path(path).unlink()
    return Pass(nearest, distance, inertia, counts, sums)
