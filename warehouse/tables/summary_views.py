"""How many frames each step left, what datasets are made of, who is best, and what ran.

A dataset of the same content under two names has one id, two rows and two sets of shards.
"""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["SUMMARY_VIEWS"]

SUMMARY_VIEWS: dict[str, View] = {
    "funnel": View(
        "How many current frames were sampled, dropped for each reason, and kept, with their share of all",
        """
        WITH counted AS MATERIALIZED (SELECT keep, drop_reason, count(*) AS num_frames FROM current_frames GROUP BY keep, drop_reason),
        steps AS (
            SELECT 1 AS position, 'sampled' AS step, NULL::VARCHAR AS reason, coalesce(sum(num_frames), 0)::BIGINT AS num_frames
            FROM counted
            UNION ALL SELECT 2, 'dropped', drop_reason, num_frames FROM counted WHERE NOT keep
            UNION ALL SELECT 3, 'kept', NULL, coalesce(sum(num_frames), 0)::BIGINT FROM counted WHERE keep)
        SELECT position, step, reason, num_frames, num_frames / greatest(1, max(num_frames) OVER ()) AS share
        FROM steps ORDER BY position, num_frames DESC""",
    ),
    "per_mode": View(
        "Current frames by imaging mode: how many there are, are kept, and were dropped as out of body",
        """
        SELECT coalesce(imaging_mode, 'unknown') AS imaging_mode, count(*) AS num_frames, count(*) FILTER (keep) AS num_kept,
               count(*) FILTER (NOT keep AND drop_reason LIKE 'out_of_body%') AS num_out_of_body
        FROM current_frames GROUP BY ALL ORDER BY num_frames DESC""",
    ),
    "dataset_funnel": View(
        "How many frames (or clips) each step left of each dataset: held out, candidates, unique by three measures, selected, in shards",
        """
        WITH chosen AS (SELECT dataset_id, name, dedup_id, selection_id FROM datasets),
        -- a deduplication's content says nothing of what was held out before it; its runs' inputs do
        held AS (
            SELECT DISTINCT o.artifact_id AS dedup_id, a.artifact_id AS holdout_id
            FROM edges o JOIN edges i ON i.run_id = o.run_id AND i.direction = 'input'
            JOIN artifacts a ON a.artifact_id = i.artifact_id AND a.kind = 'holdout' WHERE o.direction = 'output'),
        steps AS (
            SELECT c.dataset_id, c.name, 0 AS position, 'held out' AS step, count(DISTINCT h.frame_id) AS num_frames
            FROM chosen c JOIN held USING (dedup_id) LEFT JOIN holdout h ON h.holdout_id = held.holdout_id GROUP BY ALL
            UNION ALL
            SELECT c.dataset_id, c.name, 1 AS position, 'candidates' AS step, count(*) AS num_frames
            FROM chosen c JOIN dedup d USING (dedup_id) GROUP BY ALL
            UNION ALL SELECT c.dataset_id, c.name, 2, 'without copies', count(*) FILTER (d.kind IS DISTINCT FROM 'exact')
            FROM chosen c JOIN dedup d USING (dedup_id) GROUP BY ALL
            UNION ALL SELECT c.dataset_id, c.name, 3, 'without look-alikes',
                   count(*) FILTER (coalesce(d.kind, '') NOT IN ('exact', 'perceptual'))
            FROM chosen c JOIN dedup d USING (dedup_id) GROUP BY ALL
            UNION ALL SELECT c.dataset_id, c.name, 4, 'unique', count(*) FILTER (NOT d.is_duplicate)
            FROM chosen c JOIN dedup d USING (dedup_id) GROUP BY ALL
            UNION ALL SELECT c.dataset_id, c.name, 5, 'selected', count(*)
            FROM chosen c JOIN selections s USING (selection_id) GROUP BY ALL
            UNION ALL SELECT c.dataset_id, c.name, 6, 'in shards', count(DISTINCT f.frame_id)
            FROM chosen c JOIN (
                SELECT dataset_id, frame_id FROM shard_frames UNION ALL SELECT dataset_id, clip_id FROM shard_clips) f
            USING (dataset_id) GROUP BY ALL)
        SELECT * FROM steps ORDER BY name, position""",
    ),
    "holdout_matches": View(
        "Frames that were held out: video, second, and the held-out picture, video or patient that each matches",
        """
        SELECT h.holdout_id, h.frame_id, v.uri AS video, round(f.pts_us / 1e6, 1) AS second, h.match_kind AS match, h.reference,
               h.reference_sha256, h.hash_distance, h.similarity, h.correlation, h.via_frame_id
        FROM holdout h JOIN frames f ON f.frame_id = h.frame_id JOIN latest_videos v ON v.video_id = f.video_id
        ORDER BY video, second""",
    ),
    "per_video": View(
        "Frames of each current video: sampled, kept, kept as a share, and uses in datasets",
        """
        WITH used AS (SELECT frame_id, count(DISTINCT dataset_id) AS num_uses FROM shard_frames GROUP BY frame_id),
        counted AS (
            SELECT f.video_id, count(*) FILTER (f.keep) AS num_kept, sum(u.num_uses)::BIGINT AS num_uses
            FROM current_frames f LEFT JOIN used u ON u.frame_id = f.frame_id GROUP BY f.video_id)
        SELECT v.video_id, v.uri, v.status, v.duration_s, v.num_frames_sampled, coalesce(c.num_kept, 0) AS num_frames_kept,
               coalesce(c.num_kept, 0) / greatest(1, v.num_frames_sampled) AS kept_share, coalesce(c.num_uses, 0) AS num_frames_in_datasets
        FROM latest_videos v LEFT JOIN counted c ON c.video_id = v.video_id""",
    ),
    "per_cluster": View(
        "How many unique frames each cluster of a dataset has at each level, and how many of them were selected",
        """
        SELECT d.name AS dataset, c.level, c.cluster_id, count(*) AS num_frames, count(s.frame_id) AS num_selected
        FROM datasets d JOIN clusters c ON c.tree_id = d.tree_id
        -- a tree takes in frames later, and keeps those that have become duplicates: neither was there to choose from
        JOIN dedup u ON u.dedup_id = d.dedup_id AND u.frame_id = c.frame_id AND NOT u.is_duplicate
        LEFT JOIN selections s ON s.selection_id = d.selection_id AND s.frame_id = c.frame_id
        GROUP BY ALL ORDER BY dataset, c.level, num_frames DESC""",
    ),
    "dataset_mix": View(
        "Videos that each dataset is made of, with the number of their frames (or clips) and the share of its images",
        """
        SELECT d.name AS dataset, f.video_id, v.uri, count(DISTINCT s.frame_id) AS num_frames,
               count(DISTINCT s.frame_id) / any_value(d.num_images) AS share
        FROM datasets d JOIN shard_frames s USING (dataset_id) JOIN frames f ON f.frame_id = s.frame_id
        JOIN videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key GROUP BY ALL
        UNION ALL
        SELECT d.name, c.video_id, v.uri, count(DISTINCT s.clip_id), count(DISTINCT s.clip_id) / any_value(d.num_images)
        FROM datasets d JOIN shard_clips s USING (dataset_id) JOIN clips c ON c.clip_id = s.clip_id
        JOIN latest_videos v ON v.video_id = c.video_id GROUP BY ALL
        ORDER BY dataset, num_frames DESC""",
    ),
    "leaderboard": View(
        "All scores, the best first within each task and metric; few-shot curves are left out",
        """
        SELECT task, split, metric, head, model, value, ci_low, ci_high, num_items, num_groups, model_id, seed, data_id,
               coalesce(details ->> 'leak', 'unknown') AS leak, coalesce(details ->> 'patients', 'unknown') AS patients,
               coalesce(details ->> 'leak_pretraining', 'unknown') AS leak_pretraining, details ->> 'image_size' AS image_size,
               details ->> 'protocol' AS protocol, details ->> 'split_protocol' AS division, details ->> 'fold' AS fold,
               details ->> 'settings' AS settings, details ->> 'interval' AS interval_method, score_id
        FROM scores WHERE (details ->> 'shots') IS NULL ORDER BY task, metric, value DESC""",
    ),
    "run_counts": View(
        "Runs by stage and status, and when the last ended",
        """
        SELECT stage, status, count(*) AS num_runs, max(ended_at) AS last FROM runs GROUP BY ALL ORDER BY last""",
    ),
    "run_times": View(
        "What ran, when, for how long, on which runner and machine, and why it failed",
        """
        SELECT stage, run_id, status, started_at, date_diff('millisecond', started_at, ended_at) / 1000 AS duration_s, runner, host, error
        FROM runs ORDER BY started_at""",
    ),
}
