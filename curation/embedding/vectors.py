"""The vectors of chosen frames out of embedding parts: in one file or some at a time in the frames' order, or of a few frames in memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.embedding.vector_file import VectorFile, open_vectors, write_vectors
from warehouse.records import EmbeddingPart

__all__ = ["gather_vectors", "read_part", "vectors_in_order", "vectors_of"]

_BATCH_VALUES = 1 << 25


def read_part(path: Path, dim: int) -> tuple[list[str], npt.NDArray[np.float16]]:
    """The frame ids of an embedding part and their vectors, (n, dim). Parts of before version 2 hold lists of variable size; both are read.

    Raises:
        ValueError: the vectors are not of that size.
    """
    frame_ids, vectors = _read(path, dim)
    return frame_ids.to_pylist(), vectors


def gather_vectors(frames: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, out: Path) -> VectorFile:
    """Write the vectors of frames to one float16 .npy in the order of the frames; a file that is there already is taken as it is.

    Parts are read as the frames come: where the frames of a pack stand together, as by video, each is read about once, and memory is a
    batch of vectors and a few parts, however many frames there are.

    Args:
        frames: Parquet with the columns frame_id and pack_id.
        parts: embeddings of the packs of every one of them, and of others.
        lake_root: what the parts' paths are relative to.
        out: the .npy; `np.load(out, mmap_mode="r")` maps it.

    Raises:
        ValueError: a frame has no embedding.
    """
    if out.exists():
        return open_vectors(out)
    dim = parts[0].dim
    return write_vectors(out, vectors_in_order(frames, parts, lake_root=lake_root), num_rows=pq.read_metadata(frames).num_rows, dim=dim)


def vectors_in_order(frames: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path) -> Iterator[npt.NDArray[np.float16]]:
    """The vectors that `gather_vectors` writes, a batch of frames at a time."""
    batch_rows = max(1, _BATCH_VALUES // parts[0].dim)
    by_pack = {part.pack_id: part for part in parts}

    @functools.lru_cache(maxsize=4)  # a pack's frames may go on in the next batch
    def load(pack_id: str) -> tuple[pa.Array, npt.NDArray[Any]]:
        part = by_pack[pack_id]
        return _read(lake_root / part.path, part.dim)

    for batch in pq.ParquetFile(frames).iter_batches(batch_size=batch_rows, columns=["frame_id", "pack_id"]):
        packs = batch["pack_id"].dictionary_encode()
        codes = packs.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        vectors: npt.NDArray[np.float16] | None = None
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            pack_id = packs.dictionary[int(codes[rows[0]])].as_py()
            wanted = batch["frame_id"].take(pa.array(rows))
            if pack_id not in by_pack:
                raise _missing(wanted, pa.array([], pa.int32()).take(pa.nulls(len(wanted), pa.int32())))
            frame_ids, embedded = load(pack_id)
            places = pc.index_in(wanted, value_set=frame_ids)
            if places.null_count:
                raise _missing(wanted, places)
            if vectors is None:
                vectors = np.empty((len(batch), embedded.shape[1]), np.float16)
            vectors[rows] = embedded[places.to_numpy()]
        if vectors is not None:
            yield vectors


def vectors_of(frame_ids: pa.Array, parts: Sequence[EmbeddingPart], lake_root: Path) -> npt.NDArray[np.float32]:
    """The vectors (N, dim) of a few frames, such as fit in memory, in their order.

    Args:
        frame_ids: which frames.
        parts: embeddings of every one of them, and of others.
        lake_root: what the parts' paths are relative to.

    Raises:
        ValueError: a frame has no embedding.
    """
    columns = [pq.read_table(lake_root / part.path, columns=["frame_id"])["frame_id"] for part in parts]
    starts = np.cumsum([0, *(len(column) for column in columns)])
    known = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    places = pc.index_in(frame_ids, value_set=known)
    if places.null_count:
        raise _missing(frame_ids, places)
    rows = places.to_numpy(zero_copy_only=False)
    vectors = np.empty((len(rows), parts[0].dim), np.float32)
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], starts)
    for part, start, first, last in zip(parts, starts[:-1], bounds[:-1], bounds[1:], strict=True):
        if first < last:
            path = lake_root / part.path
            embedded = _matrix(pq.read_table(path, columns=["embedding"])["embedding"], part.dim, path)
            vectors[order[first:last]] = embedded[rows[order[first:last]] - start]
    return vectors


def _read(path: Path, dim: int) -> tuple[pa.Array, npt.NDArray[Any]]:
    table = pq.read_table(path, columns=["frame_id", "embedding"])
    return table["frame_id"].combine_chunks(), _matrix(table["embedding"], dim, path)


def _matrix(embeddings: pa.ChunkedArray, dim: int, path: Path) -> npt.NDArray[Any]:
    """(n, dim) from the lists of the part at `path`, variable or fixed in size."""
    values: npt.NDArray[Any] = embeddings.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if len(values) != len(embeddings) * dim:
        raise ValueError(f"{path} holds {len(values)} numbers in {len(embeddings)} vectors, expected {dim} each; embed its pack again")
    return values.reshape(len(embeddings), dim)


def _missing(frame_ids: pa.Array, places: pa.Array) -> ValueError:
    lost = frame_ids.filter(pc.is_null(places))
    return ValueError(f"{len(lost)} frames have no embedding, such as {lost[0]}; run `endoforge embed` on this lake again")
