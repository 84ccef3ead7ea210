"""Curation over the frames of a lake: deduplicate, cluster, select. Parquet in, Parquet and a record out.

The candidates file and the embedding parts come from the lake's queries; what is written here is committed to it by the stage run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from numpy.typing import NDArray

from curation.config import CurateConfig
from curation.dedup import default_dedup_clusters, semantic_dedup
from curation.kmeans import default_num_clusters, frame_paths, hierarchical_kmeans
from curation.sample import balanced_sample
from warehouse.records import ClusterTree, EmbeddingPart, Selection
from warehouse.schema import TABLES
from warehouse.store import atomic_file, file_sha256, write_parquet

__all__ = ["CURATE_VERSION", "cluster_frames", "deduplicate_frames", "select_frames"]

CURATE_VERSION = 1
"""raise when the same settings would give another dataset"""


def deduplicate_frames(
    candidates: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, out: Path, config: CurateConfig
) -> tuple[str, int]:
    """Write the `dedup` table's rows of the candidate frames to `out`.

    Args:
        candidates: Parquet with the column frame_id.
        parts: embeddings of every candidate.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        config: threshold, keep rule and seed.

    Returns:
        The dedup id (SHA-256 over the frames and the decisions) and the number of duplicates.
    """
    frame_ids = pq.read_table(candidates, columns=["frame_id"])["frame_id"].combine_chunks()
    vectors = _vectors_of(frame_ids, parts, lake_root)
    result = semantic_dedup(
        vectors,
        num_clusters=config.num_dedup_clusters or default_dedup_clusters(len(vectors)),
        threshold=config.dedup_threshold,
        keep=config.dedup_keep,
        seed=config.seed,
    )
    nearest = pa.array(result.nearest, mask=result.nearest < 0)
    rows = {
        "frame_id": frame_ids,
        "cluster_id": pa.array(result.cluster_id, pa.int32()),
        "nearest_frame_id": frame_ids.take(nearest),
        "similarity": pa.array(result.similarity, pa.float32(), mask=result.nearest < 0),
        "is_duplicate": pa.array(result.is_duplicate),
    }
    dedup_id = _write_with_id(out, "dedup", "dedup_id", rows)
    return dedup_id, int(result.is_duplicate.sum())


def cluster_frames(unique: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, out: Path, config: CurateConfig) -> ClusterTree:
    """Cluster the unique frames hierarchically; write the `clusters` table's rows to `out` and the centroids beside the lake's frames.

    Args:
        unique: Parquet with the column frame_id.
        parts: embeddings of every unique frame.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        config: levels, resampling steps and seed.
    """
    frame_ids = pq.read_table(unique, columns=["frame_id"])["frame_id"].combine_chunks()
    vectors = _vectors_of(frame_ids, parts, lake_root)
    num_clusters = config.num_clusters or default_num_clusters(len(vectors))
    levels = hierarchical_kmeans(
        vectors,
        num_clusters=num_clusters,
        num_resamples=config.num_resamples,
        resample_sizes=config.resample_sizes,
        max_iterations=config.max_iterations,
        seed=config.seed,
    )
    paths = frame_paths(levels)
    centroids = safetensors.numpy.save({f"centroids_{number}": level.centroids for number, level in enumerate(levels, start=1)})
    tree_id = hashlib.sha256(centroids).hexdigest()
    path = lake_root / "clusters" / f"{tree_id}.safetensors"
    with atomic_file(path) as file:
        file.write(centroids)

    num_frames, num_levels = paths.shape
    # the distance to the parent's centroid is known for the points of each level: a frame's at level 1, a centroid's above
    distances = [levels[0].distance]
    for level in range(1, num_levels):
        distances.append(levels[level].distance[paths[:, level - 1]])
    table = pa.table(
        {
            "tree_id": pa.array([tree_id]).take(pa.array(np.zeros(num_frames * num_levels, np.int32))),
            "frame_id": pa.chunked_array([frame_ids] * num_levels),
            "level": pa.array(np.repeat(np.arange(1, num_levels + 1, dtype=np.int32), num_frames)),
            "cluster_id": pa.array(paths.T.reshape(-1), pa.int32()),
            "distance": pa.array(np.concatenate(distances), pa.float32()),
        },
        schema=TABLES["clusters"],
    )
    write_parquet(out, table)
    return ClusterTree(
        tree_id=tree_id,
        encoder_id=parts[0].encoder_id,
        path=path.relative_to(lake_root).as_posix(),
        num_clusters=tuple(len(level.centroids) for level in levels),
        num_frames=num_frames,
    )


def select_frames(clustered: Path, tree_id: str, *, out: Path, config: CurateConfig) -> Selection:
    """Sample a balanced selection from the clustered frames and write the `selections` table's rows to `out`.

    Args:
        clustered: Parquet with frame_id, video_id, cluster_path (finest level first) and distance (to the finest centroid).
        tree_id: the clustering they come from.
        out: Parquet file to write.
        config: size, rule within a leaf and seed.
    """
    table = pq.read_table(clustered)
    paths = np.stack(table["cluster_path"].to_numpy(zero_copy_only=False)).astype(np.int32)
    indices = balanced_sample(
        paths,
        min(config.size, len(paths)),
        within_leaf=config.within_leaf,
        distance=table["distance"].to_numpy(),
        seed=config.seed,
        groups=table["video_id"].to_numpy(zero_copy_only=False) if config.max_per_video else None,
        max_per_group=config.max_per_video,
    )
    rows = {
        "frame_id": table["frame_id"].combine_chunks().take(pa.array(indices)),
        "rank": pa.array(np.arange(len(indices)), pa.int64()),
        "cluster_id": pa.array(paths[indices, 0], pa.int32()),
    }
    selection_id = _write_with_id(out, "selections", "selection_id", rows)
    return Selection(selection_id=selection_id, tree_id=tree_id, num_frames=len(indices), seed=config.seed)


def _vectors_of(frame_ids: pa.Array, parts: Sequence[EmbeddingPart], lake_root: Path) -> NDArray[np.float32]:
    """The vectors (N, dim) of the frames in their order."""
    wanted = {frame_id: position for position, frame_id in enumerate(frame_ids.to_pylist())}
    vectors = np.empty((len(wanted), parts[0].dim), np.float32)
    found = np.zeros(len(wanted), bool)
    for part in parts:
        table = pq.read_table(lake_root / part.path, columns=["frame_id", "embedding"])
        values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, part.dim)
        places = np.array([wanted.get(frame_id, -1) for frame_id in table["frame_id"].to_pylist()])
        vectors[places[places >= 0]] = values[places >= 0]
        found[places[places >= 0]] = True
    if not found.all():
        missing = frame_ids[int(np.argmin(found))]
        raise ValueError(f"{int((~found).sum())} frames have no embedding, such as {missing}; run `endoforge embed` on this lake again")
    return vectors


def _write_with_id(out: Path, table: str, id_column: str, columns: dict[str, pa.Array]) -> str:
    """Write rows under an id that is the hash of the rows themselves."""
    body = TABLES[table].remove(TABLES[table].get_field_index(id_column))
    write_parquet(out, pa.table(columns, schema=body))
    identifier = file_sha256(out)
    num_rows = len(next(iter(columns.values())))
    ids = pa.array([identifier]).take(pa.array(np.zeros(num_rows, np.int32)))
    write_parquet(out, pa.table({id_column: ids, **columns}, schema=TABLES[table]))
    return identifier
