"""What a report shows of a pretraining run, as plain values out of SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from warehouse.lake import Lake, LakeError
from warehouse.records import Score
from warehouse.schema import TABLES

__all__ = [
    "SHOWN_PREVIEWS",
    "FramePicture",
    "Preview",
    "RunSummary",
    "boxed_frames",
    "cluster_sizes",
    "dropped_previews",
    "num_boxed_frames",
    "picture_frames",
    "run_summary",
    "scores_of_pretraining",
    "stage_times",
    "training_curve",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A pretraining run and the dataset it learned from."""

    run_id: str
    dataset: str
    dataset_id: str
    num_images: int
    code_version: str
    host: str
    ended_at: str
    seed: int | None
    num_videos: int
    num_partial: int
    rejects: tuple[tuple[str, int], ...]
    """reason and number of files"""
    funnel: tuple[tuple[str, str, int], ...]
    """step, reason and number of frames"""
    dataset_funnel: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePicture:
    """Where a kept frame's JPEG lies."""

    frame_id: str
    pts_us: int
    pack_path: str
    byte_offset: int
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The small picture of a dropped frame."""

    frame_id: str
    pts_us: int
    jpeg: bytes


def run_summary(lake: Lake, run_id: str) -> RunSummary:
    """Gather the facts of a finished pretraining run.

    Raises:
        LakeError: there is no such run.
    """
    found = lake.rows(
        """SELECT d.name, d.dataset_id, d.num_images, r.code_version, r.host, r.seed,
                  strftime(r.ended_at, '%Y-%m-%d %H:%M UTC') AS ended_at
           FROM runs r JOIN edges e ON e.run_id = r.run_id AND e.direction = 'input' JOIN datasets d ON d.dataset_id = e.artifact_id
           WHERE r.run_id = $1 AND r.stage = 'pretrain' AND r.status = 'complete'""",
        [run_id],
    )
    if not found:
        raise LakeError(f"{run_id!r} is no finished pretraining run of {lake.root}; `endoforge sql` on runs lists them")
    row = found[0]
    videos = lake.rows("SELECT count(*) AS num, count(*) FILTER (status = 'partial') AS num_partial FROM latest_videos")[0]
    rejects = lake.rows("SELECT reason, count(DISTINCT uri) AS num FROM rejects GROUP BY reason ORDER BY num DESC, reason")
    funnel = lake.rows("SELECT step, coalesce(reason, '') AS reason, num_frames FROM funnel ORDER BY position, num_frames DESC")
    dataset_funnel = lake.rows(
        "SELECT DISTINCT position, step, num_frames FROM dataset_funnel WHERE dataset_id = $1 ORDER BY position", [row["dataset_id"]]
    )
    return RunSummary(
        run_id=run_id,
        dataset=row["name"],
        dataset_id=row["dataset_id"],
        num_images=row["num_images"],
        code_version=row["code_version"],
        host=row["host"],
        ended_at=row["ended_at"],
        seed=row["seed"],
        num_videos=videos["num"],
        num_partial=videos["num_partial"],
        rejects=tuple((item["reason"], item["num"]) for item in rejects),
        funnel=tuple((item["step"], item["reason"], item["num_frames"]) for item in funnel),
        dataset_funnel=tuple((item["step"], item["num_frames"]) for item in dataset_funnel),
    )


def picture_frames(lake: Lake, dataset_id: str, *, duplicates: bool, limit: int) -> tuple[FramePicture, ...]:
    """Some frames of a dataset, or some that its deduplication left out; the same ones at every call."""
    source = (
        "SELECT DISTINCT d.frame_id FROM datasets s JOIN dedup d USING (dedup_id) WHERE s.dataset_id = $1 AND d.is_duplicate"
        if duplicates
        else "SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id = $1"
    )
    rows = lake.rows(
        f"""SELECT frame_id, c.pts_us, c.pack_path, c.byte_offset, c.byte_size FROM ({source}) JOIN candidates c USING (frame_id)
            ORDER BY md5(frame_id) LIMIT $2""",
        [dataset_id, limit],
    )
    return tuple(FramePicture(**row) for row in rows)


def boxed_frames(lake: Lake, dataset_id: str, *, limit: int) -> tuple[FramePicture, ...]:
    """Some frames of a dataset with boxes over text, from its videos in turn; the same ones at every call."""
    rows = lake.rows(
        """WITH boxed AS (
               SELECT c.pack_path, c.byte_offset, c.byte_size, f.frame_id, f.pts_us, f.video_id
               FROM (SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id = $1) JOIN candidates c USING (frame_id)
               JOIN frames f ON f.frame_id = c.frame_id AND f.text_share > 0)
           SELECT frame_id, pts_us, pack_path, byte_offset, byte_size FROM boxed
           ORDER BY row_number() OVER (PARTITION BY video_id ORDER BY md5(frame_id)), md5(frame_id) LIMIT $2""",
        [dataset_id, limit],
    )
    return tuple(FramePicture(**row) for row in rows)


def num_boxed_frames(lake: Lake, dataset_id: str) -> int:
    """How many frames of a dataset have a box over text."""
    (row,) = lake.rows(
        """SELECT count(DISTINCT s.frame_id) AS num FROM shard_frames s JOIN frames f USING (frame_id)
           WHERE s.dataset_id = $1 AND f.text_share > 0""",
        [dataset_id],
    )
    return int(row["num"])


SHOWN_PREVIEWS = """previews p JOIN current_frames f ON f.frame_id = p.frame_id AND f.drop_reason = p.drop_reason
           ANTI JOIN removed_frames x ON x.frame_id = p.frame_id"""
"""Small pictures of dropped frames that may be shown, with their frames, as SQL. Ingest's reason must still hold: a frame that is held to
be private by now was not pixelated for another reason."""


def dropped_previews(lake: Lake, *, limit: int) -> dict[str, tuple[Preview, ...]]:
    """Some small pictures of dropped frames by reason; the same ones at every call."""
    rows = lake.rows(
        f"""SELECT p.drop_reason, p.frame_id, f.pts_us, p.jpeg FROM {SHOWN_PREVIEWS}
           QUALIFY row_number() OVER (PARTITION BY p.drop_reason ORDER BY md5(p.frame_id)) <= $1
           ORDER BY p.drop_reason, md5(p.frame_id)""",
        [limit],
    )
    found: dict[str, list[Preview]] = {}
    for row in rows:
        found.setdefault(row["drop_reason"], []).append(Preview(frame_id=row["frame_id"], pts_us=row["pts_us"], jpeg=row["jpeg"]))
    return {reason: tuple(pictures) for reason, pictures in found.items()}


def cluster_sizes(lake: Lake, dataset: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames in each finest cluster before and after sampling."""
    rows = lake.rows("SELECT num_frames, num_selected FROM per_cluster WHERE dataset = $1 AND level = 1 ORDER BY cluster_id", [dataset])
    return tuple(row["num_frames"] for row in rows), tuple(row["num_selected"] for row in rows)


