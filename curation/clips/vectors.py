"""A clip's vector: the mean of those of its frames, of unit length, in parts that deduplication and clustering read as frames'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.embedding import vectors_in_order
from warehouse.records import EmbeddingPart
from warehouse.schema import embedding_schema
from warehouse.store import atomic_file, content_id, file_sha256, read_json, write_json

__all__ = ["ClipVectors", "clip_encoder_id", "mean_vectors", "read_clip_vectors"]

VECTORS_VERSION = 1
"""raise when the same frames would give other vectors"""

_CLIPS_PER_PART = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipVectors:
    """Vectors of clips, and the clips that have one."""

    parts: tuple[EmbeddingPart, ...]
    clips: str
    """Parquet below the lake's root, ordered by clip: frame_id (the clip's id), pack_id (names the part), video_id, blur, content and
    phash, as deduplication takes candidates"""
    num_clips: int


def mean_vectors(
    frames: Path, clips: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, folder: str, encoder_id: str
) -> ClipVectors:
    """Average the vectors of each clip's frames.

    Args:
        frames: Parquet with clip_id, frame_id and pack_id, ordered by clip; every clip has a frame.
        clips: Parquet with clip_id, video_id, blur and content of the same clips, ordered by clip.
        parts: embeddings of every frame.
        lake_root: what paths are relative to.
        folder: to write to, below the lake's root.
        encoder_id: of what the means are of; that of the vectors is made from it.

    Raises:
        ValueError: a frame has no embedding.
    """
    out = lake_root / folder
    out.mkdir(parents=True, exist_ok=True)
    told = pq.read_table(clips)
    ids: list[str] = told["clip_id"].to_pylist()
    made: list[EmbeddingPart] = []
    dim = parts[0].dim
    vectors = np.concatenate([np.zeros((0, dim), np.float16), *_means(frames, parts, lake_root=lake_root)])
    for start in range(0, len(ids), _CLIPS_PER_PART):
        chunk = slice(start, start + _CLIPS_PER_PART)
        path = f"{folder}/part-{start // _CLIPS_PER_PART:05d}.parquet"
        flat = pa.array(vectors[chunk].reshape(-1), pa.float16())
        embedded = pa.FixedSizeListArray.from_arrays(flat, dim)
        table = pa.table({"frame_id": ids[chunk], "embedding": embedded}, schema=embedding_schema(dim))
        with atomic_file(lake_root / path) as file:
            pq.write_table(table, file)
        digest = file_sha256(lake_root / path)
        made.append(
            EmbeddingPart(
                part_id=digest, pack_id=digest, encoder_id=clip_encoder_id(encoder_id), path=path, num_frames=table.num_rows, dim=dim
            )
        )
    packs = [part.pack_id for part in made for _ in range(part.num_frames)]
    columns: dict[str, Any] = {"frame_id": told["clip_id"], "pack_id": pa.array(packs, pa.string()), "video_id": told["video_id"]}
    columns |= {"blur": told["blur"], "content": told["content"], "phash": pa.nulls(len(ids), pa.uint64())}
    with atomic_file(out / "clips.parquet") as file:
        pq.write_table(pa.table(columns), file, compression="zstd")
    write_json(out / "parts.json", {"parts": [asdict(part) for part in made], "num_clips": len(ids)})
    return ClipVectors(parts=tuple(made), clips=f"{folder}/clips.parquet", num_clips=len(ids))


def read_clip_vectors(lake_root: Path, folder: str) -> ClipVectors:
    """What `mean_vectors` wrote to that folder.

    Raises:
        FileNotFoundError: there is nothing.
    """
    said = read_json(lake_root / folder / "parts.json")
    parts = tuple(EmbeddingPart(**part) for part in said["parts"])
    return ClipVectors(parts=parts, clips=f"{folder}/clips.parquet", num_clips=said["num_clips"])


def clip_encoder_id(encoder_id: str) -> str:
    """Names the vectors of clips, which are no vectors of frames."""
    return content_id({"mean over the frames of a clip": encoder_id, "version": VECTORS_VERSION})


def _means(frames: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path) -> Iterator[npt.NDArray[np.float16]]:
    """The mean of each clip, of unit length, a batch at a time; the sum of a clip goes on from one batch to the next."""
    owner = pq.read_table(frames, columns=["clip_id"])["clip_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    start, total = 0, np.zeros(parts[0].dim, np.float32)
    for batch in vectors_in_order(frames, parts, lake_root=lake_root):
        own = owner[start : start + len(batch)]
        first = np.flatnonzero(np.append(True, own[1:] != own[:-1]))
        sums = np.add.reduceat(batch.astype(np.float32), first, axis=0)
        if start and own[0] == owner[start - 1]:
            sums[0] += total
        elif start:
            yield _unit(total[None])
        start += len(batch)
        total = sums[-1]
        yield _unit(sums[:-1])
    if start:
        yield _unit(total[None])


def _unit(sums: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit: npt.NDArray[np.float16] = (sums / np.maximum(lengths, 1e-12)).astype(np.float16)
    return unit
