"""The vectors of all frames of a tree, given out one finest cluster at a time, of which there are more than memory holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from curation.clustering import GroupedVectors, grouped
from curation.embedding import vectors_in_order, vectors_of
from curation.selection.diverse import Rows
from warehouse.records import EmbeddingPart

__all__ = ["vectors_by_leaf"]

_HELD_VALUES = 1 << 26
"""float32 values held at once: 256 MiB"""


@dataclass(slots=True)
class _ByGroup:
    """Rows in groups of whole leaves; holds the vectors of one group."""

    stored: GroupedVectors
    group_of: npt.NDArray[np.integer]
    """(n,) of each row"""
    held: int = -1
    rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    vectors: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __len__(self) -> int:
        return len(self.group_of)

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.float32]:
        group = int(self.group_of[rows[0]])
        if group != self.held:
            self.vectors = np.empty((0, 0), np.float32)  # before the next come
            self.rows = np.flatnonzero(self.group_of == group)
            self.vectors, self.held = self.stored.read(group, len(self.rows)), group
        taken: npt.NDArray[np.float32] = self.vectors[np.searchsorted(self.rows, rows)]
        return taken


@contextmanager
def vectors_by_leaf(
    frames: Path, leaf: npt.NDArray[np.integer], parts: Sequence[EmbeddingPart], *, lake_root: Path, near: Path
) -> Iterator[Rows]:
    """The vectors of frames, asked for a leaf at a time in the order of the leaves' numbers.

    Where they take more than 256 MiB they are written to a temporary folder, brought together by groups of whole leaves of about that
    size, and read a group at a time: memory is a group and one leaf, however many frames there are. A leaf larger than that is a group.

    Args:
        frames: Parquet with the columns frame_id and pack_id; best with the frames of a pack together.
        leaf: (n,) finest cluster of each frame.
        parts: embeddings of every one of them, and of others.
        lake_root: what the parts' paths are relative to.
        near: folder to make the temporary one in.

    Raises:
        ValueError: a frame has no embedding.
    """
    dim = parts[0].dim
    if len(leaf) * dim <= _HELD_VALUES:
        yield vectors_of(pq.read_table(frames, columns=["frame_id"])["frame_id"].combine_chunks(), parts, lake_root)
        return
    sizes = np.bincount(leaf)
    group_of = ((np.cumsum(sizes) - sizes) * dim // _HELD_VALUES).astype(np.int32)[leaf]
    for left in near.glob("by-leaf-*"):  # by a kill
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="by-leaf-", dir=near) as folder:
        pieces = vectors_in_order(frames, parts, lake_root=lake_root)
        yield _ByGroup(grouped(pieces, group_of, num_groups=int(group_of.max()) + 1, folder=Path(folder), dim=dim), group_of)