def training_curve(lake: Lake, run_id: str, name: str) -> tuple[tuple[int, float], ...]:
    """Step and value of one training metric."""
    rows = lake.rows("SELECT step, value FROM train_metrics WHERE run_id = $1 AND name = $2 ORDER BY step", [run_id, name])
    return tuple((row["step"], row["value"]) for row in rows)


def stage_times(lake: Lake) -> list[dict[str, Any]]:
    """Seconds and metrics of the lake's finished runs, by stage in the order they were first done."""
    return lake.rows(
        """SELECT stage, sum(date_diff('millisecond', started_at, ended_at)) / 1000 AS seconds, any_value(runner) AS runner,
                  sum(coalesce(metrics ->> 'num_frames', metrics ->> 'num_frames_kept', metrics ->> 'num_steps', metrics ->> 'num_images',
                      metrics ->> 'num_selected', metrics ->> 'num_scores', '0')::DOUBLE)::BIGINT AS num_items
           FROM runs WHERE status = 'complete' AND stage NOT IN ('report', 'export', 'publish_begin', 'export_model', 'export_atlas')
           GROUP BY stage ORDER BY min(started_at)"""
    )


def scores_of_pretraining(lake: Lake, run_id: str) -> tuple[Score, ...]:
    """The scores of a pretraining run's checkpoints with the baselines scored beside them, few-shot curves aside."""
    columns = ", ".join(f"s.{name}" for name in TABLES["scores"].names if name not in ("run_id", "details"))
    rows = lake.rows(
        f"""SELECT DISTINCT {columns}, s.details FROM scores s JOIN edges e ON e.run_id = s.run_id AND e.direction = 'input'
            JOIN checkpoints c ON c.checkpoint_id = e.artifact_id WHERE c.run_id = $1
            AND (s.details ->> 'shots') IS NULL
            ORDER BY s.task, s.head, s.metric, s.value DESC, s.model""",
        [run_id],
    )
    return tuple(Score(**{**row, "details": json.loads(row["details"])}) for row in rows)
