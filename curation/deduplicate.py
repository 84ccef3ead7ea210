"""Deduplicate the candidate frames of a lake: Parquet in, the `dedup` table's rows out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.curate_config import DedupConfig
from curation.dedup import default_dedup_clusters, semantic_dedup
from curation.vectors import vectors_of
from warehouse.identified import write_with_id
from warehouse.records import EmbeddingPart

__all__ = ["DEDUP_VERSION", "deduplicate_frames"]

DEDUP_VERSION = 2
"""raise when the same settings would give other decisions"""


def deduplicate_frames(
    candidates: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, out: Path, config: DedupConfig, seed: int
) -> tuple[str, int]:
    """Write the `dedup` table's rows of the candidate frames to `out`.

    Args:
        candidates: Parquet with the column frame_id.
        parts: embeddings of every candidate.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        config: threshold and keep rule.
        seed: of the clusters that are searched.

    Returns:
        The dedup id (SHA-256 over the frames and the decisions) and the number of duplicates.
    """
    frame_ids = pq.read_table(candidates, columns=["frame_id"])["frame_id"].combine_chunks()
    vectors = vectors_of(frame_ids, parts, lake_root)
    result = semantic_dedup(
        vectors,
        num_clusters=config.num_dedup_clusters or default_dedup_clusters(len(vectors)),
        threshold=config.dedup_threshold,
        keep=config.dedup_keep,
        seed=seed,
    )
    nearest = pa.array(result.nearest, mask=result.nearest < 0)
    rows = {
        "frame_id": frame_ids,
        "cluster_id": pa.array(result.cluster_id, pa.int32()),
        "nearest_frame_id": frame_ids.take(nearest),
        "similarity": pa.array(result.similarity, pa.float32(), mask=result.nearest < 0),
        "is_duplicate": pa.array(result.is_duplicate),
    }
    dedup_id = write_with_id(out, "dedup", "dedup_id", rows)
    return dedup_id, int(result.is_duplicate.sum())
