"""What a dataset's cards say of it, as plain values out of SQL: the same for the same lake, free of clock, path and person."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.dataset_audit import DatasetAudit, dataset_audit
from warehouse.lake import Lake
from warehouse.private_frames import FlaggedVideo, flagged_videos

__all__ = ["DatasetFacts", "MixRow", "dataset_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """How much of a dataset comes from one site, device or procedure."""

    value: str | None
    """None where nobody said"""
    num_images: int
    num_videos: int
    num_patients: int
    """of those that are known"""
    share: float
    share_of_candidates: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """Everything that the lake knows of a dataset as a whole."""

    num_frames: int
    num_videos: int
    num_patients: int
    num_images_without_patient: int
    funnel: tuple[tuple[str, str, int], ...]
    """step, reason and number of frames, from sampling to the shards"""
    rejects: tuple[tuple[str, int], ...]
    """reason and number of files that gave no frame"""
    mixes: dict[str, tuple[MixRow, ...]]
    """by site, device and procedure"""
    entropy: float
    """of the images over the finest clusters, as a share of the most there can be"""
    entropy_of_candidates: float
    num_boxed: int
    """frames with a box over text"""
    text_share: float
    """mean share of a frame that boxes over text hide"""
    flagged: tuple[FlaggedVideo, ...]
    """of its videos, those flagged for what privacy filters took"""
    audit: DatasetAudit
    stages: tuple[tuple[str, str, str, dict[str, Any]], ...]
    """stage, run id, code version and settings of each run it came from, in the order of the data's way"""


_STAGES = ("ingest", "requalify", "embed", "dedup", "cluster", "select")


def dataset_facts(lake: Lake, samples: Path, *, dataset_id: str, selection_id: str, made_from: Mapping[str, str]) -> DatasetFacts:
    """Gather the facts of a dataset whose `samples.parquet` is written, committed or not.

    Args:
        lake: where it was made.
        samples: its table of frames.
        dataset_id: by which its audits are known.
        selection_id: of the frames that were chosen for it.
        made_from: dedup_id, tree_id and encoder_id.
    """
    path = str(samples)
    used = "(SELECT DISTINCT frame_id FROM read_parquet($1)) s JOIN frames f USING (frame_id) LEFT JOIN video_info i USING (video_id)"
    (counts,) = lake.rows(
        f"""SELECT count(*) AS num_frames, count(DISTINCT f.video_id) AS num_videos,
                   (SELECT count(DISTINCT one) FROM (
                       SELECT unnest(patient_ids) AS one FROM video_info WHERE video_id IN (SELECT f.video_id FROM {used})
                   )) AS num_patients,
                   count(*) FILTER (i.patient_id IS NULL) AS num_images_without_patient,
                   count(*) FILTER (f.text_share > 0) AS num_boxed, coalesce(avg(f.text_share), 0)::DOUBLE AS text_share FROM {used}""",
        [path],
    )
    funnel = lake.rows("SELECT step, coalesce(reason, '') AS reason, num_frames FROM funnel ORDER BY position, num_frames DESC, reason")
    (dedup,) = lake.rows(
        "SELECT count(*) AS num, count(*) FILTER (NOT is_duplicate) AS num_unique FROM dedup WHERE dedup_id = $1", [made_from["dedup_id"]]
    )
    (selected,) = lake.rows("SELECT count(*) AS num FROM selections WHERE selection_id = $1", [selection_id])
    steps = [(row["step"], row["reason"], row["num_frames"]) for row in funnel]
    steps += [("candidates", "", dedup["num"]), ("unique", "", dedup["num_unique"]), ("selected", "", selected["num"])]
    steps += [("in shards", "", counts["num_frames"])]
    rejects = lake.rows("SELECT reason, count(DISTINCT uri) AS num FROM rejects GROUP BY reason ORDER BY num DESC, reason")
    return DatasetFacts(
        **counts,
        flagged=_flagged(lake, path),
        funnel=tuple(steps),
        rejects=tuple((row["reason"], row["num"]) for row in rejects),
        mixes={column: _mix(lake, column, path, made_from["dedup_id"]) for column in ("site", "device", "procedure")},
        entropy=_entropy(lake, "SELECT DISTINCT frame_id FROM read_parquet($2)", made_from["tree_id"], path),
        entropy_of_candidates=_entropy(
            lake, "SELECT frame_id FROM clusters WHERE tree_id = $1 AND level = 1 AND $2 <> ''", made_from["tree_id"], path
        ),
        audit=dataset_audit(lake, dataset_id, samples=samples),
        stages=_stages(lake, path, (selection_id, made_from["tree_id"], made_from["dedup_id"]), made_from["encoder_id"]),
    )


