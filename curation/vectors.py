"""The vectors of chosen frames out of embedding parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse.records import EmbeddingPart

__all__ = ["read_part", "vectors_of"]


def read_part(path: Path, dim: int) -> tuple[list[str], NDArray[np.float16]]:
    """The frame ids of an embedding part and their vectors, (n, dim). Parts of before version 2 hold lists of variable size; both are read.

    Raises:
        ValueError: the vectors are not of that size.
    """
    table = pq.read_table(path, columns=["frame_id", "embedding"])
    values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if len(values) != table.num_rows * dim:
        raise ValueError(f"{path} holds {len(values)} numbers in {table.num_rows} vectors, expected {dim} each; embed its pack again")
    return table["frame_id"].to_pylist(), values.reshape(table.num_rows, dim)


def vectors_of(frame_ids: pa.Array, parts: Sequence[EmbeddingPart], lake_root: Path) -> NDArray[np.float32]:
    """The vectors (N, dim) of the frames in their order.

    Args:
        frame_ids: which frames.
        parts: embeddings of every one of them, and of others.
        lake_root: what the parts' paths are relative to.

    Raises:
        ValueError: a frame has no embedding.
    """
    wanted = {frame_id: position for position, frame_id in enumerate(frame_ids.to_pylist())}
    vectors = np.empty((len(wanted), parts[0].dim), np.float32)
    found = np.zeros(len(wanted), bool)
    for part in parts:
        part_ids, values = read_part(lake_root / part.path, part.dim)
        places = np.array([wanted.get(frame_id, -1) for frame_id in part_ids], np.int64)
        vectors[places[places >= 0]] = values[places >= 0]
        found[places[places >= 0]] = True
    if not found.all():
        missing = frame_ids[int(np.argmin(found))]
        raise ValueError(f"{int((~found).sum())} frames have no embedding, such as {missing}; run `endoforge embed` on this lake again")
    return vectors
