"""The questions everyone asks, as views in the lake: any DuckDB with the DuckLake extension sees them too.

A video ingested again with other settings keeps its earlier rows; `current_*` shows the latest ingest of each, with what requalification
and audits have decided since. A requalification decides every current frame and lists those that ingest had decided otherwise, so the
latest one alone counts. A dataset of the same content under two names has one id, two rows and two sets of shards.
"""

from __future__ import annotations

__all__ = ["DATASET_AUDIT_STATUS", "MACROS", "VIEWS"]

DATASET_AUDIT_STATUS = """CASE WHEN num_removed > 0 THEN 'findings' WHEN audit_status = 'findings' THEN 'removed'
                               ELSE coalesce(audit_status, 'not audited') END"""
"""SQL for the verdict on a dataset, from the removed frames that it holds and the status of its audit (warehouse/dataset_audit.py)"""

VIEWS: dict[str, str] = {
    "places": """
        SELECT video_id, list(uri ORDER BY seen_at, uri) AS uris
        FROM (FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1)
        WHERE video_id IS NOT NULL GROUP BY video_id""",
    # what the latest ingest of each video found; the view current_videos counts what has been decided since, at the price of all frames
    "latest_videos": """
        SELECT v.* REPLACE (CASE WHEN list_contains(p.uris, v.uri) THEN v.uri ELSE coalesce(p.uris[1], v.uri) END AS uri),
               r.ended_at AS ingested_at
        FROM videos v JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete' LEFT JOIN places p ON p.video_id = v.video_id
        QUALIFY row_number() OVER (PARTITION BY v.video_id ORDER BY r.ended_at DESC, v.ingest_key) = 1""",
    # what is said of a content at each place where it was found, the latest of each manifest's words for a place and of headers; a place
    # that a file has left for another says nothing, unless nothing else does
    "statements": """
        WITH latest AS (
            SELECT m.*, m.manifest_sha256 IS NULL AS is_header, r.ended_at,
                   coalesce(f.video_id IS NULL AND f.uri IS NOT NULL, false) AS is_gone
            FROM manifest_videos m JOIN runs r ON r.run_id = m.run_id AND r.status = 'complete'
            LEFT JOIN (FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1) f ON f.uri = m.uri
            QUALIFY row_number() OVER (PARTITION BY m.video_id, m.uri, m.manifest_sha256 IS NULL ORDER BY r.ended_at DESC) = 1)
        SELECT * EXCLUDE (is_gone) FROM latest
        QUALIFY NOT is_gone OR bool_and(is_gone) OVER (PARTITION BY video_id, is_header)""",
    # one value of each kind: the latest manifest's, else the header's; and all patients, studies and sites that a content is said to be of
    "video_info": """
        SELECT video_id,
               first(patient_id ORDER BY is_header, ended_at DESC, uri) FILTER (patient_id IS NOT NULL) AS patient_id,
               first(site ORDER BY is_header, ended_at DESC, uri) FILTER (site IS NOT NULL) AS site,
               first(device ORDER BY is_header, ended_at DESC, uri) FILTER (device IS NOT NULL) AS device,
               first(procedure ORDER BY is_header, ended_at DESC, uri) FILTER (procedure IS NOT NULL) AS procedure,
               first(date ORDER BY is_header, ended_at DESC, uri) FILTER (date IS NOT NULL) AS date,
               first(study_id ORDER BY is_header, ended_at DESC, uri) FILTER (study_id IS NOT NULL) AS study_id,
               coalesce(list(DISTINCT patient_id ORDER BY patient_id) FILTER (patient_id IS NOT NULL AND NOT is_header),
                        list(DISTINCT patient_id ORDER BY patient_id) FILTER (patient_id IS NOT NULL), []) AS patient_ids,
               coalesce(list(DISTINCT study_id ORDER BY study_id) FILTER (study_id IS NOT NULL), []) AS study_ids,
               coalesce(list(DISTINCT site ORDER BY site) FILTER (site IS NOT NULL), []) AS sites
        FROM statements GROUP BY video_id""",
    # every place of every content of a patient, copies that were rejected as duplicates among them
    "patient_videos": """
        SELECT s.patient_id, s.study_id, s.video_id, s.uri, s.site, s.date, NOT s.is_header AS is_from_manifest,
               v.video_id IS NOT NULL AS is_ingested, v.uri AS ingested_as,
               (SELECT any_value(r.reason) FROM rejects r WHERE r.video_id = s.video_id AND r.uri = s.uri) AS reject_reason
        FROM statements s LEFT JOIN latest_videos v ON v.video_id = s.video_id
        WHERE s.patient_id IS NOT NULL OR s.study_id IS NOT NULL""",
    "latest_requalification": """
        SELECT q.frame_id, q.keep, q.drop_reason, q.device, q.run_id
        FROM requalified q WHERE q.run_id = (
            SELECT run_id FROM runs WHERE stage = 'requalify' AND status = 'complete' ORDER BY ended_at DESC, run_id LIMIT 1)""",
    # removed frames and what shows the same: in other ingests of the video all within half a second, in the same ingest those that were
    # left out as repetitions. Which kept frame they repeat is not stored, but a run of repetitions lies between the kept frame before and
    # the one after, however long it is: so all repetitions there are covered, where no span of time would reach the end of a long freeze.
    # A copy to the byte in any other video goes too, and of what an audit found what has the same perceptual hash, such as the same film in
    # another container: deduplication would else keep it instead; but for the hash that every flat picture has. A re-encoded film whose
    # hashes differ by some bits is not found so. DuckDB takes the few removed frames to be as many as all frames, and would hold all frames
    # for each join; so only those that have a match come to one, which a semi join finds out without holding them.
    "removed_frames": """
        WITH removed AS MATERIALIZED (
            SELECT r.frame_id, r.video_id, r.ingest_key, r.pts_us, r.sha256, nullif(r.phash, '8000000000000000') AS phash, x.reason
            FROM removals x JOIN (FROM frames SEMI JOIN removals USING (frame_id)) r ON r.frame_id = x.frame_id),
        marks AS (
            SELECT frame_id, video_id, ingest_key, pts_us, reason FROM removed WHERE reason <> 'video_removed_in_audit'),
        numbered AS (
            SELECT f.frame_id, f.video_id, f.ingest_key, f.keep, f.drop_reason,
                   count(*) FILTER (f.keep) OVER (PARTITION BY f.video_id, f.ingest_key ORDER BY f.pts_us) AS num_kept
            FROM frames f SEMI JOIN marks m ON m.video_id = f.video_id AND m.ingest_key = f.ingest_key),
        gaps AS (
            SELECT DISTINCT n.video_id, n.ingest_key, m.reason, unnest(range(n.num_kept - 1, n.num_kept + if(n.keep, 1, 2))) AS num_kept
            FROM marks m JOIN numbered n ON n.frame_id = m.frame_id),
        moments AS (SELECT *, unnest(range(pts_us // 500000 - 1, pts_us // 500000 + 2)) AS half_second FROM marks),
        found AS (
            SELECT frame_id, reason FROM removals
            UNION ALL
            SELECT f.frame_id, x.reason
            FROM removed x JOIN (FROM frames SEMI JOIN removed USING (sha256)) f ON f.sha256 = x.sha256
            UNION ALL
            SELECT f.frame_id, x.reason
            FROM removed x JOIN (FROM frames SEMI JOIN removed USING (phash)) f ON f.phash = x.phash
            WHERE x.sha256 IS NOT NULL AND x.reason IN ('identified_in_audit', 'video_removed_in_audit')
            UNION ALL
            SELECT f.frame_id, 'video_removed_in_audit' FROM frames f WHERE f.video_id IN (
                SELECT x.video_id FROM removed x WHERE x.reason = 'video_removed_in_audit')
            UNION ALL
            SELECT f.frame_id, m.reason
            FROM moments m JOIN (FROM frames SEMI JOIN marks USING (video_id)) f
            ON f.video_id = m.video_id AND f.pts_us // 500000 = m.half_second
            WHERE f.ingest_key <> m.ingest_key AND abs(f.pts_us - m.pts_us) <= 500000
            UNION ALL
            SELECT n.frame_id, g.reason
            FROM gaps g JOIN numbered n ON n.video_id = g.video_id AND n.ingest_key = g.ingest_key AND n.num_kept = g.num_kept
            WHERE n.drop_reason IN ('near_duplicate', 'frozen'))
        SELECT frame_id, min(reason) AS reason FROM found GROUP BY frame_id""",
    # frames for which another row of frames stands since a person lifted a box or brought them back: a frame id names one picture for good
    "replaced_frames": """
        SELECT frame_id, new_frame_id FROM private_decisions WHERE new_frame_id IS NOT NULL""",
    "current_frames": """
        SELECT f.* REPLACE (
            x.frame_id IS NULL AND (n.frame_id IS NOT NULL OR coalesce(q.keep, f.keep)) AS keep,
            CASE WHEN x.frame_id IS NOT NULL AND (n.frame_id IS NOT NULL OR coalesce(q.keep, f.keep)) THEN x.reason
                 WHEN n.frame_id IS NOT NULL THEN NULL
                 WHEN q.frame_id IS NOT NULL THEN q.drop_reason ELSE f.drop_reason END AS drop_reason)
        FROM frames f JOIN latest_videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
        LEFT JOIN latest_requalification q ON q.frame_id = f.frame_id
        LEFT JOIN removed_frames x ON x.frame_id = f.frame_id
        LEFT JOIN (SELECT new_frame_id AS frame_id FROM private_decisions WHERE is_named AND new_frame_id IS NOT NULL) n
            ON n.frame_id = f.frame_id
        ANTI JOIN replaced_frames o ON o.frame_id = f.frame_id""",
    "current_videos": """
        SELECT v.* REPLACE (coalesce(c.num_kept, 0) AS num_frames_kept)
        FROM latest_videos v
        LEFT JOIN (SELECT video_id, count(*) FILTER (keep) AS num_kept FROM current_frames GROUP BY video_id) c USING (video_id)""",
    "candidates": """
        SELECT f.frame_id, f.video_id, f.pts_us, f.blur, f.crop_x, f.crop_y, f.crop_width, f.crop_height, f.width, f.height,
               f.pack_id, f.byte_offset, f.byte_size, f.sha256, f.phash, p.path AS pack_path
        FROM current_frames f JOIN packs p ON p.pack_id = f.pack_id AND p.video_id = f.video_id AND p.ingest_key = f.ingest_key
        WHERE f.keep AND f.pack_id IS NOT NULL""",
    "funnel": """
        WITH counted AS MATERIALIZED (SELECT keep, drop_reason, count(*) AS num_frames FROM current_frames GROUP BY keep, drop_reason),
        steps AS (
            SELECT 1 AS position, 'sampled' AS step, NULL::VARCHAR AS reason, coalesce(sum(num_frames), 0)::BIGINT AS num_frames
            FROM counted
            UNION ALL SELECT 2, 'dropped', drop_reason, num_frames FROM counted WHERE NOT keep
            UNION ALL SELECT 3, 'kept', NULL, coalesce(sum(num_frames), 0)::BIGINT FROM counted WHERE keep)
        SELECT position, step, reason, num_frames, num_frames / greatest(1, max(num_frames) OVER ()) AS share
        FROM steps ORDER BY position, num_frames DESC""",
    "per_mode": """
        SELECT coalesce(imaging_mode, 'unknown') AS imaging_mode, count(*) AS num_frames, count(*) FILTER (keep) AS num_kept,
               count(*) FILTER (NOT keep AND drop_reason LIKE 'out_of_body%') AS num_out_of_body
        FROM current_frames GROUP BY ALL ORDER BY num_frames DESC""",
    "dataset_funnel": """
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
            FROM chosen c JOIN shard_frames f USING (dataset_id) GROUP BY ALL)
        SELECT * FROM steps ORDER BY name, position""",
    "holdout_matches": """
        SELECT h.holdout_id, h.frame_id, v.uri AS video, round(f.pts_us / 1e6, 1) AS second, h.match_kind AS match, h.reference,
               h.reference_sha256, h.hash_distance, h.similarity, h.correlation, h.via_frame_id
        FROM holdout h JOIN frames f ON f.frame_id = h.frame_id JOIN latest_videos v ON v.video_id = f.video_id
        ORDER BY video, second""",
    # current videos that privacy filters took much of; see curation/ingest/privacy_flags.py
    "flagged_videos": """
        WITH settings AS (
            SELECT run_id, any_value((config ->> 'max_text_share')::DOUBLE) AS max_text_share
            FROM runs WHERE stage = 'ingest' AND status = 'complete' GROUP BY run_id),
        flagged AS (
            SELECT v.video_id, v.ingest_key, v.uri, 'text' AS flag, v.text_share AS share
            FROM latest_videos v JOIN settings s ON s.run_id = v.run_id WHERE v.text_share > s.max_text_share
            UNION ALL
            SELECT video_id, ingest_key, uri, 'out of body', out_of_body_share FROM latest_videos WHERE out_of_body_share > 0.5),
        pictures AS (
            SELECT p.video_id, p.ingest_key, if(p.why = 'out_of_body', 'out of body', 'text') AS flag, count(*) AS num_frames,
                   count(*) FILTER (d.frame_id IS NULL) AS num_waiting,
                   count(*) FILTER (d.decision <> 'purged') AS num_decided
            FROM private_frames p LEFT JOIN private_decisions d ON d.frame_id = p.frame_id
            ANTI JOIN removed_frames x ON x.frame_id = p.frame_id GROUP BY ALL)
        SELECT f.video_id, f.uri, f.flag, f.share, coalesce(p.num_frames, 0) AS num_frames, coalesce(p.num_waiting, 0) AS num_waiting,
               coalesce(p.num_waiting = 0 AND p.num_decided > 0, false) AS is_audited
        FROM flagged f LEFT JOIN pictures p ON p.video_id = f.video_id AND p.ingest_key = f.ingest_key AND p.flag = f.flag
        ORDER BY f.share DESC, f.uri""",
    # sign-offs of one audit add up: what one person found stays found, whatever another says, and all of them are named
    "audit_status": """
        WITH told AS (
            SELECT a.*, (r.metrics ->> 'upper_bound_95')::DOUBLE AS upper_bound_95
            FROM audits a JOIN runs r ON r.run_id = a.run_id AND r.status = 'complete'),
        signed AS (
            SELECT audit_id, reviewer, min(recorded_at) AS first_at FROM told WHERE status <> 'open' GROUP BY audit_id, reviewer),
        reviewers AS (SELECT audit_id, string_agg(reviewer, ', ' ORDER BY first_at, reviewer) AS names FROM signed GROUP BY audit_id),
        sampled AS (SELECT audit_id, count(*) FILTER (stratum = 'random') AS num_random FROM audit_frames GROUP BY audit_id),
        found AS (
            SELECT source AS audit_id, count(DISTINCT frame_id) AS num FROM removals WHERE reason = 'identified_in_audit' GROUP BY source)
        SELECT t.audit_id, any_value(t.dataset_id) AS dataset_id,
               CASE WHEN max(coalesce(f.num, 0)) > 0 THEN 'findings'
                    WHEN count(*) FILTER (t.status <> 'open') > 0 THEN 'clean' ELSE 'open' END AS status,
               any_value(w.names) AS reviewer, string_agg(t.note, '; ' ORDER BY t.recorded_at) AS note,
               any_value(t.num_frames) AS num_frames, any_value(s.num_random) AS num_random,
               CASE WHEN count(*) FILTER (t.status <> 'open') > 0 THEN max(coalesce(f.num, 0)) END AS num_findings,
               any_value(t.seed) AS seed, any_value(t.sheet) AS sheet, arg_max(t.run_id, t.recorded_at) AS run_id,
               max(t.recorded_at) AS recorded_at, min(t.recorded_at) AS drawn_at, max(t.upper_bound_95) AS upper_bound_95,
               count(*) FILTER (t.status <> 'open') AS num_sign_offs
        FROM told t JOIN sampled s ON s.audit_id = t.audit_id
        LEFT JOIN reviewers w ON w.audit_id = t.audit_id LEFT JOIN found f ON f.audit_id = t.audit_id
        GROUP BY t.audit_id""",
    "dataset_audits": f"""
        WITH held AS (
            SELECT s.dataset_id, count(DISTINCT s.frame_id) AS num_removed
            FROM shard_frames s SEMI JOIN removed_frames USING (frame_id) GROUP BY s.dataset_id),
        chosen AS (
            SELECT d.dataset_id, a.* EXCLUDE (dataset_id), a.dataset_id AS audited_dataset_id
            FROM (SELECT DISTINCT dataset_id FROM datasets) d JOIN audit_status a ON a.dataset_id IS NULL OR a.dataset_id = d.dataset_id
            QUALIFY row_number() OVER (PARTITION BY d.dataset_id ORDER BY a.status = 'open', a.drawn_at DESC) = 1),
        known AS (
            SELECT d.name AS dataset, d.dataset_id, coalesce(h.num_removed, 0) AS num_removed, c.status AS audit_status, c.audit_id,
                   c.audited_dataset_id IS NULL AND c.audit_id IS NOT NULL AS is_of_candidates, c.reviewer, c.num_frames, c.num_findings,
                   c.upper_bound_95
            FROM datasets d LEFT JOIN held h ON h.dataset_id = d.dataset_id LEFT JOIN chosen c ON c.dataset_id = d.dataset_id)
        SELECT dataset, dataset_id, {DATASET_AUDIT_STATUS} AS status, num_removed, audit_id, is_of_candidates, reviewer, num_frames,
               num_findings, upper_bound_95
        FROM known ORDER BY dataset""",
    "per_video": """
        WITH used AS (SELECT frame_id, count(DISTINCT dataset_id) AS num_uses FROM shard_frames GROUP BY frame_id),
        counted AS (
            SELECT f.video_id, count(*) FILTER (f.keep) AS num_kept, sum(u.num_uses)::BIGINT AS num_uses
            FROM current_frames f LEFT JOIN used u ON u.frame_id = f.frame_id GROUP BY f.video_id)
        SELECT v.video_id, v.uri, v.status, v.duration_s, v.num_frames_sampled, coalesce(c.num_kept, 0) AS num_frames_kept,
               coalesce(c.num_kept, 0) / greatest(1, v.num_frames_sampled) AS kept_share, coalesce(c.num_uses, 0) AS num_frames_in_datasets
        FROM latest_videos v LEFT JOIN counted c ON c.video_id = v.video_id""",
    "per_cluster": """
        SELECT d.name AS dataset, c.level, c.cluster_id, count(*) AS num_frames, count(s.frame_id) AS num_selected
        FROM datasets d JOIN clusters c ON c.tree_id = d.tree_id
        -- a tree takes in frames later, and keeps those that have become duplicates: neither was there to choose from
        JOIN dedup u ON u.dedup_id = d.dedup_id AND u.frame_id = c.frame_id AND NOT u.is_duplicate
        LEFT JOIN selections s ON s.selection_id = d.selection_id AND s.frame_id = c.frame_id
        GROUP BY ALL ORDER BY dataset, c.level, num_frames DESC""",
    "dataset_mix": """
        SELECT d.name AS dataset, f.video_id, v.uri, count(DISTINCT s.frame_id) AS num_frames,
               count(DISTINCT s.frame_id) / any_value(d.num_images) AS share
        FROM datasets d JOIN shard_frames s USING (dataset_id) JOIN frames f ON f.frame_id = s.frame_id
        JOIN videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
        GROUP BY ALL ORDER BY dataset, num_frames DESC""",
    "leaderboard": """
        SELECT task, split, metric, head, model, value, ci_low, ci_high, num_items, num_groups, model_id
        FROM scores ORDER BY task, metric, value DESC""",
    "run_counts": """
        SELECT stage, status, count(*) AS num_runs, max(ended_at) AS last FROM runs GROUP BY ALL ORDER BY last""",
    "run_times": """
        SELECT stage, run_id, status, started_at, date_diff('millisecond', started_at, ended_at) / 1000 AS duration_s, runner, host, error
        FROM runs ORDER BY started_at""",
}

MACROS: dict[str, str] = {
    # everything an artifact was made from, nearest first
    "ancestry(id)": """
        WITH RECURSIVE up(artifact_id, depth) AS (
            SELECT CAST(id AS VARCHAR), 0
            UNION
            SELECT i.artifact_id, up.depth + 1
            FROM up JOIN edges o ON o.artifact_id = up.artifact_id AND o.direction = 'output'
            JOIN edges i ON i.run_id = o.run_id AND i.direction = 'input')
        SELECT a.kind, a.artifact_id, a.uri, min(up.depth) AS depth
        FROM up JOIN artifacts a USING (artifact_id) GROUP BY ALL ORDER BY depth, a.uri""",
}
