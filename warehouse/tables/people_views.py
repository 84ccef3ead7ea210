"""What has become of each patient's videos, and what people did with the lake: exports and sign-offs, by user and machine."""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["PEOPLE_VIEWS"]

PEOPLE_VIEWS: dict[str, View] = {
    # the tars of a withdrawn dataset are gone, and what it was made of still says whose frames models have learned from
    "patient_datasets": View(
        "Datasets that hold frames (or clips) of each patient, withdrawn ones included",
        """
        WITH known AS (SELECT video_id, unnest(patient_ids) AS patient_id FROM video_info),
        members AS (
            SELECT dataset_id, frame_id AS member FROM shard_frames
            UNION SELECT dataset_id, clip_id FROM shard_clips
            UNION SELECT d.dataset_id, s.frame_id FROM datasets d JOIN selections s ON s.selection_id = d.selection_id
            ANTI JOIN shards h ON h.dataset_id = d.dataset_id),
        owned AS (
            SELECT DISTINCT f.frame_id AS member, f.video_id FROM frames f SEMI JOIN known USING (video_id)
            UNION SELECT c.clip_id, c.video_id FROM clips c SEMI JOIN known USING (video_id))
        SELECT k.patient_id, d.name AS dataset, d.dataset_id, count(DISTINCT k.video_id) AS num_videos,
               count(DISTINCT m.member) AS num_frames,
               NOT EXISTS (SELECT 1 FROM shards h WHERE h.dataset_id = d.dataset_id) AS is_withdrawn
        FROM known k JOIN owned o ON o.video_id = k.video_id JOIN members m ON m.member = o.member
        JOIN datasets d ON d.dataset_id = m.dataset_id
        GROUP BY k.patient_id, d.name, d.dataset_id ORDER BY k.patient_id, d.name""",
    ),
    "patient_models": View(
        "Checkpoints of models that have learned from each patient, also through the weights that they started from",
        """
        WITH RECURSIVE learned(dataset_id, run_id) AS (
            SELECT e.artifact_id, e.run_id FROM edges e
            JOIN runs r ON r.run_id = e.run_id AND r.stage = 'pretrain' AND r.status = 'complete'
            SEMI JOIN datasets d ON d.dataset_id = e.artifact_id WHERE e.direction = 'input'
            UNION
            SELECT l.dataset_id, i.run_id FROM learned l
            JOIN edges o ON o.run_id = l.run_id AND o.direction = 'output'
            JOIN artifacts a ON a.artifact_id = o.artifact_id AND a.kind = 'checkpoint'
            JOIN edges i ON i.artifact_id = o.artifact_id AND i.direction = 'input'
            JOIN runs r ON r.run_id = i.run_id AND r.stage = 'pretrain' AND r.status = 'complete')
        SELECT DISTINCT p.patient_id, p.dataset, p.dataset_id, c.run_id, c.checkpoint_id, c.step, c.is_best,
               (SELECT count(DISTINCT s.score_id) FROM scores s WHERE s.model_id = c.checkpoint_id) AS num_scores
        FROM patient_datasets p JOIN learned l ON l.dataset_id = p.dataset_id JOIN checkpoints c ON c.run_id = l.run_id
        ORDER BY p.patient_id, p.dataset, c.run_id, c.step""",
    ),
    "patient_scores": View(
        "Scores of the models that have learned from each patient",
        """
        SELECT m.patient_id, m.dataset, m.run_id, m.checkpoint_id, s.score_id, s.task, s.head, s.metric, s.value
        FROM patient_models m JOIN scores s ON s.model_id = m.checkpoint_id
        ORDER BY m.patient_id, m.dataset, m.run_id, s.task, s.head, s.metric""",
    ),
    "exports": View(
        "What was written for use elsewhere: datasets, models and maps, by whom, on which machine, where to and when",
        """
        SELECT r.ended_at AS exported_at, r.stage, r.config ->> 'user' AS user, r.host,
               coalesce(r.config ->> 'dataset', (SELECT any_value(a.artifact_id) FROM edges e JOIN artifacts a USING (artifact_id)
                        WHERE e.run_id = r.run_id AND e.direction = 'input' AND a.kind = 'checkpoint')) AS what,
               r.config ->> 'path' AS path, r.run_id
        FROM runs r WHERE r.stage IN ('export', 'export_model', 'export_atlas') AND r.status = 'complete' ORDER BY exported_at""",
    ),
    "sign_offs": View(
        "Every sign-off of an audit, each for itself: verdict, reviewer as given, and the user and machine that typed it",
        """
        SELECT a.recorded_at AS signed_at, a.audit_id, 'kept' AS frames, a.status, a.reviewer, a.note, a.num_findings,
               r.config ->> 'user' AS user, r.host, a.run_id
        FROM audits a JOIN runs r ON r.run_id = a.run_id AND r.status = 'complete' WHERE a.status <> 'open'
        UNION ALL
        SELECT p.recorded_at, p.audit_id, 'private', p.status, p.reviewer, p.note, NULL, r.config ->> 'user', r.host, p.run_id
        FROM private_audits p JOIN runs r ON r.run_id = p.run_id AND r.status = 'complete' WHERE p.status <> 'open'
        ORDER BY signed_at""",
    ),
}
