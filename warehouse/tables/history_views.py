"""What each model came of, what each night brought, and what an hour of video cost."""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["HISTORY_MACROS", "HISTORY_VIEWS"]

HISTORY_VIEWS: dict[str, View] = {
    "models": View(
        "Each pretraining run with its chosen checkpoint, the datasets it saw, its size, length and validation, and its test scores",
        """
        WITH seen AS (
            SELECT e.run_id, list(DISTINCT d.name ORDER BY d.name) AS datasets, min(d.dataset_id) AS dataset_id,
                   min(d.num_images) AS num_images
            FROM edges e JOIN datasets d ON d.dataset_id = e.artifact_id WHERE e.direction = 'input' GROUP BY e.run_id),
        latest AS (
            SELECT s.* FROM scores s JOIN runs r ON r.run_id = s.run_id AND r.status = 'complete'
            WHERE (s.details ->> 'shots') IS NULL
            QUALIFY row_number() OVER (
                PARTITION BY s.model_id, s.task, s.head, s.metric, s.split ORDER BY r.ended_at DESC, s.score_id) = 1),
        scored AS (
            SELECT model_id, count(*) AS num_scores, list({'task': task, 'head': head, 'metric': metric, 'value': value}
                   ORDER BY task, head, metric) AS scores
            FROM latest GROUP BY model_id)
        SELECT r.run_id, c.checkpoint_id, c.step, c.path, s.datasets, s.dataset_id, s.num_images,
               r.config ->> '$.model.architecture' AS architecture, (r.config ->> '$.train.num_steps')::BIGINT AS num_steps,
               (r.config ->> '$.train.batch_size')::BIGINT AS batch_size, c.validation_metric, c.validation_score,
               coalesce(t.num_scores, 0) AS num_scores, t.scores, r.ended_at,
               date_diff('millisecond', r.started_at, r.ended_at) / 1000 AS duration_s
        FROM runs r JOIN checkpoints c ON c.run_id = r.run_id AND c.is_best LEFT JOIN seen s ON s.run_id = r.run_id
        LEFT JOIN scored t ON t.model_id = c.checkpoint_id
        WHERE r.stage = 'pretrain' AND r.status = 'complete' ORDER BY r.ended_at DESC""",
    ),
    "nights": View(
        "What ran from noon to noon (UTC) and what it brought: runs, failures, videos, frames kept and rejects",
        """
        WITH of_night AS (SELECT *, CAST(started_at AT TIME ZONE 'UTC' - INTERVAL 12 HOUR AS DATE) AS night FROM runs),
        ingested AS (
            SELECT n.night, count(*) AS num_videos, sum(v.duration_s) / 3600 AS video_hours, sum(v.num_frames_kept)::BIGINT AS num_kept
            FROM videos v JOIN of_night n ON n.run_id = v.run_id AND n.status = 'complete' GROUP BY n.night),
        refused AS (
            SELECT n.night, count(*) AS num_rejects
            FROM rejects x JOIN of_night n ON n.run_id = x.run_id AND n.status = 'complete' GROUP BY n.night)
        SELECT r.night, count(*) AS num_runs, count(*) FILTER (r.status = 'failed') AS num_failed,
               list(DISTINCT r.stage ORDER BY r.stage) AS stages,
               sum(date_diff('millisecond', r.started_at, r.ended_at)) / 1000 AS duration_s,
               coalesce(any_value(i.num_videos), 0) AS num_videos, coalesce(any_value(i.video_hours), 0) AS video_hours,
               coalesce(any_value(i.num_kept), 0) AS num_frames_kept, coalesce(any_value(x.num_rejects), 0) AS num_rejects
        FROM of_night r LEFT JOIN ingested i ON i.night = r.night LEFT JOIN refused x ON x.night = r.night
        GROUP BY r.night ORDER BY r.night""",
    ),
    "rejects_by_day": View(
        "Files that were rejected on each day (UTC), by reason",
        """
        SELECT CAST(r.started_at AT TIME ZONE 'UTC' AS DATE) AS day, x.reason, count(*) AS num_files, sum(x.num_bytes)::BIGINT AS num_bytes
        FROM rejects x JOIN runs r ON r.run_id = x.run_id AND r.status = 'complete' GROUP BY ALL ORDER BY day, num_files DESC""",
    ),
    "cost_per_video_hour": View(
        "Seconds that the complete runs of each stage took together, for each hour of video in the lake",
        """
        WITH held AS (SELECT sum(duration_s) / 3600 AS video_hours FROM latest_videos)
        SELECT stage, count(*) AS num_runs, sum(date_diff('millisecond', started_at, ended_at)) / 1000 AS duration_s,
               any_value(h.video_hours) AS video_hours,
               sum(date_diff('millisecond', started_at, ended_at)) / 1000 / nullif(any_value(h.video_hours), 0) AS seconds_per_video_hour
        FROM runs, held h WHERE status = 'complete' GROUP BY stage ORDER BY duration_s DESC""",
    ),
}

HISTORY_MACROS: dict[str, View] = {
    "dataset_diff(a, b)": View(
        "Frames, or clips, that only one of two datasets holds, by their names: which, of which video, and where it lies",
        """
        WITH held AS (
            SELECT d.name, s.frame_id FROM datasets d JOIN shard_frames s USING (dataset_id)
            UNION
            SELECT d.name, s.clip_id FROM datasets d JOIN shard_clips s USING (dataset_id)),
        one AS (
            SELECT frame_id, any_value(name) AS only_in FROM held WHERE name IN (CAST(a AS VARCHAR), CAST(b AS VARCHAR))
            GROUP BY frame_id HAVING count(DISTINCT name) = 1)
        SELECT o.only_in, o.frame_id, coalesce(f.video_id, c.video_id) AS video_id, v.uri,
               coalesce(f.pts_us / 1e6, c.start_us / 1e6) AS second
        FROM one o LEFT JOIN frames f ON f.frame_id = o.frame_id LEFT JOIN clips c ON c.clip_id = o.frame_id
        LEFT JOIN latest_videos v ON v.video_id = coalesce(f.video_id, c.video_id)
        WHERE CAST(a AS VARCHAR) <> CAST(b AS VARCHAR) ORDER BY o.only_in, v.uri, second""",
    ),
}
