"""Decide by stored scores which candidates are duplicates: the `similarities` table's rows in, the `dedup` table's rows out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.dedup.config import DedupConfig
from warehouse.identified import write_batches_with_id

__all__ = ["DEDUP_VERSION", "KINDS", "decide_duplicates"]

DEDUP_VERSION = 2
"""raise when the same settings would give other decisions"""

KINDS = ("exact", "perceptual", "semantic")
"""what makes a frame a duplicate; of several the first is named"""

_ROWS = 1 << 18
"""that are decided at once"""


def decide_duplicates(similarities: Path, *, out: Path, config: DedupConfig) -> tuple[str, dict[str, int]]:
    """Write the `dedup` table's rows to `out`; one pass over the scores, some at a time; no vector is looked at.

    Args:
        similarities: Parquet with the columns of that table, ordered by frame id.
        out: Parquet file to write.
        config: thresholds; search settings have no influence.

    Returns:
        The dedup id (SHA-256 over the frames and the decisions) and the number of duplicates of each kind.
    """
    bits = -1 if config.dedup_hash_distance is None else config.dedup_hash_distance
    counts = dict.fromkeys(KINDS, 0)

    def decided() -> Iterator[dict[str, pa.Array]]:
        for scores in pq.ParquetFile(similarities).iter_batches(batch_size=_ROWS):
            rows = _decided(scores, bits=bits, threshold=config.dedup_threshold)
            for name in KINDS:
                counts[name] += pc.sum(pc.equal(rows["kind"], name)).as_py() or 0
            yield rows

    return write_batches_with_id(out, "dedup", "dedup_id", decided()), counts


def _decided(scores: pa.RecordBatch, *, bits: int, threshold: float) -> dict[str, pa.Array]:
    is_exact = pc.is_valid(scores["copy_of_frame_id"])
    is_perceptual = pc.fill_null(pc.less_equal(scores["hash_distance"], bits), False)
    is_semantic = pc.fill_null(pc.greater_equal(scores["similarity"], pa.scalar(threshold, pa.float32())), False)
    which = pc.make_struct(is_exact, is_perceptual, is_semantic, field_names=list(KINDS))
    kind = pc.case_when(which, *(pa.scalar(name) for name in KINDS))
    cases = (scores["copy_of_frame_id"], scores["look_alike_frame_id"], scores["nearest_frame_id"])
    return {
        "frame_id": scores["frame_id"],
        "cluster_id": scores["cluster_id"],
        "kind": kind,
        "nearest_frame_id": pc.case_when(which, *cases, scores["nearest_frame_id"]),
        "hash_distance": scores["hash_distance"],
        "similarity": scores["similarity"],
        "is_duplicate": pc.is_valid(kind),
    }
