"""What holds now: the latest ingest of each video, with what refiltering, audits and manifests have said since.

A video ingested again with other settings keeps its earlier rows; `current_*` shows the latest ingest of each, with what requalification
and audits have decided since. A requalification decides every current frame and lists those that ingest had decided otherwise, so the
latest one alone counts.
"""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["CURRENT_VIEWS"]

CURRENT_VIEWS: dict[str, View] = {
    "places": View(
        "Where each content is, by what was seen last at every place: its URIs as a list",
        """
        SELECT video_id, list(uri ORDER BY seen_at, uri) AS uris
        FROM (FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1)
        WHERE video_id IS NOT NULL GROUP BY video_id""",
    ),
    "latest_videos": View(
        "The latest ingest of each video as it was recorded, with its end (ingested_at); uri is a place where the content was seen last",
        """
        SELECT v.* REPLACE (CASE WHEN list_contains(p.uris, v.uri) THEN v.uri ELSE coalesce(p.uris[1], v.uri) END AS uri),
               r.ended_at AS ingested_at
        FROM videos v JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete' LEFT JOIN places p ON p.video_id = v.video_id
        QUALIFY row_number() OVER (PARTITION BY v.video_id ORDER BY r.ended_at DESC, v.ingest_key) = 1""",
    ),
    "statements": View(
        "The latest that manifests and headers say of each content and place; a place that a file has left counts only if no other does",
        """
        WITH latest AS (
            SELECT m.*, m.manifest_sha256 IS NULL AS is_header, r.ended_at,
                   coalesce(f.video_id IS NULL AND f.uri IS NOT NULL, false) AS is_gone
            FROM manifest_videos m JOIN runs r ON r.run_id = m.run_id AND r.status = 'complete'
            LEFT JOIN (FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1) f ON f.uri = m.uri
            QUALIFY row_number() OVER (PARTITION BY m.video_id, m.uri, m.manifest_sha256 IS NULL ORDER BY r.ended_at DESC) = 1)
        SELECT * EXCLUDE (is_gone) FROM latest
        QUALIFY NOT is_gone OR bool_and(is_gone) OVER (PARTITION BY video_id, is_header)""",
    ),
    "video_info": View(
        "What is known of each content, by the latest manifest, else the header; and all patients, studies and sites that are named for it",
        """
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
    ),
    "patient_videos": View(
        "Every place of every content of which a patient or a study is named, copies that were rejected as duplicates included",
        """
        SELECT s.patient_id, s.study_id, s.video_id, s.uri, s.site, s.date, NOT s.is_header AS is_from_manifest,
               v.video_id IS NOT NULL AS is_ingested, v.uri AS ingested_as,
               (SELECT any_value(r.reason) FROM rejects r WHERE r.video_id = s.video_id AND r.uri = s.uri) AS reject_reason
        FROM statements s LEFT JOIN latest_videos v ON v.video_id = s.video_id
        WHERE s.patient_id IS NOT NULL OR s.study_id IS NOT NULL""",
    ),
    "latest_requalification": View(
        "Frames of which the latest requalify run says something else than ingest: its verdicts are the ones that count",
        """
        SELECT q.frame_id, q.keep, q.drop_reason, q.device, q.run_id
        FROM requalified q WHERE q.run_id = (
            SELECT run_id FROM runs WHERE stage = 'requalify' AND status = 'complete' ORDER BY ended_at DESC, run_id LIMIT 1)""",
    ),
    # removed frames and what shows the same: in other ingests of the video all within half a second, in the same ingest those that were
    # left out as repetitions. Which kept frame they repeat is not stored, but a run of repetitions lies between the kept frame before and
    # the one after, however long it is: so all repetitions there are covered, where no span of time would reach the end of a long freeze.
    # A copy to the byte in any other video goes too, and of what an audit found what has the same perceptual hash, such as the same film in
    # another container: deduplication would else keep it instead; but for the hash that every flat picture has. A re-encoded film whose
    # hashes differ by some bits is not found so. DuckDB takes the few removed frames to be as many as all frames, and would hold all frames
    # for each join; so only those that have a match come to one, which a semi join finds out without holding them.
    "removed_frames": View(
        "Frames taken out for good, and why: those of removals, their copies and repetitions, and the same moments in other ingests",
        """
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
    ),
    "replaced_frames": View(
        "Frames for which another row of frames (new_frame_id) stands since a private audit brought them back",
        """
        SELECT frame_id, new_frame_id FROM private_decisions WHERE new_frame_id IS NOT NULL""",
    ),
    "current_frames": View(
        "Frames of the latest ingest of each video, with keep and drop_reason as refiltering and audits have decided since",
        """
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
    ),
    "current_videos": View(
        "The latest ingest of each video, with num_frames_kept as refiltering and audits have decided since",
        """
        SELECT v.* REPLACE (coalesce(c.num_kept, 0) AS num_frames_kept)
        FROM latest_videos v
        LEFT JOIN (SELECT video_id, count(*) FILTER (keep) AS num_kept FROM current_frames GROUP BY video_id) c USING (video_id)""",
    ),
    "candidates": View(
        "Kept frames of current videos whose pixels are stored, and where: what curation chooses from",
        """
        SELECT f.frame_id, f.video_id, f.pts_us, f.blur, f.crop_x, f.crop_y, f.crop_width, f.crop_height, f.width, f.height,
               f.pack_id, f.byte_offset, f.byte_size, f.sha256, f.phash, p.path AS pack_path
        FROM current_frames f JOIN packs p ON p.pack_id = f.pack_id AND p.video_id = f.video_id AND p.ingest_key = f.ingest_key
        WHERE f.keep AND f.pack_id IS NOT NULL""",
    ),
}
