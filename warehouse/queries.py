"""What the stages ask the lake before they work, datasets aside: bound parameters only, records out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from warehouse.lake import Lake, LakeError
from warehouse.records import Checkpoint, EmbeddingPart, FramePack, Score
from warehouse.store import content_id

__all__ = [
    "accounted_files",
    "all_scores",
    "best_checkpoint",
    "candidates_state",
    "chosen_on",
    "clustered_statement",
    "contents_of_several",
    "embedding_parts",
    "encoder_label",
    "encoder_named",
    "export_candidates",
    "export_clustered",
    "export_unique",
    "funnel_rows",
    "given_up_files",
    "has_kept_frames",
    "latest_pretraining",
    "metadata_state",
    "outdated_embeddings",
    "packs_without_embeddings",
    "run_json",
    "score_with_id",
    "scores_of",
]

_SHORTEST_ID = 8


def accounted_files(lake: Lake, ingest_key: str) -> tuple[dict[str, str], set[tuple[str, str | None]]]:
    """What an earlier ingest with the same settings has already decided.

    Returns:
        The URI each ingested content was last found under, by video id; and the (uri, video id) pairs of the rejected files.
    """
    videos = lake.rows(
        """SELECT v.video_id, CASE WHEN list_contains(p.uris, v.uri) THEN v.uri ELSE coalesce(p.uris[1], v.uri) END AS uri
           FROM videos v LEFT JOIN places p ON p.video_id = v.video_id WHERE v.ingest_key = $1""",
        [ingest_key],
    )
    rejects = lake.rows(  # a duplicate is decided only as long as something is known of what it is a duplicate of
        """WITH decided AS (SELECT uri, video_id, reason FROM rejects WHERE ingest_key = $1)
           SELECT uri, video_id FROM decided WHERE reason <> 'duplicate' OR video_id IN (
               SELECT video_id FROM videos WHERE ingest_key = $1 UNION SELECT video_id FROM decided WHERE reason <> 'duplicate')""",
        [ingest_key],
    )
    return {row["video_id"]: row["uri"] for row in videos}, {(row["uri"], row["video_id"]) for row in rejects}


def given_up_files(lake: Lake, ingest_key: str) -> dict[tuple[str, str | None], str]:
    """The rejected files that might be ingested under other limits or on another day.

    Returns:
        The URI each was last found under, by the (uri, video id) of its reject.
    """
    rows = lake.rows(
        """SELECT r.uri, r.video_id, CASE WHEN list_contains(p.uris, r.uri) THEN r.uri ELSE coalesce(p.uris[1], r.uri) END AS place
           FROM rejects r LEFT JOIN places p ON p.video_id = r.video_id
           WHERE r.ingest_key = $1 AND r.reason IN ('timeout', 'memory', 'too_long', 'too_large', 'crash', 'error')""",
        [ingest_key],
    )
    return {(row["uri"], row["video_id"]): row["place"] for row in rows}


_MADE_BY_VERSION = """EXISTS (SELECT 1 FROM edges o JOIN runs r ON r.run_id = o.run_id AND r.stage = 'embed' AND r.status = 'complete'
                          WHERE o.artifact_id = e.part_id AND o.direction = 'output' AND r.stage_version >= $2)"""


def packs_without_embeddings(lake: Lake, encoder_id: str, version: int) -> tuple[FramePack, ...]:
    """The frame packs that hold a candidate and that no run of this encoder in that version of embedding, or a later one, has seen; in a
    fixed order.
    """
    rows = lake.rows(
        f"""SELECT p.pack_id, p.video_id, p.path, p.num_bytes, p.num_frames
            FROM packs p JOIN latest_videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
            WHERE NOT EXISTS (SELECT 1 FROM embeddings e WHERE e.pack_id = p.pack_id AND e.encoder_id = $1 AND {_MADE_BY_VERSION})
              AND p.pack_id IN (SELECT pack_id FROM candidates)
            ORDER BY p.video_id, p.path""",
        [encoder_id, version],
    )
    return tuple(FramePack(**row) for row in rows)


def outdated_embeddings(lake: Lake, encoder_id: str, version: int) -> list[dict[str, str]]:
    """The parts of an encoder that no run of that version of embedding, or of a later one, made: part, pack and encoder."""
    return lake.rows(
        f"""SELECT DISTINCT e.part_id, e.pack_id, e.encoder_id FROM embeddings e
            WHERE e.encoder_id = $1 AND NOT {_MADE_BY_VERSION} ORDER BY e.pack_id""",
        [encoder_id, version],
    )


def embedding_parts(lake: Lake, encoder_id: str) -> tuple[EmbeddingPart, ...]:
    """The embeddings by one encoder of the packs that hold a candidate, in a fixed order; they hold other frames of those packs too.

    Raises:
        LakeError: there are none.
    """
    rows = lake.rows(
        """SELECT e.part_id, e.pack_id, e.encoder_id, e.path, e.num_frames, e.dim
           FROM embeddings e JOIN packs p ON p.pack_id = e.pack_id
           JOIN latest_videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
           WHERE e.encoder_id = $1 AND e.pack_id IN (SELECT pack_id FROM candidates) ORDER BY p.video_id, p.path""",
        [encoder_id],
    )
    if not rows:
        raise LakeError(f"no frame in {lake.root} has been embedded by this encoder; run `endoforge embed --lake {lake.root}` first")
    return tuple(EmbeddingPart(**row) for row in rows)


def export_candidates(lake: Lake, encoder_id: str, path: Path, *, holdout_id: str | None = None) -> int:
    """Write the kept, embedded frames of the current videos as Parquet, ordered by frame id; returns how many.

    With frame_id, pack_id and blur come phash as a number, and content, a number that frames of equal SHA-256 share, null for all others:
    so whoever reads them needs no text but ids, and what is about text is done here, on disk where memory is short. What a hold-out
    leaves out is no candidate.
    """
    return lake.copy_to_parquet(
        """WITH chosen AS NOT MATERIALIZED (
               SELECT c.frame_id, c.pack_id, c.blur, c.sha256, c.phash
               FROM candidates c WHERE c.pack_id IN (SELECT pack_id FROM embeddings WHERE encoder_id = $1)
                 AND c.frame_id NOT IN (SELECT frame_id FROM holdout WHERE holdout_id = $2)),
           shared AS (
               SELECT sha256, row_number() OVER ()::INTEGER AS content
               FROM (SELECT sha256 FROM chosen GROUP BY sha256 HAVING count(*) > 1))
           SELECT frame_id, pack_id, blur, s.content, ('0x' || phash)::UBIGINT AS phash
           FROM chosen LEFT JOIN shared s USING (sha256) ORDER BY frame_id""",
        path,
        [encoder_id, holdout_id],
    )


def candidates_state(lake: Lake, encoder_id: str | None = None) -> str:
    """Names the set of candidates, or of those that an encoder has embedded: another name as soon as a frame comes or goes."""
    (row,) = lake.rows(
        """SELECT count(*) AS num, bit_xor(md5_number_lower(frame_id))::VARCHAR AS parity, sum(md5_number_lower(frame_id))::VARCHAR AS total
           FROM candidates c
           WHERE $1 IS NULL OR EXISTS (SELECT 1 FROM embeddings e WHERE e.pack_id = c.pack_id AND e.encoder_id = $1)""",
        [encoder_id],
    )
    return content_id(row)


def run_json(lake: Lake, run_id: str, column: Literal["config", "metrics"]) -> dict[str, Any]:
    """The settings or the metrics of a finished run."""
    (row,) = lake.rows(f"SELECT {column} AS said FROM runs WHERE run_id = $1 AND status = 'complete' LIMIT 1", [run_id])
    return dict(json.loads(row["said"]))


def best_checkpoint(lake: Lake, run_id: str) -> Checkpoint:
    """The checkpoint that a pretraining run chose by its downstream score.

    Args:
        lake: to ask.
        run_id: of the run, or a start of it that no other run has.

    Raises:
        LakeError: no finished pretraining run has that id, or several begin so.
    """
    rows = lake.rows("SELECT * FROM checkpoints WHERE starts_with(run_id, $1) AND is_best ORDER BY run_id <> $1", [run_id])
    if len(rows) > 1 and rows[0]["run_id"] != run_id:
        raise LakeError(f"{run_id!r} is the start of several runs: {', '.join(row['run_id'] for row in rows)}; give more of the id")
    if not rows:
        runs = [
            row["run_id"] for row in lake.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND status = 'complete' ORDER BY ended_at")
        ]
        raise LakeError(f"{run_id!r} is no finished pretraining run of {lake.root}; known: {', '.join(runs) or 'none yet'}")
    return Checkpoint(**rows[0])


def export_unique(lake: Lake, dedup_id: str, path: Path, *, not_in_tree: str | None = None) -> int:
    """Write frame_id and pack_id of the frames that a deduplication kept, or of those that a tree lacks, by frame; returns how many."""
    return lake.copy_to_parquet(
        """SELECT d.frame_id, c.pack_id FROM dedup d JOIN candidates c USING (frame_id)
           WHERE d.dedup_id = $1 AND NOT d.is_duplicate AND ($2 IS NULL OR NOT EXISTS (
               SELECT 1 FROM clusters k WHERE k.tree_id = $2 AND k.level = 1 AND k.frame_id = d.frame_id))
           ORDER BY d.frame_id""",
        path,
        [dedup_id, not_in_tree],
    )


def export_clustered(lake: Lake, tree_id: str, dedup_id: str, path: Path) -> int:
    """Write each frame that a deduplication kept with its pack, its video and what is known of that, its cluster at every level of a tree
    (finest first) and its distance to the finest centroid; ordered by frame id. Frames of the tree that are duplicates or no candidates
    by now are left out. Videos of one study are of one patient, whoever that is. A content that is said to be of several patients has the
    further ones in the columns patient_id_2, patient_id_3 and so on, as many as any content needs; so with sites.
    """
    return lake.copy_to_parquet(clustered_statement(lake, tree_id, "candidates"), path, [tree_id, dedup_id])


def clustered_statement(lake: Lake, tree_id: str, candidates: str) -> str:
    """The question that `export_clustered` asks of a relation with frame_id, video_id and pack_id; parameters: tree and deduplication."""
    (row,) = lake.rows("SELECT coalesce(max(level), 1)::INT AS num_levels FROM clusters WHERE tree_id = $1", [tree_id])
    levels = range(1, row["num_levels"] + 1)
    patients = "if(len(coalesce(i.patient_ids, [])) > 0, i.patient_ids, i.study_ids)"
    (most,) = lake.rows(f"SELECT max(len({patients})) AS patient_id, max(len(sites)) AS site FROM video_info i")
    several = "".join(
        f", {values}[{number}] AS {name}_{number}"
        for name, values in (("patient_id", patients), ("site", "i.sites"))
        for number in range(2, (most[name] or 0) + 1)
    )
    # a number for each level and not list(): DuckDB can write those to disk where memory ends, and lists and strings it is gathering not
    gathered = ", ".join(f"any_value(cluster_id) FILTER (level = {level}) AS level_{level}" for level in levels)
    return f"""WITH placed AS (
               SELECT frame_id, {gathered}, any_value(distance) FILTER (level = 1) AS distance
               FROM clusters WHERE tree_id = $1 GROUP BY frame_id)
           SELECT k.frame_id, c.video_id, c.pack_id, [{", ".join(f"k.level_{level}" for level in levels)}] AS cluster_path, k.distance,
                  {patients}[1] AS patient_id, i.sites[1] AS site, i.device, i.procedure{several}
           FROM placed k JOIN dedup d ON d.frame_id = k.frame_id AND d.dedup_id = $2 AND NOT d.is_duplicate
           JOIN {candidates} c ON c.frame_id = k.frame_id
           LEFT JOIN video_info i ON i.video_id = c.video_id ORDER BY k.frame_id"""


def metadata_state(lake: Lake) -> str:
    """Names what is known of the videos: another name as soon as a manifest or a header says something new."""
    return content_id(lake.rows("SELECT * EXCLUDE (date) FROM video_info ORDER BY video_id"))


def contents_of_several(lake: Lake, kind: Literal["patient", "site"], video_ids: Sequence[str]) -> list[list[str]]:
    """Where each of the contents lies that are said to be of more than one patient, or site; ordered by content."""
    column = "patient_ids" if kind == "patient" else "sites"
    rows = lake.rows(
        f"""SELECT i.video_id, list(DISTINCT s.uri ORDER BY s.uri) AS uris
            FROM video_info i JOIN statements s ON s.video_id = i.video_id
            WHERE len(i.{column}) > 1 AND i.video_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY i.video_id ORDER BY i.video_id""",
        [list(video_ids)],
    )
    return [row["uris"] for row in rows]


def has_kept_frames(lake: Lake) -> bool:
    """Whether any frame is a candidate for a dataset."""
    return bool(lake.rows("SELECT 1 AS one FROM current_frames WHERE keep LIMIT 1"))


def encoder_named(lake: Lake, name: str | None) -> str:
    """The id of the encoder of that name, or of the one that embedded last.

    Raises:
        LakeError: nothing has been embedded, or not by that one.
    """
    rows = lake.rows(
        """SELECT config ->> 'encoder_id' AS encoder_id, config ->> 'encoder' AS encoder FROM runs
           WHERE stage = 'embed' AND status = 'complete' ORDER BY ended_at DESC"""
    )
    for row in rows:
        if name is None or row["encoder"] == name:
            return str(row["encoder_id"])
    known = ", ".join(sorted({row["encoder"] for row in rows})) or "none"
    raise LakeError(f"no frame in {lake.root} is embedded by {name or 'any encoder'} (known: {known}); run `endoforge embed` first")


def encoder_label(lake: Lake, encoder_id: str) -> str:
    """What an encoder was called when it embedded last."""
    rows = lake.rows(
        """SELECT config ->> 'encoder' AS encoder FROM runs
           WHERE stage = 'embed' AND status = 'complete' AND (config ->> 'encoder_id') = $1 ORDER BY ended_at DESC LIMIT 1""",
        [encoder_id],
    )
    return str(rows[0]["encoder"]) if rows else encoder_id[:16]


def scores_of(lake: Lake, run_id: str) -> tuple[Score, ...]:
    """The scores that an evaluation run made."""
    rows = lake.rows("SELECT * EXCLUDE (run_id) FROM scores WHERE run_id = $1 ORDER BY score_id", [run_id])
    return tuple(Score(**{**row, "details": json.loads(row["details"])}) for row in rows)


def score_with_id(lake: Lake, score_id: str) -> Score:
    """The score with an id, or a unique start of it of eight characters or more.

    Raises:
        LakeError: there is none, or there are several.
    """
    rows = (
        lake.look_up("SELECT DISTINCT * EXCLUDE (run_id) FROM scores WHERE starts_with(score_id, $1)", score_id)
        if len(score_id) >= _SHORTEST_ID
        else []
    )
    if len({row["score_id"] for row in rows}) != 1:
        raise LakeError(f"{len(rows)} scores of this lake have an id that starts with {score_id!r}; give one of the table scores")
    return Score(**{**rows[0], "details": json.loads(rows[0]["details"])})


def chosen_on(lake: Lake, checkpoint_id: str, task: str) -> bool:
    """Whether the run of a checkpoint was validated on a set of that name."""
    rows = lake.rows(
        """SELECT 1 FROM checkpoints c JOIN edges e ON e.run_id = c.run_id AND e.direction = 'input'
           JOIN artifacts a ON a.artifact_id = e.artifact_id AND a.kind = 'task' AND a.uri = $2 WHERE c.checkpoint_id = $1 LIMIT 1""",
        [checkpoint_id, task],
    )
    return bool(rows)


def all_scores(lake: Lake, *, task: str | None = None) -> tuple[Score, ...]:
    """Every score of the lake, or of one task, in the order in which their runs ended."""
    rows = lake.rows(
        """SELECT s.* EXCLUDE (run_id) FROM scores s JOIN runs r ON r.run_id = s.run_id AND r.status = 'complete'
           WHERE $1 IS NULL OR s.task = $1 QUALIFY row_number() OVER (PARTITION BY s.score_id ORDER BY r.ended_at) = 1
           ORDER BY r.ended_at, s.score_id""",
        [task],
    )
    return tuple(Score(**{**row, "details": json.loads(row["details"])}) for row in rows)


def funnel_rows(lake: Lake) -> list[dict[str, Any]]:
    """The view `funnel` as plain values."""
    return lake.rows("SELECT step, coalesce(reason, '') AS reason, num_frames, round(share, 4) AS share FROM funnel")


def latest_pretraining(lake: Lake) -> str:
    """The id of the pretraining run that finished last.

    Raises:
        LakeError: there is none.
    """
    rows = lake.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND status = 'complete' ORDER BY ended_at DESC LIMIT 1")
    if not rows:
        raise LakeError(f"no pretraining run of {lake.root} has finished; run `endoforge pretrain` first")
    return str(rows[0]["run_id"])
