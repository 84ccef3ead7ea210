"""Vectors on disk brought together by group, more of them than memory holds: blocks of rows, each sorted by group, in a file each.

A group is then one stretch of every file. Each file is written once, by whoever works on its block, and follows from the vectors and the
groups alone: what a killed run has left of them is used, and on several machines no two write to the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.out_of_core.block_pass import Block, Map
from curation.embedding import VectorFile, open_vectors, write_vectors
from warehouse.store import atomic_file

__all__ = ["GroupedVectors", "group_vectors", "grouped", "sort_block"]

_BLOCK_VALUES = 1 << 25
"""values of a block's vectors: 64 MiB of float16"""


@dataclass(frozen=True, slots=True)
class GroupedVectors:
    """(n, dim) vectors in g groups; a reference to the folder, cheap to pickle."""

    folder: Path
    dim: int

    def pieces(self, group: int) -> Iterator[npt.NDArray[Any]]:
        """The vectors of a group in the order of their rows, in their own type, some at a time."""
        # the numbers of one group lie together: nothing is read of the others
        first, last = np.array(np.load(self.folder / "starts.npy", mmap_mode="r")[group : group + 2])
        for number in np.flatnonzero(last > first):
            yield open_vectors(_block_file(self.folder, int(number))).stored(int(first[number]), int(last[number]))

    def read(self, group: int, size: int) -> npt.NDArray[np.float32]:
        """The vectors of a group of that size, (size, dim)."""
        vectors = np.empty((size, self.dim), np.float32)
        done = 0
        for piece in self.pieces(group):
            vectors[done : done + len(piece)] = piece
            done += len(piece)
        return vectors


def group_vectors(vectors: VectorFile, group_of: Path, *, num_groups: int, folder: Path, run_map: Map) -> GroupedVectors:
    """Sort vectors by group into files of `folder`, block by block under `run_map`; blocks that are there already are taken as they are.

    Memory of a worker is one block twice, 128 MiB of float16; of the caller, g * 24 bytes a block.

    Args:
        vectors: (n, d).
        group_of: .npy of each vector's group, (n,), 0 to num_groups - 1.
        num_groups: g.
        folder: of these vectors and groups alone.
        run_map: where blocks are worked on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = max(1, _BLOCK_VALUES // vectors.dim)
    blocks = [Block(number, start, min(start + rows, vectors.num_rows)) for number, start in enumerate(range(0, vectors.num_rows, rows))]
    groups = np.load(group_of, mmap_mode="r")
    counts = np.stack([np.bincount(groups[block.start : block.stop], minlength=num_groups) for block in blocks], axis=1)
    missing = [block for block in blocks if not _is_whole(_block_file(folder, block.number), block.stop - block.start, vectors)]
    for _ in run_map(sort_block, missing, vectors=str(vectors.path), group_of=str(group_of), folder=str(folder)):
        pass
    return _finished(folder, counts, vectors.dim)


def sort_block(block: Block, *, vectors: str, group_of: str, folder: str) -> str:
    """Write the rows of a block sorted by group; returns the file's path."""
    groups = np.load(group_of, mmap_mode="r")[block.start : block.stop]
    stored = open_vectors(Path(vectors)).stored(block.start, block.stop)
    return str(_write_block(Path(folder), block.number, stored, groups))


def grouped(
    pieces: Iterable[npt.NDArray[Any]], group_of: npt.NDArray[np.integer], *, num_groups: int, folder: Path, dim: int
) -> GroupedVectors:
    """The same here, for float16 vectors that come some at a time and lie in no file; memory is one piece twice."""
    start, counts = 0, []
    for number, piece in enumerate(pieces):
        groups = group_of[start : start + len(piece)]
        _write_block(folder, number, piece, groups)
        counts.append(np.bincount(groups, minlength=num_groups))
        start += len(piece)
    table = np.stack(counts, axis=1) if counts else np.zeros((num_groups, 0), np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    return _finished(folder, table, dim)


def _finished(folder: Path, counts: npt.NDArray[np.int64], dim: int) -> GroupedVectors:
    starts = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
    with atomic_file(folder / "starts.npy", durable=False) as file:
        np.save(file, starts)
    return GroupedVectors(folder, dim)


def _write_block(folder: Path, number: int, stored: npt.NDArray[Any], groups: npt.NDArray[np.integer]) -> Path:
    path = _block_file(folder, number)
    ordered = stored[np.argsort(groups, kind="stable")]
    write_vectors(path, [ordered], num_rows=len(ordered), dim=ordered.shape[1], dtype=ordered.dtype)
    return path


def _block_file(folder: Path, number: int) -> Path:
    return folder / f"block-{number:06d}.npy"


def _is_whole(path: Path, num_rows: int, vectors: VectorFile) -> bool:
    """A power cut can leave a file empty, or full of zeros, that a kill cannot."""
    if not path.exists() or path.stat().st_size < num_rows * vectors.dim * vectors.dtype.itemsize:
        return False
    try:
        found = open_vectors(path)
    except (ValueError, EOFError):
        return False
    return (found.num_rows, found.dim, found.dtype) == (num_rows, vectors.dim, vectors.dtype)