def _mix(lake: Lake, column: str, path: str, dedup_id: str) -> tuple[MixRow, ...]:
    rows = lake.rows(
        f"""WITH used AS (SELECT DISTINCT frame_id FROM read_parquet($1)),
            known AS (
                SELECT i.{column} AS value, f.video_id, u.frame_id IS NOT NULL AS is_used
                FROM dedup d JOIN frames f USING (frame_id) LEFT JOIN video_info i ON i.video_id = f.video_id
                LEFT JOIN used u ON u.frame_id = d.frame_id WHERE d.dedup_id = $2),
            patients AS (
                SELECT value, count(DISTINCT one) AS num_patients FROM (
                    SELECT k.value, unnest(i.patient_ids) AS one
                    FROM (SELECT DISTINCT value, video_id FROM known WHERE is_used) k JOIN video_info i USING (video_id))
                GROUP BY value)
            SELECT known.value, count(*) FILTER (is_used) AS num_images, count(DISTINCT video_id) FILTER (is_used) AS num_videos,
                   coalesce(any_value(p.num_patients), 0) AS num_patients, count(*) AS num_candidates
            FROM known LEFT JOIN patients p ON p.value IS NOT DISTINCT FROM known.value
            GROUP BY known.value ORDER BY num_images DESC, known.value NULLS LAST""",
        [path, dedup_id],
    )
    num_images = max(1, sum(row["num_images"] for row in rows))
    num_candidates = max(1, sum(row["num_candidates"] for row in rows))
    return tuple(
        MixRow(
            value=row["value"],
            num_images=row["num_images"],
            num_videos=row["num_videos"],
            num_patients=row["num_patients"],
            share=row["num_images"] / num_images,
            share_of_candidates=row["num_candidates"] / num_candidates,
        )
        for row in rows
    )


def _entropy(lake: Lake, frames: str, tree_id: str, path: str) -> float:
    rows = lake.rows(
        f"""WITH sizes AS (SELECT cluster_id, count(s.frame_id) AS n FROM clusters c LEFT JOIN ({frames}) s ON s.frame_id = c.frame_id
                WHERE c.tree_id = $1 AND c.level = 1 GROUP BY cluster_id)
            SELECT n FROM sizes ORDER BY n""",
        [tree_id, path],
    )
    sizes = [row["n"] for row in rows if row["n"]]
    if len(rows) < 2 or not sizes:
        return 1.0
    total: int = sum(sizes)
    return float(-sum(size / total * math.log(size / total) for size in sizes)) / math.log(len(rows))


def _flagged(lake: Lake, path: str) -> tuple[FlaggedVideo, ...]:
    videos = lake.rows(
        "SELECT DISTINCT f.video_id FROM (SELECT DISTINCT frame_id FROM read_parquet($1)) s JOIN frames f USING (frame_id)", [path]
    )
    used = {row["video_id"] for row in videos}
    return tuple(video for video in flagged_videos(lake) if video.video_id in used)


def _stages(lake: Lake, path: str, artifact_ids: tuple[str, ...], encoder_id: str) -> tuple[tuple[str, str, str, dict[str, Any]], ...]:
    rows = lake.rows(
        """WITH wanted AS (
               SELECT run_id FROM edges WHERE direction = 'output' AND list_contains($2::VARCHAR[], artifact_id)
               UNION SELECT v.run_id FROM (SELECT DISTINCT frame_id FROM read_parquet($1)) s JOIN frames f USING (frame_id)
                     JOIN videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
               UNION SELECT run_id FROM runs WHERE stage = 'embed' AND (config ->> 'encoder_id') = $3
               UNION SELECT run_id FROM latest_requalification)
           SELECT stage, run_id, any_value(code_version) AS code_version, any_value(config) AS config
           FROM runs SEMI JOIN wanted USING (run_id) WHERE status = 'complete' GROUP BY stage, run_id ORDER BY stage, run_id""",
        [path, list(artifact_ids), encoder_id],
    )
    rows = [row for row in rows if row["stage"] in _STAGES]
    rows.sort(key=lambda row: _STAGES.index(row["stage"]))
    return tuple((row["stage"], row["run_id"], row["code_version"], _without_paths(json.loads(row["config"]))) for row in rows)


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Settings as a card may show them: a local model's path says where a hospital keeps things."""
    return {name: "(local path)" if isinstance(value, str) and "/" in value else value for name, value in config.items()}
