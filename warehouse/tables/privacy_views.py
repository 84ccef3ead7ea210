"""Which videos a person should look at, and what audits prove."""

from __future__ import annotations

from warehouse.tables.notation import View

__all__ = ["DATASET_AUDIT_STATUS", "PRIVACY_VIEWS"]

DATASET_AUDIT_STATUS = """CASE WHEN num_removed > 0 THEN 'findings' WHEN audit_status = 'findings' THEN 'removed'
                               ELSE coalesce(audit_status, 'not audited') END"""
"""SQL for the verdict on a dataset, from the removed frames that it holds and the status of its audit (warehouse/dataset_audit.py)"""

PRIVACY_VIEWS: dict[str, View] = {
    # The limits are those of curation/ingest/privacy_flags.py.
    "flagged_videos": View(
        "Videos that privacy filters took much of, by flag: share, private pictures, how many wait, and whether all were audited",
        """
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
    ),
    # sign-offs of one audit add up: what one person found stays found, whatever another says, and all of them are named
    "audit_status": View(
        "Audits of kept frames, all sign-offs of each added up: verdict, reviewers, findings, 95% bound on the share of identifying frames",
        """
        WITH told AS (
            SELECT a.*, (r.metrics ->> 'upper_bound_95')::DOUBLE AS upper_bound_95
            FROM audits a JOIN runs r ON r.run_id = a.run_id AND r.status = 'complete'),
        signed AS (
            SELECT audit_id, reviewer, min(recorded_at) AS first_at FROM told WHERE status <> 'open' GROUP BY audit_id, reviewer),
        reviewers AS (SELECT audit_id, string_agg(reviewer, ', ' ORDER BY first_at, reviewer) AS names FROM signed GROUP BY audit_id),
        sampled AS (SELECT audit_id, count(*) FILTER (stratum = 'random') AS num_random FROM audit_frames GROUP BY audit_id),
        found AS (
            SELECT r.source AS audit_id, count(DISTINCT r.frame_id) AS num FROM removals r
            SEMI JOIN audit_frames a ON a.audit_id = r.source AND a.frame_id = r.frame_id
            WHERE r.reason = 'identified_in_audit' GROUP BY r.source)
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
    ),
    "dataset_audits": View(
        "Whether each dataset was audited, by which audit, and how many removed frames it holds; only audits of their own count for clips",
        f"""
        WITH held AS (
            SELECT s.dataset_id, count(DISTINCT s.frame_id) AS num_removed
            FROM dataset_frames s SEMI JOIN removed_frames USING (frame_id) GROUP BY s.dataset_id),
        chosen AS (
            SELECT d.dataset_id, a.* EXCLUDE (dataset_id), a.dataset_id AS audited_dataset_id
            FROM (SELECT DISTINCT dataset_id, coalesce(kind, 'images') AS kind FROM datasets) d
            JOIN audit_status a ON a.dataset_id = d.dataset_id OR (a.dataset_id IS NULL AND d.kind <> 'clips')
            QUALIFY row_number() OVER (PARTITION BY d.dataset_id ORDER BY a.status = 'open', a.drawn_at DESC) = 1),
        known AS (
            SELECT d.name AS dataset, d.dataset_id, coalesce(h.num_removed, 0) AS num_removed, c.status AS audit_status, c.audit_id,
                   c.audited_dataset_id IS NULL AND c.audit_id IS NOT NULL AS is_of_candidates, c.reviewer, c.num_frames, c.num_findings,
                   c.upper_bound_95
            FROM datasets d LEFT JOIN held h ON h.dataset_id = d.dataset_id LEFT JOIN chosen c ON c.dataset_id = d.dataset_id)
        SELECT dataset, dataset_id, {DATASET_AUDIT_STATUS} AS status, num_removed, audit_id, is_of_candidates, reviewer, num_frames,
               num_findings, upper_bound_95
        FROM known ORDER BY dataset""",
    ),
}
