"""Where a lake holds something of given videos: rows of its tables, and files that hold or describe their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from warehouse.lake import Lake, LakeError, commit_retries
from warehouse.statements import quote

__all__ = [
    "Subject",
    "Traces",
    "delete_rows",
    "find_traces",
    "subject_of",
    "videos_of_patient",
    "videos_of_uri",
]

_TOP_LEFT = {"tables", "forgotten"}
"""folders of a lake whose files are not searched by name: rows are deleted, and records name nothing"""
_SEEN = "SELECT video_id, uri FROM videos UNION ALL SELECT video_id, uri FROM files UNION ALL SELECT video_id, uri FROM rejects"
"""every place where a video was seen"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The videos that are to be forgotten, in all names that a lake has for them."""

    video_ids: tuple[str, ...]
    uris: tuple[str, ...]
    pack_ids: tuple[str, ...]
    part_ids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    """pseudonyms, where a whole patient is meant"""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the ids of their frames begin with."""
        return tuple(video_id[:16] for video_id in self.video_ids)

    @property
    def needles(self) -> tuple[str, ...]:
        """Texts that give them away: ids, and places as URIs and as paths."""
        paths = (unquote(urlsplit(uri).path) for uri in self.uris if uri.startswith("file://"))
        texts = (*self.uris, *paths, *self.pack_ids, *self.part_ids, *self.clip_ids, *self.patient_ids)
        return (*self.prefixes, *(text for text in dict.fromkeys(texts) if not any(prefix in text for prefix in self.prefixes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What there is of a subject, counted before anything is removed."""

    rows: dict[str, int]
    """by table"""
    files: tuple[Path, ...]
    """packs, vectors, pages with pictures, pictures chosen for labels, work in progress"""
    datasets: tuple[tuple[str, str], ...]
    """(id, name) of datasets whose shards hold their frames or clips"""
    models: tuple[str, ...]
    """pretraining runs on those datasets"""
    num_scores: int
    """of those models"""
    exports: tuple[str, ...]
    """places outside the lake that those datasets were exported to, whole or in part, as far as that is recorded"""


def videos_of_uri(lake: Lake, named: Sequence[str]) -> tuple[str, ...]:
    """Ids of videos that are named by id, a unique start of it (8 characters), a URI, or a path.

    Raises:
        LakeError: a name stands for none, or for several.
    """
    found = []
    for name in named:
        uri = name if "://" in name else Path(name).absolute().as_uri()
        rows = lake.rows(
            f"""SELECT DISTINCT video_id FROM ({_SEEN})
               WHERE video_id IS NOT NULL AND (uri = $1 OR (length($2) >= 8 AND starts_with(video_id, $2)))""",
            [uri, name],
        )
        if len(rows) != 1:
            many = ", ".join(row["video_id"][:16] for row in rows[:5])
            raise LakeError(
                f"{name!r} names {f'{len(rows)} videos ({many})' if rows else 'no video'} of this lake; give one's id, URI or path"
            )
        found.append(str(rows[0]["video_id"]))
    return tuple(dict.fromkeys(found))


def videos_of_patient(lake: Lake, patient_id: str) -> tuple[str, ...]:
    """Ids of the videos of a patient by its pseudonym."""
    rows = lake.look_up("SELECT DISTINCT video_id FROM manifest_videos WHERE patient_id = $1 ORDER BY video_id", patient_id)
    return tuple(str(row["video_id"]) for row in rows)


def subject_of(lake: Lake, video_ids: Sequence[str], patient_ids: Sequence[str] = ()) -> Subject:
    """All names of some videos."""
    ids = list(video_ids)

    def column(sql: str) -> tuple[str, ...]:
        return tuple(sorted({str(value) for value in lake.query(sql, [ids]).column(0).to_pylist() if value}))

    packs = column(
        """SELECT DISTINCT pack_id FROM (SELECT video_id, pack_id FROM packs UNION ALL SELECT video_id, pack_id FROM clip_videos)
           WHERE list_contains($1, video_id)"""
    )
    parts = lake.rows("SELECT DISTINCT part_id FROM embeddings WHERE list_contains($1, pack_id)", [list(packs)])
    return Subject(
        video_ids=tuple(ids),
        uris=column(  # a place where another video was seen too is not theirs alone
            f"""SELECT uri FROM ({_SEEN} UNION ALL SELECT video_id, uri FROM manifest_videos)
               WHERE video_id IS NOT NULL GROUP BY uri HAVING bool_and(list_contains($1, video_id))"""
        ),
        pack_ids=packs,
        part_ids=tuple(sorted(str(row["part_id"]) for row in parts)),
        clip_ids=column("SELECT DISTINCT clip_id FROM clips WHERE list_contains($1, video_id)"),
        patient_ids=tuple(patient_ids),
    )


