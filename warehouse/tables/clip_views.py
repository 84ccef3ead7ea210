"""What holds now of clips: those of the latest cutting of each video, their frames, and counts by video and by reason."""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["CLIP_VIEWS"]

CLIP_VIEWS: dict[str, View] = {
    "current_clips": View(
        "Clips of the latest cutting of each current video by each settings (clip_key); one with a removed frame in it is refused",
        """
        WITH latest AS (
            SELECT v.* FROM clip_videos v JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
            JOIN latest_videos l ON l.video_id = v.video_id AND l.ingest_key = v.ingest_key
            QUALIFY row_number() OVER (PARTITION BY v.video_id, v.clip_key ORDER BY r.ended_at DESC, v.cut_key) = 1),
        removed AS MATERIALIZED (
            SELECT c.clip_id, c.cut_key, min(x.reason) AS reason
            FROM clips c JOIN frames f ON f.video_id = c.video_id AND f.pts_us BETWEEN c.start_us - 500000 AND c.end_us + 500000
            JOIN removed_frames x ON x.frame_id = f.frame_id GROUP BY ALL)
        SELECT c.* REPLACE (c.keep AND x.clip_id IS NULL AS keep, if(c.keep, x.reason, c.drop_reason) AS drop_reason),
               l.clip_key, l.ingest_key, l.path AS pack_path, l.pack_id
        FROM clips c JOIN latest l ON l.video_id = c.video_id AND l.cut_key = c.cut_key
        LEFT JOIN removed x ON x.clip_id = c.clip_id AND x.cut_key = c.cut_key""",
    ),
    "clip_frames": View(
        "Sampled frames that ingest kept and that lie in a kept clip: what the clip's vector is the mean of",
        """
        SELECT DISTINCT c.clip_id, f.frame_id, f.pts_us
        FROM clips c JOIN clip_videos v ON v.video_id = c.video_id AND v.cut_key = c.cut_key
        JOIN frames f ON f.video_id = c.video_id AND f.ingest_key = v.ingest_key AND f.pts_us BETWEEN c.start_us AND c.end_us
        WHERE c.keep AND f.keep""",
    ),
    "dataset_frames": View(
        "Frames of each dataset: its images, or the sampled frames of its clips",
        """
        SELECT dataset_id, frame_id FROM shard_frames
        UNION ALL SELECT s.dataset_id, f.frame_id FROM shard_clips s JOIN clip_frames f USING (clip_id)""",
    ),
    "clips_per_video": View(
        "Clips of each current video by settings (clip_key): cut, kept, refused, seconds kept, and uses in datasets",
        """
        WITH used AS (SELECT clip_id, count(DISTINCT dataset_id) AS num_uses FROM shard_clips GROUP BY clip_id)
        SELECT c.video_id, v.uri, c.clip_key, count(*) AS num_clips, count(*) FILTER (c.keep) AS num_kept,
               count(*) FILTER (NOT c.keep) AS num_refused, coalesce(sum(c.seconds) FILTER (c.keep), 0) AS seconds_kept,
               coalesce(sum(u.num_uses), 0)::BIGINT AS num_clips_in_datasets
        FROM current_clips c JOIN latest_videos v USING (video_id) LEFT JOIN used u USING (clip_id)
        GROUP BY ALL ORDER BY v.uri""",
    ),
    "clip_funnel": View(
        "How many current clips were cut, refused for each reason, and kept, with their seconds, by settings (clip_key)",
        """
        WITH counted AS (
            SELECT clip_key, keep, drop_reason, count(*) AS num_clips, sum(seconds) AS seconds FROM current_clips GROUP BY ALL),
        steps AS (
            SELECT clip_key, 1 AS position, 'cut' AS step, NULL::VARCHAR AS reason, sum(num_clips)::BIGINT AS num_clips,
                   sum(seconds) AS seconds FROM counted GROUP BY clip_key
            UNION ALL SELECT clip_key, 2, 'refused', drop_reason, num_clips, seconds FROM counted WHERE NOT keep
            UNION ALL SELECT clip_key, 3, 'kept', NULL, num_clips, seconds FROM counted WHERE keep)
        FROM steps ORDER BY clip_key, position, num_clips DESC""",
    ),
}
