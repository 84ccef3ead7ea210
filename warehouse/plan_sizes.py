"""What a plan of curation or pretraining asks of the lake: how much there is, and how long former runs took for how much."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from warehouse.lake import Lake
from warehouse.provenance import current_provenance

__all__ = ["FormerRun", "PoolSizes", "finished_runs", "num_not_in_tree", "pool_sizes", "sample_jpegs", "training_speeds", "unique_share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSizes:
    """The frames that may be curated."""

    num_candidates: int
    jpeg_bytes: float
    """mean of a candidate's JPEG; 0 where there is none"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerRun:
    """A finished run of a stage on this machine."""

    stage: str
    seconds: float
    peak_memory_bytes: int | None
    """of all processes together; None where it was not recorded"""
    config: dict[str, Any]
    metrics: dict[str, Any]


def pool_sizes(lake: Lake) -> PoolSizes:
    """How many candidates there are, embedded or not."""
    (row,) = lake.rows("SELECT count(*) AS num_candidates, coalesce(avg(byte_size), 0)::DOUBLE AS jpeg_bytes FROM candidates")
    return PoolSizes(**row)


def sample_jpegs(lake: Lake, num: int) -> list[bytes]:
    """Some candidates' JPEGs, of one pack, to time an encoder by."""
    found = lake.rows("SELECT pack_path, byte_offset, byte_size FROM candidates ORDER BY pack_path, byte_offset LIMIT $1", [num])
    jpegs = []
    for row in found:
        with (lake.root / row["pack_path"]).open("rb") as file:
            file.seek(row["byte_offset"])
            jpegs.append(file.read(row["byte_size"]))
    return jpegs


def unique_share(lake: Lake) -> float:
    """Share of the candidates that the latest deduplication kept; 1 if there is none."""
    rows = lake.rows(
        """SELECT 1 - (metrics ->> 'num_duplicates')::DOUBLE / greatest(1, (metrics ->> 'num_frames')::DOUBLE) AS share FROM runs
           WHERE stage = 'dedup' AND status = 'complete' ORDER BY ended_at DESC LIMIT 1"""
    )
    return float(rows[0]["share"]) if rows else 1.0


def num_not_in_tree(lake: Lake, dedup_id: str, tree_id: str) -> int:
    """How many of the frames that a deduplication kept a tree lacks."""
    (row,) = lake.rows(
        """SELECT count(*) AS num FROM dedup d WHERE d.dedup_id = $1 AND NOT d.is_duplicate AND NOT EXISTS (
               SELECT 1 FROM clusters k WHERE k.tree_id = $2 AND k.level = 1 AND k.frame_id = d.frame_id)""",
        [dedup_id, tree_id],
    )
    return int(row["num"])


def finished_runs(lake: Lake) -> tuple[FormerRun, ...]:
    """All finished runs on this host, the latest last."""
    rows = lake.rows(
        """SELECT stage, (epoch(ended_at) - epoch(started_at))::DOUBLE AS seconds, peak_memory_bytes, config, metrics FROM runs
           WHERE status = 'complete' AND host = $1 ORDER BY ended_at""",
        [current_provenance().host],
    )
    return tuple(FormerRun(**{**row, "config": json.loads(row["config"]), "metrics": json.loads(row["metrics"])}) for row in rows)


def training_speeds(lake: Lake) -> list[tuple[str, dict[str, Any], list[tuple[int, float]]]]:
    """Of each finished pretraining run its id, settings and (step, images a second) as logged, the latest run last."""
    rows = lake.rows(
        """SELECT r.run_id, any_value(r.config) AS config, list(m.step ORDER BY m.step) AS steps, list(m.value ORDER BY m.step) AS speeds
           FROM runs r JOIN train_metrics m USING (run_id)
           WHERE r.stage = 'pretrain' AND r.status = 'complete' AND m.name = 'speed/images_per_s'
           GROUP BY r.run_id ORDER BY max(r.ended_at)"""
    )
    return [(row["run_id"], json.loads(row["config"]), list(zip(row["steps"], row["speeds"], strict=True))) for row in rows]