def find_traces(lake: Lake, subject: Subject) -> Traces:
    """Count what a lake holds of a subject; nothing is changed."""
    rows = {}
    for table, columns in _tables(lake).items():
        condition = _about(columns, subject)
        if condition:
            count = int(lake.rows(f'SELECT count(*) AS n FROM "{table}" WHERE {condition}')[0]["n"])
            if count:
                rows[table] = count
    datasets = lake.rows(
        f"""SELECT DISTINCT d.dataset_id, d.name FROM datasets d WHERE d.dataset_id IN (
                SELECT dataset_id FROM shard_frames WHERE {_starts("frame_id", subject.prefixes)}
                UNION ALL SELECT dataset_id FROM shard_clips WHERE list_contains($1, clip_id)) ORDER BY d.name""",
        [list(subject.clip_ids)],
    )
    ids = [row["dataset_id"] for row in datasets]
    models = lake.rows(  # and those that started from what these had learned
        """WITH RECURSIVE learned AS (
               SELECT e.run_id FROM edges e JOIN runs r USING (run_id)
               WHERE r.stage = 'pretrain' AND e.direction = 'input' AND list_contains($1, e.artifact_id)
               UNION
               SELECT i.run_id FROM learned l JOIN edges o ON o.run_id = l.run_id AND o.direction = 'output'
               JOIN artifacts a ON a.artifact_id = o.artifact_id AND a.kind = 'checkpoint'
               JOIN edges i ON i.artifact_id = o.artifact_id AND i.direction = 'input'
               JOIN runs r ON r.run_id = i.run_id AND r.stage = 'pretrain')
           SELECT DISTINCT run_id FROM learned ORDER BY 1""",
        [ids],
    )
    runs = [str(row["run_id"]) for row in models]
    scores = lake.rows(
        "SELECT count(*) AS n FROM scores WHERE model_id IN (SELECT checkpoint_id FROM checkpoints WHERE list_contains($1, run_id))", [runs]
    )
    exports = lake.rows(
        """SELECT DISTINCT config ->> 'path' AS path FROM runs
           WHERE stage IN ('export', 'publish_begin') AND list_contains($1, config ->> 'dataset') ORDER BY path""",
        [[row["name"] for row in datasets]],
    )
    return Traces(
        rows=rows,
        files=tuple(sorted(_files(lake, subject, [str(row["name"]) for row in datasets]))),
        datasets=tuple((str(row["dataset_id"]), str(row["name"])) for row in datasets),
        models=tuple(runs),
        num_scores=int(scores[0]["n"]),
        exports=tuple(str(row["path"]) for row in exports),
    )


def delete_rows(lake: Lake, subject: Subject, *, withdrawn: Sequence[str], message: str) -> None:
    """Delete every row about a subject, the tars of withdrawn datasets, and mentions of its frames in rows about others, in one commit."""
    for attempt in commit_retries():
        with attempt, lake.transaction(message):
            for table, columns in _tables(lake).items():
                if condition := _about(columns, subject):
                    lake.query(f'DELETE FROM "{table}" WHERE {condition}')
                for column in columns:
                    if column.endswith("frame_id") and column != "frame_id":
                        lake.query(f'UPDATE "{table}" SET "{column}" = NULL WHERE {_starts(column, subject.prefixes)}')
            lake.query(  # of others' frames that a hold-out leaves out for one of these videos, the reason stays without its name
                "UPDATE holdout SET reference = NULL, reference_sha256 = NULL WHERE list_contains($1, reference_sha256)",
                [list(subject.video_ids)],
            )
            for table in ("shards", "shard_frames", "shard_clips"):
                lake.query(f"DELETE FROM {table} WHERE list_contains($1, dataset_id)", [list(withdrawn)])
            for needle in subject.needles:
                for column in ("error", "config", "metrics"):
                    lake.query(f"UPDATE runs SET {column} = replace({column}, $1, '(forgotten)') WHERE contains({column}, $1)", [needle])


