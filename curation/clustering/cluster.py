"""Cluster the unique frames of a lake, or place new frames in a tree that is there: Parquet in, the `clusters` table's rows out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from curation.clustering.config import ClusterConfig
from curation.clustering.in_memory import InMemory
from curation.clustering.kmeans import hierarchical_kmeans
from curation.clustering.out_of_core.block_pass import Map
from curation.clustering.out_of_core.on_disk import OnDisk
from curation.clustering.points import Level, Points
from curation.clustering.settings import KMeansSettings, default_num_clusters
from curation.clustering.splitting import MAX_CELL_VALUES
from curation.embedding import gather_vectors
from warehouse.records import ClusterTree, EmbeddingPart
from warehouse.schema import TABLES
from warehouse.store import atomic_file

__all__ = ["CLUSTER_VERSION", "PLACE_VERSION", "Clustering", "cluster_frames", "place_frames"]

CLUSTER_VERSION = 5
"""raise when the same settings would give another tree"""
PLACE_VERSION = 1
"""raise when the same frames would be placed otherwise in the same tree"""

_ROWS = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """A tree, and how close the frames it was fitted to are to its finest centroids."""

    tree: ClusterTree
    mean_distance: float
    """Euclidean, between unit vectors"""


def cluster_frames(
    unique: Path,
    parts: Sequence[EmbeddingPart],
    *,
    frames_id: str,
    lake_root: Path,
    out: Path,
    work: Path,
    config: ClusterConfig,
    seed: int,
    run_map: Map,
    report: Callable[[str], None],
) -> Clustering:
    """Cluster the unique frames hierarchically; write the `clusters` table's rows to `out` and the tree beside the lake's frames.

    Args:
        unique: Parquet with the columns frame_id and pack_id.
        parts: embeddings of every unique frame.
        frames_id: names the set of frames; it is part of the tree, so that only a clustering of the same frames has the same id.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        work: folder of this clustering alone; what is found there is gone on with.
        config: levels, resampling steps and memory.
        seed: of the clustering.
        run_map: where blocks of vectors are worked on, if they do not fit in memory.
        report: is told in sentences how that goes.
    """
    vectors = gather_vectors(unique, parts, lake_root=lake_root, out=work / "vectors.npy")
    num_clusters = config.num_clusters or default_num_clusters(vectors.num_rows)
    points = OnDisk(
        vectors=vectors,
        work=work,
        run_map=run_map,
        report=report,
        # float32 twice in half of the memory
        max_seed_points=max(num_clusters[0], int(config.max_memory_gb * 1e9 / (16 * vectors.dim))),
        max_cell_points=MAX_CELL_VALUES // vectors.dim,
    )
    settings = KMeansSettings(
        num_clusters=num_clusters,
        num_resamples=config.num_resamples,
        resample_sizes=config.resample_sizes,
        max_iterations=config.max_iterations,
        seed=seed,
    )
    levels = hierarchical_kmeans(_in_memory_if_fits(points, config.max_memory_gb), settings)
    # the levels above travel with the tree: whoever places a frame at a finest centroid later finds its path without computing again
    tensors: dict[str, npt.NDArray[Any]] = {"centroids_1": levels[0].centroids}
    for number, level in enumerate(levels[1:], start=2):
        tensors |= {f"centroids_{number}": level.centroids, f"assignment_{number}": level.assignment, f"distance_{number}": level.distance}
    content = safetensors.numpy.save(tensors, metadata={"frames": frames_id})
    tree_id = hashlib.sha256(content).hexdigest()
    path = lake_root / "clusters" / f"{tree_id}.safetensors"
    with atomic_file(path) as file:
        file.write(content)
    _write_rows(out, unique, tree_id, levels)
    tree = ClusterTree(
        tree_id=tree_id,
        encoder_id=parts[0].encoder_id,
        path=path.relative_to(lake_root).as_posix(),
        num_clusters=tuple(len(level.centroids) for level in levels),
        num_frames=vectors.num_rows,
    )
    return Clustering(tree=tree, mean_distance=float(np.mean(levels[0].distance, dtype=np.float64)))


def place_frames(
    frames: Path,
    parts: Sequence[EmbeddingPart],
    *,
    tree_id: str,
    tree_path: str,
    lake_root: Path,
    out: Path,
    work: Path,
    max_memory_gb: float,
    run_map: Map,
) -> float:
    """Place frames at the nearest finest centroids of a tree and write the `clusters` table's rows, all levels, to `out`.

    Args:
        frames: Parquet with the columns frame_id and pack_id; at least one row.
        parts: embeddings of every one of them, by the tree's encoder.
        tree_id: of the tree.
        tree_path: of its file, relative to `lake_root`.
        lake_root: what the paths are relative to.
        out: Parquet file to write.
        work: folder of these frames and this tree alone.
        max_memory_gb: above which it goes by blocks.
        run_map: where blocks are worked on.

    Returns:
        Mean distance of the frames to their finest centroids.
    """
    tensors = safetensors.numpy.load_file(lake_root / tree_path)
    num_levels = sum(name.startswith("centroids_") for name in tensors)
    above = [
        Level(tensors[f"centroids_{number}"], tensors[f"assignment_{number}"], tensors[f"distance_{number}"])
        for number in range(2, num_levels + 1)
    ]
    vectors = gather_vectors(frames, parts, lake_root=lake_root, out=work / "vectors.npy")
    points = _in_memory_if_fits(OnDisk(vectors=vectors, work=work, run_map=run_map), max_memory_gb)
    found = points.assign(tensors["centroids_1"])
    _write_rows(out, frames, tree_id, [found, *above])
    return float(np.mean(found.distance, dtype=np.float64))


def _in_memory_if_fits(points: OnDisk, max_memory_gb: float) -> Points:
    """The points in memory if they fit as float32 with the copy that seeding makes; else on disk."""
    num_rows, dim = points.vectors.shape
    if 2 * 4 * num_rows * dim <= max_memory_gb * 1e9:
        return InMemory(points.vectors.read(0, num_rows))
    points.report(f"clustering: {num_rows} x {dim} vectors do not fit in {max_memory_gb:g} GB, so it goes by blocks")
    return points


def _write_rows(out: Path, frames: Path, tree_id: str, levels: Sequence[Level]) -> None:
    """Rows of the frames in their order, some at a time: a frame is where its centroid is, level after level."""
    with atomic_file(out) as file, pq.ParquetWriter(file, TABLES["clusters"], compression="zstd") as writer:
        start = 0
        for batch in pq.ParquetFile(frames).iter_batches(batch_size=_ROWS, columns=["frame_id"]):
            rows = slice(start, start + len(batch))
            start = rows.stop
            cluster: npt.NDArray[Any] = np.arange(rows.start, rows.stop)
            for number, level in enumerate(levels, start=1):
                cluster, away = level.assignment[cluster], level.distance[cluster]
                columns = {
                    "tree_id": pa.array([tree_id]).take(pa.array(np.zeros(len(batch), np.int32))),
                    "frame_id": batch["frame_id"].cast(pa.string()),
                    "level": pa.array(np.full(len(batch), number, np.int32)),
                    "cluster_id": pa.array(cluster, pa.int32()),
                    "distance": pa.array(away, pa.float32()),
                }
                writer.write_table(pa.table(columns, schema=TABLES["clusters"]))
