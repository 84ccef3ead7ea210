"""Cluster the unique frames of a lake: Parquet in, the `clusters` table's rows and the tree's centroids out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from curation.curate_config import ClusterConfig
from curation.kmeans import default_num_clusters, frame_paths, hierarchical_kmeans
from curation.vectors import vectors_of
from warehouse.records import ClusterTree, EmbeddingPart
from warehouse.schema import TABLES
from warehouse.store import atomic_file, write_parquet

__all__ = ["CLUSTER_VERSION", "cluster_frames"]

CLUSTER_VERSION = 2
"""raise when the same settings would give another tree"""


def cluster_frames(
    unique: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, out: Path, config: ClusterConfig, seed: int
) -> ClusterTree:
    """Cluster the unique frames hierarchically; write the `clusters` table's rows to `out` and the centroids beside the lake's frames.

    Args:
        unique: Parquet with the column frame_id.
        parts: embeddings of every unique frame.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        config: levels and resampling steps.
        seed: of the clustering.
    """
    frame_ids = pq.read_table(unique, columns=["frame_id"])["frame_id"].combine_chunks()
    vectors = vectors_of(frame_ids, parts, lake_root)
    num_clusters = config.num_clusters or default_num_clusters(len(vectors))
    levels = hierarchical_kmeans(
        vectors,
        num_clusters=num_clusters,
        num_resamples=config.num_resamples,
        resample_sizes=config.resample_sizes,
        max_iterations=config.max_iterations,
        seed=seed,
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