def _tables(lake: Lake) -> dict[str, list[str]]:
    rows = lake.rows(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'lake' AND table_name IN "
        "(SELECT table_name FROM ducklake_table_info('lake'))"
    )
    tables: dict[str, list[str]] = {}
    for row in rows:
        tables.setdefault(str(row["table_name"]), []).append(str(row["column_name"]))
    return tables


def _about(columns: Sequence[str], subject: Subject) -> str:
    """The condition that a row of a table with these columns is about the subject; empty if none can be."""
    conditions = [_starts(f'"{name}"', subject.prefixes) for name in ("frame_id",) if name in columns]
    wanted = {
        "video_id": subject.video_ids,
        "pack_id": subject.pack_ids,
        "part_id": subject.part_ids,
        "uri": subject.uris if "artifact_id" not in columns else (),
        "clip_id": subject.clip_ids,
        "frame_id": subject.clip_ids,  # where clips are compared, clustered and selected as frames are
        "artifact_id": (*subject.video_ids, *subject.pack_ids, *subject.part_ids),
    }
    for name, values in wanted.items():
        if name in columns and values:
            alone = ' AND "video_id" IS NULL' if name == "uri" and "video_id" in columns else ""
            conditions.append(f'("{name}" IN ({", ".join(quote(value) for value in values)}){alone})')
    return " OR ".join(conditions)


def _starts(column: str, prefixes: Sequence[str]) -> str:
    return "(" + " OR ".join(f"starts_with({column}, {quote(prefix)})" for prefix in prefixes) + ")"


def _files(lake: Lake, subject: Subject, datasets: Sequence[str]) -> set[Path]:
    """Files that hold or describe frames of a subject, but for tables and shards."""
    found = {lake.root / "previews" / f"clips-{name}.jpg" for name in datasets}
    ids = (*subject.prefixes, *subject.pack_ids, *subject.part_ids)
    parts = lake.rows("SELECT DISTINCT path FROM embeddings WHERE list_contains($1, part_id)", [list(subject.part_ids)])
    for row in parts:
        path = lake.root / row["path"]
        found.update((path, path.with_suffix(".json")))
    cuts = lake.rows(
        "SELECT DISTINCT path FROM clip_videos WHERE path IS NOT NULL AND list_contains($1, video_id)", [list(subject.video_ids)]
    )
    found.update(lake.root / row["path"] for row in cuts)
    if cuts:  # means of the frames' vectors, of all clips together; the next `curate --clips` makes them again
        found.update((lake.root / "clip_vectors").rglob("*"))
    sheets = {
        lake.root / row["sheet"] for table in ("audits", "private_audits") for row in lake.rows(f"SELECT DISTINCT sheet FROM {table}")
    }
    shown = {
        lake.root / row["sheet"]
        for table in ("audit", "private_audit")
        for row in lake.rows(
            f"""SELECT DISTINCT a.sheet FROM {table}s a JOIN {table}_frames f USING (audit_id)
                WHERE {_starts("f.frame_id", subject.prefixes)}"""
        )
    }
    for path in lake.root.rglob("*"):
        inner = path.relative_to(lake.root)
        if (
            not path.is_file()
            or inner.parts[0] in _TOP_LEFT
            or path.name.endswith(".lock")
            or (len(inner.parts) == 1 and path.suffix != ".html")
        ):
            continue
        is_named = any(one in path.name for one in ids)
        if is_named and inner.parts[0] == "labels":  # its archives and tables name them as well
            found.update((lake.root / "labels" / inner.parts[1]).rglob("*"))
        is_page = path.suffix == ".html" and path not in sheets - shown
        is_work = inner.parts[0] in ("staging", ".prefect")
        if is_named or is_page or is_work:
            found.add(path)
    return {path for path in found if path.is_file() or path.is_symlink()}
