"""Decide by stored scores which candidates are duplicates: the `similarities` table's rows in, the `dedup` table's rows out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.curate_config import DedupConfig
from warehouse.identified import write_with_id

__all__ = ["DEDUP_VERSION", "KINDS", "decide_duplicates"]

DEDUP_VERSION = 2
"""raise when the same settings would give other decisions"""

KINDS = ("exact", "perceptual", "semantic")
"""what makes a frame a duplicate; of several the first is named"""


def decide_duplicates(similarities: Path, *, out: Path, config: DedupConfig) -> tuple[str, dict[str, int]]:
    """Write the `dedup` table's rows to `out`; one pass over the scores, no vector is looked at.

    Args:
        similarities: Parquet with the columns of that table, ordered by frame id.
        out: Parquet file to write.
        config: thresholds; search settings have no influence.

    Returns:
        The dedup id (SHA-256 over the frames and the decisions) and the number of duplicates of each kind.
    """
    scores = pq.read_table(similarities).combine_chunks()
    bits = -1 if config.dedup_hash_distance is None else config.dedup_hash_distance
    is_exact = pc.is_valid(scores["copy_of_frame_id"])
    is_perceptual = pc.fill_null(pc.less_equal(scores["hash_distance"], bits), False)
    is_semantic = pc.fill_null(pc.greater_equal(scores["similarity"], pa.scalar(config.dedup_threshold, pa.float32())), False)
    which = pc.make_struct(is_exact, is_perceptual, is_semantic, field_names=list(KINDS))
    kind = pc.case_when(which, *(pa.scalar(name) for name in KINDS))
    cases = (scores["copy_of_frame_id"], scores["look_alike_frame_id"], scores["nearest_frame_id"])
    rows = {
        "frame_id": scores["frame_id"],
        "cluster_id": scores["cluster_id"],
        "kind": kind,
        "nearest_frame_id": pc.case_when(which, *cases, scores["nearest_frame_id"]),
        "hash_distance": scores["hash_distance"],
        "similarity": scores["similarity"],
        "is_duplicate": pc.is_valid(kind),
    }
    dedup_id = write_with_id(out, "dedup", "dedup_id", rows)
    return dedup_id, {name: pc.sum(pc.equal(kind, name)).as_py() or 0 for name in KINDS}
